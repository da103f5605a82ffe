"""An experiment's runs as tables: cells, scores beside the paper's, parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.comparison import Sample, mean_estimate
from experiments.analysis.selection import Selection
from experiments.data.grid import BASELINE, Cell
from experiments.pages.presentation import Empty, Table
from fls_jax.networks.geometry import attention_shape
from fls_jax.networks.specs import NETWORKS, PUBLISHED
from fls_jax.networks.summary import ACTIONS, describe, parameter_count
from fls_jax.statistics import REFERENCES, human_normalised, interquartile_mean, paper

INFINITE = "BreakoutInfinite"


def number(value: float) -> str:
    """The text of a return: one decimal below 100."""
    digits = 1 if abs(value) < 99.95 else 0
    return f"{value:,.{digits}f}"


def between(interval: Sequence[float] | None) -> str:
    """An interval of returns; a single game has none."""
    return "none" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def with_std(mean: float, std: float) -> str:
    """A mean and its standard deviation, with the mean's decimals."""
    digits = 1 if abs(mean) < 99.95 else 0
    return f"{mean:,.{digits}f} ± {std:,.{digits}f}"


def signed(value: float, digits: int | None = None) -> str:
    """The text of a difference, always with its sign."""
    text = number(abs(value)) if digits is None else f"{abs(value):,.{digits}f}"
    return ("-" if value < 0 else "+") + text


def million(steps: float) -> str:
    """Agent steps in millions."""
    return f"{steps / 1e6:g}M"


def environments(selection: Selection) -> Iterator[tuple[str, str]]:
    """(game, scored environment): every game, and BreakoutInfinite if there are scores of it."""
    experiment = selection.experiment
    for game in experiment.games:
        yield game, game
        if game == "Breakout" and (
            experiment.name == "paper"
            or any(selection.sample(game, network, INFINITE) for network in experiment.networks)
        ):
            yield game, INFINITE


def runs_table(selection: Selection) -> Table:
    """The runs of the experiment: progress, time and machine; and what is not run."""
    columns = ("game", "network", "seed", "state", "steps", "hours", "last 100 games", "machine", "commit")
    experiment = selection.experiment
    rows, data = [], []
    for game in experiment.games:
        for network in experiment.networks:
            missing = []
            for seed in sorted(experiment.seeds(game, network)):
                record = _run_record(selection, Cell(game, network, seed))
                data.append(record)
                if record["state"] == "not run":
                    missing.append(str(seed))
                else:
                    rows.append([game, network, *_run_cells(record)])
            if missing:
                rows.append([game, network, ", ".join(missing), Empty("not run"), *[Empty()] * 5])
    title = f"{experiment.title}: runs of {million(experiment.total_steps)} agent steps"
    notes = ["Last 100 games: mean raw return while training (eprewmean) at the end of the record."]
    return Table("runs", title, columns, rows, pd.DataFrame(data), notes, rules_between_games(rows))


def _run_record(selection: Selection, cell: Cell) -> dict[str, Any]:
    run, state = selection.runs.get(cell), selection.state(cell)
    record: dict[str, Any] = {"game": cell.game, "network": cell.network, "seed": cell.seed, "state": state}
    if run is None:
        return record
    last = run.history.iloc[-1] if len(run.history) else pd.Series(dtype=float)
    return record | {
        "env_step": run.env_step,
        "hours": float(last.get("seconds_total", np.nan)) / 3600,
        "eprewmean": float(last.get("eprewmean", np.nan)),
        "machine": "; ".join(machines(run.sessions)),
        "commit": ", ".join(commits(run.sessions)),
    }


def _run_cells(record: dict[str, Any]) -> list[str]:
    state, hours, score = (record[name] for name in ("state", "hours", "eprewmean"))
    return [
        str(record["seed"]),
        state if state == "evaluated" else Empty(state),
        f"{record['env_step']:,}",
        f"{hours:.1f}" if np.isfinite(hours) else Empty("unknown"),
        number(score) if np.isfinite(score) else Empty("none yet"),
        record["machine"],
        ", ".join(text[:10] + "-dirty" * text.endswith("-dirty") for text in record["commit"].split(", ")),
    ]


def score_table(selection: Selection) -> Table:
    """Final scores of every game and network beside the paper's."""
    experiment = selection.experiment
    columns = (
        "game", "network", "seeds", "games", "mean ± std", "95% interval", "IQM", "human-\nnormalised",
        "the paper's\nmean ± std",
    )  # fmt: skip
    rows, data = [], []
    for game, environment in environments(selection):
        for network in experiment.networks:
            published = paper.score(environment, network)
            sample = selection.sample(game, network, environment)
            unplanned = environment == INFINITE or not experiment.seeds(game, network)
            if sample is None and published is None and unplanned:
                continue
            theirs = with_std(*published) if published else Empty("none")
            record: dict[str, Any] = {"environment": environment, "network": network}
            if sample is None:
                ours: list[str] = [Empty(), Empty(), Empty(selection.why_empty(game, network, environment))]
                rows.append([environment, network, *ours, Empty(), Empty(), Empty(), theirs])
                record["state"] = str(ours[2])
            else:
                record |= _scores(sample, environment)
                rows.append([environment, network, *_score_cells(record), theirs])
            if published:
                record |= {"paper_mean": published.mean, "paper_std": published.std}
            data.append(record)
    steps = million(experiment.total_steps)
    notes = [
        f"Ours: {steps} agent steps, sampled actions, raw returns of whole games, protocol "
        f"{selection.protocol}; std over all games of all seeds. Interval of the mean by two-level bootstrap "
        "(seeds, then games): with one seed it knows nothing of other seeds.",
        f"The paper's: {million(paper.STEPS)} agent steps, {paper.SEEDS} seeds x {paper.GAMES_PER_MODEL:,} "
        f"games. {paper.CAVEAT}",
    ]
    return Table(
        "scores",
        f"{experiment.title}: final scores",
        columns,
        rows,
        pd.DataFrame(data),
        notes,
        rules_between_games(rows),
    )


def _scores(sample: Sample, environment: str) -> dict[str, Any]:
    estimate = mean_estimate(sample)
    normalised = human_normalised(sample.mean, environment) if environment in REFERENCES else None
    return {
        "state": "evaluated",
        "seeds": len(sample.returns),
        "games": sample.games,
        "mean": sample.mean,
        "std": sample.std,
        "low": estimate.low,
        "high": estimate.high,
        "iqm": float(interquartile_mean(np.concatenate(sample.returns))),
        "human_normalised": np.nan if normalised is None else normalised,
    }


def _score_cells(record: dict[str, Any]) -> list[str]:
    normalised = record["human_normalised"]
    return [
        str(record["seeds"]),
        f"{record['games']:,}",
        with_std(record["mean"], record["std"]),
        f"{number(record['low'])} to {number(record['high'])}",
        number(record["iqm"]),
        f"{normalised:.2f}" if np.isfinite(normalised) else Empty("none"),
    ]


def parameter_table() -> Table:
    """Parameters of all networks beside the paper's counts; our networks are in a separate group."""
    columns = (
        "from", "network", "parameters", "published", "of cnn", "attention map", "torso; attention; readout"
    )  # fmt: skip
    counts = {name: parameter_count(spec, ACTIONS) for name, spec in NETWORKS.items()}
    rows, data = [], []
    for name, spec in NETWORKS.items():
        theirs = paper.PARAMETERS.get(name)
        height, width = attention_shape(spec)
        share = counts[name] / counts[BASELINE]
        rows.append(
            [
                "the paper" if name in PUBLISHED else "ours",
                name,
                f"{counts[name]:,}",
                Empty("none") if theirs is None else f"{theirs:,}",
                f"{share:.0%}",
                f"{height}x{width}" if spec.attention else Empty("none"),
                describe(spec),
            ]
        )
        data.append({"network": name, "parameters": counts[name], "paper": theirs, "of_cnn": share})
    notes = [f"With {ACTIONS} actions, policy and value heads included."]
    table = pd.DataFrame(data).astype({"paper": "Int64"})
    return Table("parameters", "Parameters", columns, rows, table, notes, rules_between_games(rows))


def machines(sessions: Iterable[dict[str, Any]]) -> list[str]:
    """The machines of a run's sessions, without repetitions."""
    found = []
    for details in sessions:
        described = details.get("machine") or {}
        cpu = str(described.get("cpu", "unknown"))
        backend = details.get("backend", "cpu")
        found.append(f"{cpu}, {described.get('cores', '?')} cores" + f", {backend}" * (backend != "cpu"))
    return list(dict.fromkeys(found))


def commits(sessions: Iterable[dict[str, Any]]) -> list[str]:
    """The commits of a run's sessions, without repetitions; none for code outside a checkout."""
    return list(dict.fromkeys(str(details["commit"]) for details in sessions if details.get("commit")))


def rules_between_games(rows: list[list[str]]) -> list[int]:
    """The indices of rows where the first column (the game) changes."""
    return [i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0]]
