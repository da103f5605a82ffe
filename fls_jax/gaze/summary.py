"""Means of scores, the share of frames behind them, and bootstrap intervals. NumPy, vectorised.

A trial's value is the mean over its frames where the metric is defined; a model's value is the mean over its
trials (Nikulin et al. 2019). Neighbouring frames share most of their gaze and look alike, so frames are
resampled in blocks (Carlstein 1986). Trials are resampled as wholes, with their blocks resampled within them.
Two maps are compared by the differences of their scores on the same frames, so that the difficulty of a frame
cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fls_jax.gaze.scoring import METRICS, SEED

RESAMPLES = 2000
BLOCK = 25
"""Observations in a block: 100 frames, 5 seconds of the human's game."""


class TrialStatistics(NamedTuple):
    """Statistics of a trial's scores, by map and metric.

    observations: n, the number scored.
    defined: int [M, 8], the number of observations with a defined value.
    blocks: int [M, 8], the number of blocks with a defined value.
    mean: float64 [M, 8], over the defined values; NaN if there is none.
    resampled: float64 [R, M, 8], the mean in each bootstrap sample of the trial's blocks.
    """

    observations: int
    defined: np.ndarray
    blocks: np.ndarray
    mean: np.ndarray
    resampled: np.ndarray


def trial_statistics(values: np.ndarray, trial: int) -> TrialStatistics:
    """Statistics of the scores float [n, M, 8], in the order of frames, NaN where undefined.

    trial: the trial's number, which seeds the resamples.
    """
    n, *shape = values.shape
    counts = np.isfinite(values)
    sums = np.where(counts, values, 0).astype(float)
    blocks = max(-(-n // BLOCK), 1)
    block_of = np.arange(n) // BLOCK
    by_block = np.zeros((2, blocks, *shape))
    np.add.at(by_block[0], block_of, sums)
    np.add.at(by_block[1], block_of, counts)
    random = np.random.default_rng([SEED, trial])
    weights = random.multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES).astype(float)
    resampled_sums, resampled_counts = (np.tensordot(weights, part, axes=1) for part in by_block)
    defined = counts.sum(axis=0)
    return TrialStatistics(
        n,
        defined,
        (by_block[1] > 0).sum(axis=0),
        _ratio(sums.sum(axis=0), defined),
        _ratio(resampled_sums, resampled_counts),
    )


def over_controls(values: np.ndarray) -> np.ndarray:
    """The first map's scores minus those of each other map on the same frames: [n, M, 8] -> [n, M - 1, 8].

    NaN if either is undefined.
    """
    return values[:, :1] - values[:, 1:]


def trial_summary(statistics: TrialStatistics, maps: Sequence[str]) -> dict[str, Any]:
    """{map: {metric: {mean, coverage, interval}}} of one trial; None if nothing is defined.

    interval: [low, high], 95%, over blocks of frames; None if only one block has a defined value.
    """
    interval = _where(statistics.blocks > 1, _intervals(statistics.resampled))
    return _by_map(
        maps,
        mean=statistics.mean,
        coverage=_ratio(statistics.defined, np.full(statistics.defined.shape, statistics.observations)),
        interval=interval,
    )


def model_summary(trials: Sequence[TrialStatistics], maps: Sequence[str]) -> dict[str, Any]:
    """{map: {metric: {mean, coverage, interval_frames, interval_trials}}} of one model.

    mean: over the trials with a defined value. coverage: share of all frames with a defined value.
    interval_frames: [low, high], 95%, with fixed trials and resampled blocks of frames; None if no trial has
    two defined blocks. interval_trials: trials are resampled, too; None if only one trial has a defined
    value.
    """
    resampled = np.stack([trial.resampled for trial in trials])
    random = np.random.default_rng(SEED)
    drawn = random.integers(len(trials), size=(len(trials), RESAMPLES))
    # Another resample of the trial each time, so that a trial drawn twice gets two resamples of its blocks.
    of_trial = random.integers(RESAMPLES, size=drawn.shape)
    redrawn = resampled[drawn, of_trial]
    observations = sum(trial.observations for trial in trials)
    defined = np.sum([trial.defined for trial in trials], axis=0)
    several_blocks = np.any([trial.blocks > 1 for trial in trials], axis=0)
    several_trials = np.sum([trial.defined > 0 for trial in trials], axis=0) > 1
    return _by_map(
        maps,
        mean=_mean(np.stack([trial.mean for trial in trials])),
        coverage=_ratio(defined, np.full(defined.shape, observations)),
        interval_frames=_where(several_blocks, _intervals(_mean(resampled))),
        interval_trials=_where(several_trials, _intervals(_mean(redrawn))),
    )


def _where(known: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """The intervals [M, 8, 2], NaN where `known` [M, 8] is False."""
    return np.where(known[..., None], intervals, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient as float64, NaN if the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of the finite values along axis 0, NaN if there are none."""
    finite = np.isfinite(values)
    return _ratio(np.where(finite, values, 0).sum(axis=0), finite.sum(axis=0))


def _intervals(resampled: np.ndarray) -> np.ndarray:
    """95% percentile intervals of the finite values along axis 0: [R, M, 8] -> [M, 8, 2]."""
    flat = resampled.reshape(len(resampled), -1).T
    tails = [
        np.percentile(column[np.isfinite(column)], [2.5, 97.5])
        if np.isfinite(column).any()
        else [np.nan, np.nan]
        for column in flat
    ]
    return np.array(tails).reshape(*resampled.shape[1:], 2)


def _by_map(maps: Sequence[str], **parts: np.ndarray) -> dict[str, Any]:
    return {
        name: {
            metric: {part: _plain(values[i, j]) for part, values in parts.items()}
            for j, metric in enumerate(METRICS)
        }
        for i, name in enumerate(maps)
    }


def _plain(value: np.ndarray | np.floating) -> float | list[float] | None:
    """The value for JSON, which has no NaN."""
    return value.tolist() if np.isfinite(value).all() else None
