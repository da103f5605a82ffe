"""Plays the same whole games with each replacement of attention, and writes a table of the results.

`evaluation/<env_step>-<mode>-<replacement>.json` for each, `attention/<env_step>-<mode>.json` for the table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from fls_jax.agent import Agent, load_agent
from fls_jax.errors import UserError
from fls_jax.evaluation import attention_use
from fls_jax.evaluation.job import evaluate_agent
from fls_jax.evaluation.results import read_result
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.networks.replacement import TRAINED, check_name
from fls_jax.process.display import ProgressDisplay
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.files import write_whole
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.statistics.clusters import cluster_means

Results = dict[str, dict[str, Any]]


def evaluate_attention(
    run_dir: Path,
    settings: EvaluationSettings,
    names: Sequence[str],
    step: int | None = None,
    fresh: bool = False,
    out: Path | None = None,
) -> Path | None:
    """Play the same games with each of the named replacements and print a table of the differences.

    names: `trained`, which is always included, and names of fls_jax.networks.replacement.make_replacement.
    Rows of an earlier table of the same games and parameters are kept, unless fresh. out: the folder for
    evaluations and table, in place of the run's (of a run that cannot be written).
    Returns the table's path, or None after a signal; the same call then resumes. Raises UserError for errors
    that the user can correct.
    """
    agent = load_agent(run_dir, step)
    settings = settings.validated(agent.game)
    table = (run_dir if out is None else out) / "attention" / f"{agent.step}-{settings.mode}.json"
    earlier = () if fresh else names_in(table, agent, settings)
    names = tuple(dict.fromkeys((TRAINED, *earlier, *names)))
    _check(agent, names)
    frames = _play_for_frames(agent, settings)
    if frames is None:
        return None
    reference, looked, games = attention_use.split(frames)
    results, policies = {}, {}
    for name in names:
        replaced = agent.with_attention(name, reference)
        path = evaluate_agent(run_dir, replaced, settings, fresh, out)
        if path is None:
            return None
        results[name] = read_result(path) or {}
        policies[name] = attention_use.compare_policies(agent, replaced, looked, games)
    content = {
        "game": agent.game, "network": agent.config.variant, "env_step": agent.step,
        "training_seed": agent.config.seed, "parameters": agent.fingerprint, **settings.to_json(),
        "frames": len(looked), "reference_frames": len(reference),
        "map": attention_use.map_statistics(agent, looked),
        "replacements": {name: compared(results, name) | policies[name] for name in names},
        "versions": versions(), "commit": commit(), "machine": machine(),
    }  # fmt: skip
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        write_whole(table, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"{table} cannot be written ({error.strerror}): free space or fix permissions."
        ) from error
    print_table(content)
    print(f"Written to {table}")
    return table


def names_in(table: Path, agent: Agent, settings: EvaluationSettings) -> tuple[str, ...]:
    """The replacements in an earlier table of the same games and parameters; empty if there is none."""
    same = {"parameters": agent.fingerprint, **settings.to_json()}
    try:
        content = json.loads(table.read_text())
        matches = all(content.get(name) == value for name, value in same.items())
        return tuple(content["replacements"]) if matches else ()
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return ()  # no table, or a damaged one, which is replaced


def compared(results: Results, name: str) -> dict[str, Any]:
    """Compare the games with a replacement with the trained ones: mean, difference with 95 % interval.

    Games are paired by environment and round, which share a seed. The bootstrap resamples these pairs.
    """
    summary = results[name]["summary"]
    normalised = summary.get("human_normalised") or {}
    row = {
        "games": summary["games"],
        "mean": summary["mean"],
        "interval_95": summary["interval_95"]["mean"],
        "human_normalised": normalised.get("mean"),
    }
    if name == TRAINED:
        return row
    ours, theirs = (_by_game(results[each]) for each in (name, TRAINED))
    each_round = EvaluationSettings(games_per_env=results[name]["games_per_env"]).games_per_round
    numbers = sorted(ours)
    pairs = [(environment, game // each_round) for environment, game in numbers]
    clusters = np.unique(np.array(pairs), axis=0, return_inverse=True)[1].ravel()
    differences = np.array([[ours[number] - theirs[number]] for number in numbers])
    (difference,) = cluster_means(differences, clusters)
    ends = [None if math.isnan(end) else end for end in (difference.low, difference.high)]
    return row | {"difference": difference.value, "difference_interval_95": ends}


def _by_game(result: dict[str, Any]) -> dict[tuple[int, int], float]:
    return {(game["environment"], game["game"]): game["return"] for game in result["games"]}


def _check(agent: Agent, names: Sequence[str]) -> None:
    """Raise UserError for a replacement that is impossible."""
    try:
        for name in names:
            check_name(name)
    except ValueError as error:
        raise UserError(f"--attention: {error}") from error
    if agent.spec.attention is None and len(names) > 1:
        raise UserError(f"{agent.network} has no attention to replace: leave --attention out.")


def _play_for_frames(agent: Agent, settings: EvaluationSettings) -> np.ndarray | None:
    """Frames of the agent at play, with progress; None after a signal."""
    title = f"{agent.game} {agent.config.variant} step {agent.step:,}: frames"
    with (
        StopFlag("this step", "nothing has been written yet") as stop,
        ProgressDisplay(title, attention_use.STEPS, "playing ...") as display,
    ):
        return attention_use.frames_of_play(
            agent, settings, lambda: bool(stop), lambda done: display.count(done, "steps")
        )


def print_table(content: dict[str, Any]) -> None:
    """Print the table of an `attention/` file."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("attention", "return", "less trained", "95% interval", "human-norm.", "KL (nats)", "|dV|"):
        table.add_column(column, justify="left" if column == "attention" else "right", no_wrap=True)
    for name, row in content["replacements"].items():
        table.add_row(name, *cells(row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    console.print(table)
    print("; ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in content["map"].items()))


def cells(row: dict[str, Any]) -> list[str]:
    """The texts of a replacement's row, in the order of the table."""
    difference, interval = "", ""
    if "difference" in row:
        difference = f"{row['difference']:+,.1f}"
        low, high = row["difference_interval_95"]
        interval = "one pair" if low is None else f"{low:+,.1f} to {high:+,.1f}"
    normalised = "none" if row["human_normalised"] is None else f"{row['human_normalised']:.2f}"
    policy = [f"{row[name]['mean']:.3f}" for name in ("kl", "value_change")]
    return [f"{row['mean']:,.1f}", difference, interval, normalised, *policy]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
