"""Aggregates of scores with their uncertainty (Agarwal et al. 2021, arXiv 2108.13264). NumPy, vectorised.

An array of scores is [..., n, strata]: n samples of each stratum, for example the runs of each game or the
games of each environment. Aggregates reduce the last two axes, so that a stack of resampled arrays is reduced
in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
_CHUNK = 2**22  # resampled values in memory at a time


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the middle half along the last axis: [..., n] -> [...].

    floor(n / 4) values are cut at each end, as in scipy.stats.trim_mean(values, 0.25).
    """
    values = np.asarray(values, float)
    n = values.shape[-1]
    cut = n // 4
    return np.partition(values, (cut, n - cut - 1), axis=-1)[..., cut : n - cut].mean(axis=-1)


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean of all scores: [..., n, strata] -> [...]."""
    return np.asarray(scores, float).mean(axis=(-2, -1))


def median(scores: np.ndarray) -> np.ndarray:
    """Median of all scores: [..., n, strata] -> [...]."""
    return np.median(np.asarray(scores, float), axis=(-2, -1))


def median_of_means(scores: np.ndarray) -> np.ndarray:
    """Median over strata of their means, the `median` of studies over games: [..., n, strata] -> [...]."""
    return np.median(np.asarray(scores, float).mean(axis=-2), axis=-1)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean of all scores, pooled over the strata: [..., n, strata] -> [...]."""
    scores = np.asarray(scores, float)
    return interquartile_mean(scores.reshape(*scores.shape[:-2], -1))


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """Mean of max(target - score, 0): [..., n, strata] -> [...]."""
    return np.maximum(target - np.asarray(scores, float), 0.0).mean(axis=(-2, -1))


def bootstrap_intervals(
    scores: np.ndarray,
    statistics: Mapping[str, Statistic],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of several statistics by the stratified bootstrap.

    Every resample draws n scores with replacement from the n of each stratum. All statistics use the same
    resamples, and the same seed gives the same intervals.

    Args:
        scores: [n, strata], finite.
        statistics: name -> function of [..., n, strata] that reduces the last two axes.

    Raises ValueError for scores of another rank, none at all, or values that are not finite.
    """
    scores = np.asarray(scores, float)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for (resampled,) in resamplings([scores], resamples, confidence, seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(resampled))
    tail = 50 * (1 - confidence)
    return {
        name: Interval(*np.percentile(np.concatenate(part), [tail, 100 - tail]).tolist())
        for name, part in parts.items()
    }


def resamplings(
    arrays: Sequence[np.ndarray], resamples: int, confidence: float, seed: int
) -> Iterator[list[np.ndarray]]:
    """Yield stacks [count, n, strata] of resampled arrays, `resamples` in total.

    Each array is resampled independently: [n, strata], or [n, strata, points], whose samples are whole
    curves. Raises ValueError for scores of another rank, none at all, or values that are not finite.
    """
    for scores in arrays:
        if scores.ndim not in (2, 3) or not scores.size:
            raise ValueError(
                f"Scores must be [n, strata] with at least one; these have shape {list(scores.shape)}."
            )
        if not np.isfinite(scores).all():
            raise ValueError("Scores must be finite; leave out undefined ones first.")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            f"Resamples must be at least 1 and the confidence between 0 and 1; they are {resamples} and "
            f"{confidence}."
        )
    random = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // sum(scores.size for scores in arrays))
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        yield [_drawn(random, scores, count) for scores in arrays]


def _drawn(random: np.random.Generator, scores: np.ndarray, count: int) -> np.ndarray:
    drawn = random.integers(0, len(scores), (count, *scores.shape[:2]))
    return np.take_along_axis(scores[None], drawn.reshape(*drawn.shape, *[1] * (scores.ndim - 2)), axis=1)
