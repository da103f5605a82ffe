"""Shows the shipped agents: films with saliency, learning curves and a score table.

    make demo

No training and no network: the agents are in experiments/pretrained/, the records of their trainings in
experiments/results/. The same command keeps the games of the table and makes the films again.
"""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from experiments.analysis.runs import load_runs
from experiments.analysis.selection import select
from experiments.commands.command_line import run_command
from experiments.commands.ship import HOME, replacing
from experiments.data.grid import MAIN_NETWORKS, PILOT
from experiments.pages.attention import attention_table
from experiments.pages.plots import draw_curves
from experiments.pages.presentation import Empty, Table, drawing_settings, save_figure, write_table
from experiments.pages.tables import between, million, number, rules_between_games, with_std
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.evaluation.attention_job import print_table
from fls_jax.evaluation.job import evaluate
from fls_jax.evaluation.results import read_result
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.film.job import film
from fls_jax.networks.geometry import attention_geometry
from fls_jax.networks.specs import network_spec
from fls_jax.report.job import report
from fls_jax.runs.contents import Evaluation, read_evaluation
from fls_jax.runs.folder import RunFolder, find_runs, set_aside
from fls_jax.statistics import paper
from fls_jax.train.preparation import resolve

RECORDS = HOME.with_name("results")


@dataclass(frozen=True)
class Settings:
    """Let the shipped agents play, film them with their saliency, and summarise their results."""

    agents: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """folder of pretrained agents"""
    records: Annotated[Path, tyro.conf.arg(metavar="DIR")] = RECORDS
    """folder of run folders, for the learning curves"""
    games: int = 4
    """whole games that each agent plays"""
    steps: int = 600
    """agent steps in each film (15 per second)"""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo")
    """folder for the results"""


class Stopped(Exception):  # noqa: N818
    """A signal ended the demo; the same command resumes it."""


@dataclass(frozen=True)
class Played:
    """A shipped agent in the demo: its folder below `out`, its config.json and the games just played."""

    folder: Path
    config: dict[str, Any]
    games: Evaluation

    @property
    def network(self) -> str:
        """With `-cost<L>` if its attention costs."""
        return TrainConfig.from_json(self.config).variant


def make_demo(settings: Settings) -> list[Path]:
    """Play, film, draw; returns the files. Raises UserError for errors that the user can correct."""
    shipped = find_runs(settings.agents) if settings.agents.is_dir() else []
    if not shipped:
        raise UserError(
            f"There is no trained agent in {settings.agents}: make one of a finished, evaluated run with "
            "`python -m experiments.commands.ship RUN`."
        )
    try:
        copies = [_copy(source, settings.out / "agents") for source in shipped]
        played = sorted(
            (_play(copy, settings.games) for copy in copies),
            key=lambda each: (each.config["game"], each.network),
        )
        return [
            *_films(played, settings),
            *_curves(settings),
            *_scores(played, settings.out),
            *_replaced(played, settings.out),
            *_report(played, settings),
        ]
    except OSError as error:
        raise UserError(
            f"{error.filename or settings.out} cannot be read or written ({error.strerror}): free space or "
            "fix permissions, or choose another --out."
        ) from error


def _copy(source: Path, agents: Path) -> Path:
    """Copy an agent below `agents`, together with later results; an outdated copy is renamed."""
    config = RunFolder(source).read_config()
    if "pretrained" not in config:
        raise UserError(
            f"{source} is not a shipped agent: make one of it with `python -m experiments.commands.ship "
            f"{source}` and take it away from there."
        )
    train = resolve(TrainConfig.from_json(config, str(RunFolder(source).config_file)))
    target = agents / train.game / train.variant
    if target.exists():
        if (target / "config.json").read_bytes() == (source / "config.json").read_bytes():
            return target
        set_aside(target)
    with replacing(target) as part:
        shutil.copytree(source, part, copy_function=shutil.copyfile)
    return target


def _play(folder: Path, games: int) -> Played:
    """The first game of each of `games` environments, by the evaluation job."""
    config = RunFolder(folder).read_config()
    settings = EvaluationSettings(num_envs=games, games_per_env=1)
    done = read_result(folder / "evaluation" / f"{config['pretrained']['env_step']}-{settings.mode}.json")
    path = evaluate(folder, settings, fresh=done is None or done.get("num_envs") != games)
    if path is None:
        raise Stopped
    return Played(folder, config, read_evaluation(path))


def _films(played: Sequence[Played], settings: Settings) -> list[Path]:
    """One film per game, with its agents side by side."""
    films = []
    for game, agents in itertools.groupby(played, key=lambda each: each.config["game"]):
        folders = [each.folder for each in agents]
        films.append(film(folders, settings.out / f"{game}.mp4", steps=settings.steps))
    return films


def _report(played: Sequence[Played], settings: Settings) -> list[Path]:
    """All agents in one page: at play on the same frames, with and without their maps.

    The gradient is for those without attention too; curves and gaze are in the records of the trainings.
    """
    written = report(
        [each.folder for each in played],
        settings.out / "report.html",
        steps=settings.steps,
        methods=("attention", "gradient"),
        targets=("action", "value"),
        records=[settings.records] if settings.records.is_dir() else [],
    )
    if not written:
        raise Stopped
    return written


def _curves(settings: Settings) -> list[Path]:
    """The pilot's learning curves, from the records."""
    selection = select(load_runs([settings.records]), PILOT)
    with drawing_settings():
        figure = draw_curves(selection, MAIN_NETWORKS, f"{PILOT.title}: learning curves")
        return save_figure(figure, settings.out / "curves")


def _scores(played: Sequence[Played], out: Path) -> list[Path]:
    """The score table as a picture, CSV and Markdown."""
    table = demo_table(played)
    page = out / "scores.md"
    page.write_text(table.markdown())
    with drawing_settings():
        return [*write_table(table, out), page]


def _replaced(played: Sequence[Played], out: Path) -> list[Path]:
    """Is attention used? The recorded table of one agent, printed: of that with the finest map."""
    recorded = [each for each in played if each.config["pretrained"].get("attention")]
    if not recorded:
        return []
    agent = min(
        recorded, key=lambda each: attention_geometry(network_spec(each.config["network"])).receptive_field
    )
    (content, *_) = agent.config["pretrained"]["attention"]
    print()
    print_table(content)
    page = out / "attention.md"
    page.write_text(attention_table(content).markdown())
    return [page]


def demo_table(played: Sequence[Played]) -> Table:
    """Every agent with the games just played, its recorded evaluation, and the paper's score."""
    columns = (
        "game", "network", "agent steps", "now:\ngames", "mean\nreturn", "lowest to\nhighest",
        "recorded:\ngames", "mean ± std", "95% interval", "the paper's\nmean ± std",
    )  # fmt: skip
    rows, data = [], []
    for each in played:
        train, now = each.config, each.games.summary
        facts = train["pretrained"]
        recorded = facts["evaluations"][0]["summary"]
        published = paper.score(train["game"], each.network)
        rows.append(
            [
                train["game"],
                each.network,
                f"{facts['env_step']:,}" + ", unfinished" * (facts["env_step"] < facts["last_step"]),
                str(now["games"]),
                number(now["mean"]),
                f"{number(now['min'])} to {number(now['max'])}",
                f"{recorded['games']:,}",
                with_std(recorded["mean"], recorded["std"]),
                between(recorded["interval_95"]["mean"]),
                with_std(*published) if published else Empty("none"),
            ]
        )
        data.append(
            {
                "game": train["game"],
                "network": each.network,
                "seed": train["seed"],
                "env_step": facts["env_step"],
                "last_step": facts["last_step"],
                "games_now": now["games"],
                "mean_now": now["mean"],
                "games": recorded["games"],
                "mean": recorded["mean"],
                **dict(zip(("low", "high"), recorded["interval_95"]["mean"] or (None, None), strict=True)),
                "paper_mean": published.mean if published else None,
            }
        )
    notes = [
        "Raw returns of whole games, actions sampled. Now: what was just played, too few games to judge by. "
        "Recorded: the evaluation that the agent was shipped with; its interval covers the luck of the "
        "games, not of the seed.",
        f"The paper's: {million(paper.STEPS)} agent steps, {paper.SEEDS} seeds. {paper.CAVEAT}",
    ]
    return Table(
        "scores", "The shipped agents", columns, rows, pd.DataFrame(data), notes, rules_between_games(rows)
    )


def _print_demo(settings: Settings) -> None:
    written = make_demo(settings)
    print()
    for path in written:
        print(path)


def main() -> int:
    """The command line. Returns 130 after a signal."""
    try:
        return run_command("demo", Settings, _print_demo)
    except (Stopped, KeyboardInterrupt):
        print("demo: stopped; the same command resumes it.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
