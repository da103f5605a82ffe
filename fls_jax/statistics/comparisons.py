"""Distributions of scores, learning curves, pairs of algorithms (Agarwal et al. 2021, arXiv 2108.13264)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fls_jax.statistics.aggregates import iqm, resamplings


class Band(NamedTuple):
    """Values with pointwise confidence intervals, each float [points] or scalar."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of the runs of all strata that score above each threshold: [..., n, strata] -> [..., points]."""
    scores = np.asarray(scores, float)
    pooled = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    above = [(pooled > threshold).mean(axis=-1) for threshold in np.asarray(thresholds, float)]
    return np.stack(above, axis=-1)


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How often a run of ours beats one of theirs in the same stratum; ties count half; mean over strata.

    [..., n, strata], [..., m, strata] -> [...]. It is the Mann-Whitney statistic over n m in each stratum.
    """
    a, b = np.asarray(ours, float)[..., :, None, :], np.asarray(theirs, float)[..., None, :, :]
    return ((a > b) + 0.5 * (a == b)).mean(axis=(-3, -2, -1))


def iqm_curve(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over runs and strata at every point of learning curves: [..., n, strata, points]."""
    return iqm(np.moveaxis(np.asarray(scores, float), -1, 0)).T


def bootstrap_band(
    arrays: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band:
    """`statistic(*arrays)` with percentile intervals of each of its values by the stratified bootstrap.

    Each array is resampled independently within each stratum. The same seed gives the same intervals.

    Args:
        arrays: float [n, strata] each, or [n, strata, points]; n may differ, the strata must not.
        statistic: must also take stacks of resampled arrays, [count, n, strata, ...].

    Raises ValueError as `bootstrap_intervals` does, and for arrays over different strata.
    """
    arrays = [np.asarray(scores, float) for scores in arrays]
    if len({scores.shape[1:] for scores in arrays if scores.ndim > 1}) > 1:
        shapes = ", ".join(str(list(scores.shape)) for scores in arrays)
        raise ValueError(f"Scores that are compared must be of the same strata; these have shapes {shapes}.")
    parts = [statistic(*drawn) for drawn in resamplings(arrays, resamples, confidence, seed)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail], axis=0)
    return Band(np.asarray(statistic(*arrays)), low, high)
