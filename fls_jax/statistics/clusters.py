"""Means over frames of several games, with intervals from resampling whole games, not frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RESAMPLES = 1000


class ClusterMean(NamedTuple):
    """A mean over n frames with its 95 % interval, NaN if there is only one game."""

    value: float
    low: float
    high: float
    n: int


def cluster_means(
    values: np.ndarray, clusters: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> list[ClusterMean]:
    """Mean of each column over its finite rows, with percentile intervals from resampled clusters.

    Frames of one game resemble each other, so games are drawn with replacement, with all their frames (Field
    and Welsh 2007). The draws depend only on the clusters and the seed, so that two columns or calls on the
    same frames use the same draws, and intervals of their differences are paired.

    values: float [B, M], NaN where undefined. clusters: int [B].
    """
    values, defined = np.asarray(values, float), np.isfinite(values)
    _, place = np.unique(clusters, return_inverse=True)
    games = int(place.max()) + 1
    belongs = np.eye(games)[place]  # [B, G]
    sums, counts = belongs.T @ np.where(defined, values, 0), belongs.T @ defined
    draws = np.random.default_rng(seed).multinomial(games, np.full(games, 1 / games), size=resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (draws @ sums) / (draws @ counts)  # [R, M]
        whole = sums.sum(axis=0) / counts.sum(axis=0)
    return [
        ClusterMean(float(value), *_percentiles(column if games > 1 else column[:0]), int(n))
        for value, column, n in zip(whole, means.T, counts.sum(axis=0), strict=True)
    ]


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
