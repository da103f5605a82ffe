"""Differences between a network and the baseline, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fls_jax.statistics import bootstrap_intervals, mean

RESAMPLES = 2000
_CHUNK = 2**22  # resampled returns in memory at a time


class Estimate(NamedTuple):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


class Sample(NamedTuple):
    """Returns of one network in one game: float [n] of each seed."""

    returns: tuple[np.ndarray, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds of the mean over games."""
        return float(np.mean([seed.mean() for seed in self.returns]))

    @property
    def std(self) -> float:
        """Population standard deviation over all games of all seeds, as in the paper."""
        return float(np.concatenate(self.returns).std())

    @property
    def games(self) -> int:
        """Number of games of all seeds."""
        return sum(len(seed) for seed in self.returns)


def resampled_means(sample: Sample, stream: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Bootstrap distribution of the mean in two levels: seeds, then games of each; float [resamples].

    With a single seed only games are resampled, so that the distribution does not cover other seeds. stream:
    distributions of different streams are independent; those of the same stream are equal.
    """
    random = np.random.default_rng([0, stream])
    seeds = len(sample.returns)
    drawn = random.integers(0, seeds, (resamples, seeds))
    total = np.zeros(resamples)
    for number, returns in enumerate(sample.returns):
        for slot in range(seeds):
            (chosen,) = np.nonzero(drawn[:, slot] == number)
            for part in np.array_split(chosen, max(1, -(-len(chosen) * len(returns) // _CHUNK))):
                games = random.integers(0, len(returns), (len(part), len(returns)))
                total[part] += returns[games].mean(axis=1)
    return total / seeds


def mean_estimate(sample: Sample) -> Estimate:
    """The mean return with its interval; for a single seed, the interval of its evaluation."""
    if len(sample.returns) == 1:
        interval = bootstrap_intervals(sample.returns[0][:, None], {"mean": mean}, RESAMPLES)["mean"]
        return Estimate(sample.mean, *interval)
    return _estimate(sample.mean, resampled_means(sample, 0))


def difference_estimate(sample: Sample, baseline: Sample) -> Estimate:
    """Mean return of a network minus the baseline's; the two are resampled independently."""
    distribution = resampled_means(sample, 0) - resampled_means(baseline, 1)
    return _estimate(sample.mean - baseline.mean, distribution)


def mean_difference_estimate(pairs: Sequence[tuple[Sample, Sample]], scales: Sequence[float]) -> Estimate:
    """Mean over games of (network - baseline) / scale; each game is resampled independently.

    scales: one per game, for example the human's score minus that of random play.
    """
    values, distributions = [], []
    for number, ((sample, baseline), scale) in enumerate(zip(pairs, scales, strict=True)):
        values.append((sample.mean - baseline.mean) / scale)
        ours, theirs = resampled_means(sample, 2 * number), resampled_means(baseline, 2 * number + 1)
        distributions.append((ours - theirs) / scale)
    return _estimate(float(np.mean(values)), np.mean(distributions, axis=0))


def _estimate(value: float, distribution: np.ndarray) -> Estimate:
    low, high = np.percentile(distribution, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
