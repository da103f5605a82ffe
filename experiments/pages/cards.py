"""The model card of a shipped agent in Markdown, made only from its config.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from experiments.pages.attention import attention_table
from experiments.pages.presentation import markdown_row
from experiments.pages.tables import between, commits, machines, million, number, with_std
from fls_jax.config import TrainConfig
from fls_jax.networks.geometry import attention_geometry
from fls_jax.networks.specs import NetworkSpec, network_spec
from fls_jax.networks.summary import describe, parameter_count
from fls_jax.runs.contents import shipped_sessions
from fls_jax.statistics import paper
from fls_jax.types import DEAD

_FEW_GAMES = 100
_IDENTITY = ("game", "network", "seed", "total_steps")


def model_card(config: dict[str, Any]) -> str:
    """The card for the values of config.json, with `pretrained` (see experiments/commands/ship.py)."""
    train, facts = TrainConfig.from_json(config), config["pretrained"]
    parts = [
        _heading(train, facts),
        _scores(facts),
        _use(train),
        _training(train, config),
        _settings(train),
        *(attention_table(content).markdown() for content in facts.get("attention", ())),
        _limits(train, facts),
        "## Licence\n\nMIT, as the code. The game is not part of it.\n",
    ]
    return "\n".join(parts)


def _heading(train: TrainConfig, facts: dict[str, Any]) -> str:
    sees = network_spec(train.network).attention is not None
    what = (
        "Its attention, learnt from reward alone, is its saliency map."
        if sees
        else "It has no attention: it is what agents with attention are compared with."
    )
    state = "" if _finished(facts) else " **Its training was not finished.**"
    return (
        f"# {train.game}, {train.variant}\n\n"
        f"An agent for the Atari game {train.game}, trained with PPO for {facts['env_step']:,} agent steps "
        f"of 4 frames. {what} For inference only: parameters, without the optimiser.{state}\n"
    )


def _scores(facts: dict[str, Any]) -> str:
    rows = []
    for each in facts["evaluations"]:
        summary = each["summary"]
        interval = summary["interval_95"]["mean"]
        actions = "most probable" if each["greedy"] else "sampled"
        rows.append(
            [
                each["environment"],
                actions,
                each["protocol"],
                f"{summary['games']:,}",
                with_std(summary["mean"], summary["std"]),
                between(interval),
                number(summary["iqm"]),
            ]
        )
    columns = ("environment", "actions", "protocol", "games", "mean ± std", "95% interval of the mean", "IQM")
    return (
        f"## Return\n\n{_table(columns, rows)}\nRaw returns of whole games (`fls evaluate`); the interval is "
        "a bootstrap over games.\n"
    )


def _use(train: TrainConfig) -> str:
    place = f"experiments/pretrained/{train.game}/{train.variant}"
    sees = network_spec(train.network).attention is not None
    method = "" if sees else ', "gradient"'
    lines = [
        "## Use",
        "",
        "```python",
        "import fls_jax",
        "",
        f'agent = fls_jax.load_agent("{place}")',
        "logits, value, attention = agent(observations)  # uint8 [B, 84, 84, 4], oldest frame first",
        f"maps = agent.saliency(observations{method})  # float32 [B, 84, 84]",
        "```",
        "",
        "```bash",
        f"fls video {place} --out film.mp4",
        "```",
        "",
    ]
    return "\n".join(lines)


def _training(train: TrainConfig, config: dict[str, Any]) -> str:
    facts, spec = config["pretrained"], network_spec(train.network)
    seconds, score = facts["seconds_total"], facts["eprewmean"]
    versions = config.get("versions") or {}
    sessions = shipped_sessions(facts) or [config]
    rows = [
        ("network", f"{train.variant}: {describe(spec)}"),
        ("parameters", f"{parameter_count(spec, len(config['action_names'])):,}"),
        ("actions", ", ".join(config["action_names"])),
        ("seed", str(train.seed)),
        ("agent steps", f"{facts['env_step']:,} of {facts['last_step']:,}"),
        ("last 100 games of training, mean return", "unknown" if score is None else number(score)),
        ("time", "unknown" if seconds is None else f"{seconds / 3600:.1f} hours"),
        ("machine", "; ".join(machines(sessions))),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items()) or "unknown"),
        ("commit", ", ".join(commits(sessions)) or "unknown"),
    ]
    if "rounding" in facts:
        rows.append(("stored as", _rounded(facts["rounding"])))
    return f"## Training\n\n{_table(('', ''), rows)}"


def _rounded(rounding: dict[str, Any]) -> str:
    """How the type of the stored parameters changes the trained policy."""
    return (
        f"{rounding['dtype']}; the return above is that of the float32 parameters. On {rounding['frames']:,} "
        f"frames of random play the stored policy differs from it by {rounding['kl_mean']:.1g} nats (at most "
        f"{rounding['kl_max']:.1g}; KL divergence) and has the same most probable action on "
        f"{rounding['same_action']:.1%}"
    )


def _settings(train: TrainConfig) -> str:
    """Every hyper-parameter, and the paper's value if it differs."""
    published = TrainConfig()
    rows = []
    for each in fields(TrainConfig):
        if each.name in _IDENTITY or each.metadata.get("operational"):
            continue
        ours, theirs = getattr(train, each.name), getattr(published, each.name)
        rows.append((f"`{each.name}`", str(ours), "" if ours == theirs else str(theirs)))
    return f"## Settings\n\n{_table(('setting', 'value', 'the default, where it is another'), rows)}"


def _limits(train: TrainConfig, facts: dict[str, Any]) -> str:
    step, evaluation = facts["env_step"], facts["evaluations"][0]
    summary = evaluation["summary"]
    limits = []
    attention = facts.get("attention_mean")
    if attention is not None and attention < DEAD:
        limits.append(
            f"Its attention has died (mean {attention:.1e} at the end of the record): it no longer sees its "
            "input, and its maps mean nothing."
        )
    if not _finished(facts):
        limits.append(
            f"Training was not finished: {step:,} of {facts['last_step']:,} steps; the learning rate had not "
            "fallen to 0."
        )
    if step < paper.STEPS:
        limits.append(
            f"{million(round(step, -4))} agent steps; the paper's agents had {million(paper.STEPS)}. It is "
            "no reproduction of the paper's scores."
        )
    limits.append(
        f"One training, seed {train.seed}. The interval covers the luck of its games; how other seeds would "
        "have ended, it does not know."
    )
    if summary["games"] < _FEW_GAMES:
        limits.append(f"Only {summary['games']} games were evaluated.")
    if summary["games_cut"]:
        limits.append(
            f"{summary['games_cut']:,} of {summary['games']:,} games were cut after "
            f"{evaluation['max_episode_steps']:,} agent steps and count as they stood."
        )
    limits.append(
        f"It knows {train.game} as EnvPool shows it (docs/deviations.md) and nothing else, and was trained "
        "to be played with sampled actions; with the most probable ones it may stand still."
    )
    limits.append(_limits_of_the_map(network_spec(train.network)))
    return "## Limits\n\n" + "".join(f"- {text}\n" for text in limits)


def _limits_of_the_map(spec: NetworkSpec) -> str:
    if spec.attention is None:
        return "It has no attention; other saliency methods explain it (docs/saliency.md)."
    text = (
        "The map shows where its features are multiplied by much. That this is what its decisions rest on is "
        "not shown by the map: the table of replaced attention tells what it does to the return, where there "
        "is one."
    )
    field, stride, _ = attention_geometry(spec)
    if field > stride:
        text += (
            " Receptive fields overlap least at the screen's edges, so that geometry alone makes a map "
            "brighter towards the middle (docs/video.md)."
        )
    return text


def _finished(facts: dict[str, Any]) -> bool:
    return facts["env_step"] >= facts["last_step"]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"{markdown_row(line)}\n" for line in [columns, ["---"] * len(columns), *rows])
