"""The tables of the overview and of measurements, from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from fls_jax.networks.geometry import attention_shape
from fls_jax.networks.specs import NETWORKS
from fls_jax.networks.summary import parameter_count
from fls_jax.report.measurements import attention_tables, saliency_tables
from fls_jax.report.page import shown
from fls_jax.report.sources import Source, last_number
from fls_jax.report.tables import Cell, Row, cell, column, row, table
from fls_jax.runs.contents import DIFFERENCE, gaze_rows, last_step

METRICS = {
    "nss": ("NSS", "high"),
    "cc": ("CC", "high"),
    "sim": ("SIM", "high"),
    "kl": ("KL", "low"),
    "kl_smoothed": ("KL, smoothed", "low"),
    "auc_judd": ("AUC-Judd", "high"),
    "sauc": ("sAUC", "high"),
    "information_gain": ("information gain", "high"),
}


def tables(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """All tables of a report."""
    makers = (training_table, evaluation_tables, attention_tables, gaze_tables, saliency_tables)
    return [table for maker in makers for table in maker(runs, labels)]


def training_table(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """The trainings: steps, parameters, attention, throughput."""
    columns = [
        column("agent", "agent", "text"),
        column("game", "game", "text"),
        column("steps", "agent steps", meaning="Steps trained, of those configured"),
        column("parameters", "parameters", meaning="Both heads included"),
        column("map", "attention", "text", meaning="Positions of the attention map"),
        column("return", "return", meaning="Mean return of the last 100 games of training"),
        column("hours", "hours", meaning="Wall-clock hours of training"),
        column("speed", "steps/s", meaning="Median over the updates, everything included"),
    ]
    rows = [row(_trained(run, label)) for run, label in zip(runs, labels, strict=True)]
    note = (
        "Training returns are of a policy that still learns. Speeds on different machines are not comparable."
    )
    return [table("training", "What was trained", columns, rows, notes=[note])]


def _trained(run: Source, label: str) -> dict[str, Cell]:
    shipped = run.details.get("pretrained") or {}
    seconds = last_number(run.history, "seconds_total") or shipped.get("seconds_total")
    speeds = [speed for row in run.history if isinstance(speed := row.get("sps"), int | float)]
    finished = run.env_step >= last_step(run.details)
    return {
        "agent": cell(label),
        "game": cell(run.game),
        "steps": cell(run.env_step, note=None if finished else f"of {run.config.total_steps:,}"),
        "parameters": cell(_parameters(run)),
        "map": cell(_attention(run)),
        "return": cell(last_number(run.history, "eprewmean") or shipped.get("eprewmean")),
        "hours": cell(seconds / 3600 if seconds else None),
        "speed": cell(float(np.median(speeds)) if speeds else None),
    }


def _parameters(run: Source) -> int | None:
    actions = run.details.get("action_names")
    if run.config.network not in NETWORKS or not isinstance(actions, list):
        return None
    return parameter_count(NETWORKS[run.config.network], len(actions))


def _attention(run: Source) -> str:
    spec = NETWORKS.get(run.config.network)
    if spec is None:
        return "unknown network"
    return "none" if spec.attention is None else "x".join(map(str, attention_shape(spec)))


def evaluation_tables(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """Evaluations over whole games, compared between agents of one game and mode."""
    found = [
        (label, each)
        for run, label in zip(runs, labels, strict=True)
        for each in _evaluations(run)
    ]  # fmt: skip
    if not found:
        return []
    found.sort(key=lambda pair: (pair[1]["environment"], pair[1]["mode"], pair[0], pair[1]["env_step"]))
    columns = [
        column("agent", "agent", "text"),
        column("environment", "game", "text"),
        column("mode", "mode", "text", meaning="standard: actions sampled from the policy"),
        column("env_step", "step"),
        column("games", "games"),
        column("mean", "mean return", better="high", meaning="With its 95% interval over games"),
        column("median", "median", better="high"),
        column("iqm", "IQM", better="high", meaning="Mean of the middle half of the games"),
        column("std", "std", meaning="Population standard deviation over games"),
        column("human", "human-normalised", meaning="0: random play, 1: a human"),
    ]
    rows = [row(_evaluated(label, each)) for label, each in found]
    groups = groupby(range(len(found)), key=lambda n: (found[n][1]["environment"], found[n][1]["mode"]))
    note = (
        "Intervals cover the luck of the games, not of the seed. ★ marks the best of a game and mode "
        "where its interval lies beyond every other's."
    )
    return [
        table("evaluation", "Evaluation: whole games, raw returns", columns, rows, notes=[note],
              compare=[list(numbers) for _, numbers in groups])
    ]  # fmt: skip


def _evaluations(run: Source) -> list[dict[str, Any]]:
    """Summaries of a run's evaluations, including those in a shipped agent's configuration."""
    found = [
        {
            "environment": each.environment,
            "mode": each.mode,
            "env_step": each.env_step,
            "summary": each.summary,
        }
        for each in run.evaluations
    ]
    shipped = run.details.get("pretrained") or {}
    for each in shipped.get("evaluations", []):
        mode = "greedy" if each.get("greedy") else "standard"
        found.append(
            {"environment": shown(each["environment"]), "mode": mode}
            | {"env_step": shipped["env_step"], "summary": each["summary"]}
        )
    return found


def _evaluated(label: str, found: dict[str, Any]) -> dict[str, Cell]:
    summary = found["summary"]
    spans = summary["interval_95"]
    statistics = {
        name: cell(summary[name], *(spans.get(name) or (None, None))) for name in ("mean", "median", "iqm")
    }
    return {
        "agent": cell(label),
        "environment": cell(found["environment"]),
        "mode": cell(found["mode"]),
        "env_step": cell(found["env_step"]),
        "games": cell(summary["games"]),
        **statistics,
        "std": cell(summary["std"]),
        "human": cell((summary.get("human_normalised") or {}).get("mean")),
    }


def gaze_tables(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """Maps against human gaze: one table per run and protocol, controls separate."""
    found = []
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for summary in run.gaze:
            found.append(_gaze_table(f"gaze-{number}-{len(found)}", run, label, summary))
    return found


def _gaze_table(name: str, run: Source, label: str, summary: dict[str, Any]) -> dict[str, Any]:
    scores = gaze_rows(summary)
    metrics = list(next(iter(scores.values()), {}))
    columns = [column("map", "map", "text")]
    for metric in metrics:
        words, better = METRICS.get(metric, (shown(metric), None))
        columns.append(column(metric, words, better=better))
    notes = summary["notes"]
    rows = [_gaze_row(each, metrics, values, notes.get(each)) for each, values in scores.items()]
    trials = len(summary["trials"]["scored"])
    return table(
        name,
        f"Human gaze: {run.game}, {label}, step {summary['env_step']:,}, protocol {summary['protocol']}, "
        f"{summary['space']}",
        columns,
        rows,
        "measurements",
        [
            f"{summary['observations']:,} observations of {trials} trial{'s' * (trials != 1)}; 95% intervals "
            f"over blocks of {summary['intervals']['observations_in_a_block']} observations. Differences are "
            "the model's score minus the control's on the same frames.",
        ],
    )


def _gaze_row(name: str, metrics: Sequence[str], scores: dict[str, Any], note: str | None) -> Row:
    kind = "agent" if name == "model" else "difference" if name.startswith(DIFFERENCE) else "control"
    cells = {"map": cell(shown(name) + (f" ({shown(note)})" if note else ""))}
    for metric in metrics:
        score = scores.get(metric)
        if score is not None:
            cells[metric] = cell(score["mean"], *(score["interval_frames"] or (None, None)))
    return row(cells, kind)
