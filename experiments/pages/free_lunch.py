"""What attention costs in score and in speed, compared with the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.comparison import Sample, difference_estimate, mean_difference_estimate
from experiments.analysis.selection import Selection
from experiments.data.grid import BASELINE
from experiments.pages.presentation import Empty, Table
from experiments.pages.tables import commits, environments, machines, number, rules_between_games, signed
from fls_jax.statistics import REFERENCES


def free_lunch_table(selection: Selection) -> Table:
    """The table of what attention costs: score and speed, game by game and over all games."""
    columns = (
        "game", "network", "seeds", "return\nof cnn", "return", "difference", "95% interval",
        "human-normalised\ndifference", "steps/s\nof cnn", "steps/s", "time per step",
    )  # fmt: skip
    experiment = selection.experiment
    rows, data = [], []
    for game, environment in environments(selection):
        baseline = selection.sample(game, BASELINE, environment)
        for network in experiment.networks:
            if network == BASELINE or not experiment.seeds(game, network):
                continue
            sample = selection.sample(game, network, environment)
            record: dict[str, Any] = {"environment": environment, "network": network}
            record |= _difference(sample, baseline, environment) | _overhead(selection, game, network)
            missing = network if sample is None else BASELINE
            reason = "" if sample and baseline else selection.why_empty(game, missing, environment)
            rows.append([environment, network, *_lunch_cells(record, f"{missing}: {reason}")])
            data.append(record)
    rules = rules_between_games(rows)
    for network in experiment.networks:
        over_all = _over_all_games(selection, network) if network != BASELINE else None
        if over_all:
            rules = [*rules, len(rows)] if not any(row[0] == "all games" for row in rows) else rules
            rows.append(["all games", network, *_all_cells(over_all)])
            data.append({"environment": "all games", "network": network, **over_all})
    notes = [
        "Seeds: the network's / the baseline's. Intervals by two-level bootstrap (seeds, then games), both "
        "networks resampled; with one seed they know nothing of other seeds. All games: mean of the "
        "human-normalised differences.",
        "Steps/s: median over the updates of the finished training runs, everything included. Time per step: "
        "where all of them had the same machine and code; other work on it counts too, so the throughput "
        "table is the better measure of speed.",
    ]
    title = f"{experiment.title}: what attention costs, against {BASELINE}"
    return Table("free_lunch", title, columns, rows, pd.DataFrame(data), notes, rules)


def _difference(sample: Sample | None, baseline: Sample | None, environment: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, each in (("", sample), ("baseline_", baseline)):
        values |= {f"{name}seeds": len(each.returns), f"{name}mean": each.mean} if each else {}
    if sample is None or baseline is None:
        return values
    values |= dict(zip(("difference", "low", "high"), difference_estimate(sample, baseline), strict=True))
    if environment in REFERENCES:
        scale = REFERENCES[environment].human - REFERENCES[environment].random
        values["human_normalised_difference"] = values["difference"] / scale
    return values


def _overhead(selection: Selection, game: str, network: str) -> dict[str, Any]:
    """Speeds of the finished runs, and the ratio of times per step if machine and code are the same."""
    ours, theirs = ([run for run in selection.of(game, name) if run.finished] for name in (network, BASELINE))
    values: dict[str, Any] = {}
    for name, runs in (("steps_per_second", ours), ("baseline_steps_per_second", theirs)):
        speeds = [run.steps_per_second for run in runs if np.isfinite(run.steps_per_second)]
        values |= {name: float(np.median(speeds))} if speeds else {}
    sessions = [session for run in (*ours, *theirs) for session in run.sessions]
    if len(values) == 2 and len(machines(sessions)) == 1 and len(commits(sessions)) < 2:
        values["time_per_step"] = values["baseline_steps_per_second"] / values["steps_per_second"]
    return values


def _lunch_cells(record: dict[str, Any], reason: str) -> list[str]:
    def shown(name: str, form: str = "{:.0f}", empty: str = "") -> str:
        return form.format(record[name]) if name in record else Empty(empty)

    means = [number(record[name]) if name in record else Empty() for name in ("baseline_mean", "mean")]
    if "difference" in record:
        seeds = f"{record['seeds']} / {record['baseline_seeds']}"
        interval = f"{signed(record['low'])} to {signed(record['high'])}"
        gap = [seeds, *means, signed(record["difference"]), interval]
    else:
        gap = [Empty(), *means, Empty(), Empty(reason)]
    normalised = record.get("human_normalised_difference")
    both = "baseline_steps_per_second" in record and "steps_per_second" in record
    return [
        *gap,
        Empty() if normalised is None else signed(normalised, 3),
        shown("baseline_steps_per_second"),
        shown("steps_per_second"),
        shown("time_per_step", "{:.2f}x", "other machine or code" if both else ""),
    ]


def _over_all_games(selection: Selection, network: str) -> dict[str, Any] | None:
    """The mean of the human-normalised differences over games with both scores; None for less than two."""
    pairs, scales = [], []
    for game in selection.experiment.games:
        ours, theirs = selection.sample(game, network), selection.sample(game, BASELINE)
        if ours and theirs and game in REFERENCES:
            pairs.append((ours, theirs))
            scales.append(REFERENCES[game].human - REFERENCES[game].random)
    if len(pairs) < 2:
        return None
    estimate = mean_difference_estimate(pairs, scales)
    return {
        "games_compared": len(pairs),
        "human_normalised_difference": estimate.value,
        "human_normalised_low": estimate.low,
        "human_normalised_high": estimate.high,
    }


def _all_cells(values: dict[str, Any]) -> list[str]:
    low, high = values["human_normalised_low"], values["human_normalised_high"]
    compared = Empty(f"{values['games_compared']} games")
    interval = f"{signed(low, 3)} to {signed(high, 3)}"
    mean = signed(values["human_normalised_difference"], 3)
    return [compared, Empty(), Empty(), Empty(), interval, mean, Empty(), Empty(), Empty()]
