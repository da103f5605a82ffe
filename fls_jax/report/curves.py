"""Learning curves of runs: one line per network, with a band over its seeds."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from fls_jax.report.sources import Source

METRIC = "eprewmean"
_POINTS = 200


def curves(runs: list[Source]) -> list[dict[str, Any]]:
    """One record per game and network: env_step, mean over the seeds, lowest and highest (null for one seed).

    A point is the mean return of the last 100 finished games, over the seeds that have reached this step.
    """
    found: list[dict[str, Any]] = []
    networks: list[str] = []
    for (game, network), group in groupby(runs, key=lambda run: (run.game, run.network)):
        series = [(run.config.seed, points) for run in group if len(points := _points(run))]
        if not series:
            continue
        if network not in networks:
            networks.append(network)
        found.append(
            {"game": game, "network": network, "metric": METRIC, "colour": networks.index(network) % 6}
            | {"seeds": [seed for seed, _ in series]}
            | _band([points for _, points in series])
        )
    return found


def _points(run: Source) -> np.ndarray:
    """float [n, 2]: env_step and the metric, where the metric is finite."""
    rows = [(row["env_step"], row[METRIC]) for row in run.history if isinstance(row.get(METRIC), int | float)]
    points = np.array(rows, float).reshape(-1, 2)
    return points[np.isfinite(points[:, 1])]


def _band(series: list[np.ndarray]) -> dict[str, Any]:
    longest = max(series, key=lambda points: points[-1, 0])[:, 0]
    steps = longest[np.unique(np.linspace(0, len(longest) - 1, _POINTS).astype(int))]
    values = np.array([np.interp(steps, *points.T, left=np.nan, right=np.nan) for points in series])
    known = np.isfinite(values).any(axis=0)
    steps, values = steps[known], values[:, known]
    several = len(series) > 1
    return {
        "env_step": steps.astype(int).tolist(),
        "mean": _round(np.nanmean(values, axis=0)),
        "low": _round(np.nanmin(values, axis=0)) if several else None,
        "high": _round(np.nanmax(values, axis=0)) if several else None,
    }


def _round(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
