"""The two-level bootstrap against theory and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.comparison import (
    Sample,
    difference_estimate,
    mean_difference_estimate,
    mean_estimate,
    resampled_means,
)


def sample(*seeds):
    return Sample(tuple(np.asarray(seed, float) for seed in seeds))


def test_mean_and_std_are_those_of_the_paper():
    two = sample([1, 2, 3, 6], [10, 20])
    assert two.mean == pytest.approx((3 + 15) / 2)  # every seed weighs the same
    assert two.std == pytest.approx(np.std([1, 2, 3, 6, 10, 20]))
    assert two.games == 6


def test_with_one_seed_it_is_scipys_bootstrap_of_games():
    returns = np.random.default_rng(1).gamma(2, 50, 200)
    expected = stats.bootstrap(
        (returns,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    found = mean_estimate(sample(returns))
    width = expected.high - expected.low
    assert found.value == pytest.approx(returns.mean())
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_variance_has_both_levels():
    random = np.random.default_rng(3)
    seeds = [random.normal(level, 5, n) for level, n in ((0, 50), (4, 80), (9, 60), (2, 50), (5, 40))]
    means, within = np.array([s.mean() for s in seeds]), np.array([s.var() / len(s) for s in seeds])
    expected = (means.var() + within.mean()) / len(seeds)  # of a mean over seeds drawn with replacement
    found = resampled_means(sample(*seeds), 0, resamples=20_000)
    assert found.var() == pytest.approx(expected, rel=0.05)
    assert found.mean() == pytest.approx(means.mean(), abs=0.05)


@pytest.mark.parametrize(("seeds", "low", "high"), [(1, 0.05, 0.4), (2, 0.4, 0.7), (5, 0.75, 0.93)])
def test_with_few_seeds_an_interval_holds_the_true_mean_less_often_than_it_says(seeds, low, high):
    """What the results page warns of: seeds that differ as much as games do, 64 games of each."""
    random = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        levels = random.normal(size=seeds)
        ours = sample(*(random.normal(level, 1, 64) for level in levels))
        ends = np.percentile(resampled_means(ours, 0, resamples=300), [2.5, 97.5])
        held += ends[0] <= 0 <= ends[1]
    assert low < held / 200 < high


def test_chunks_change_nothing_but_memory(monkeypatch):
    seeds = sample(np.arange(30.0), np.arange(10.0, 50.0))
    whole = resampled_means(seeds, 0, resamples=500)
    monkeypatch.setattr("experiments.analysis.comparison._CHUNK", 300)
    np.testing.assert_allclose(resampled_means(seeds, 0, resamples=500), whole)


def test_differences():
    random = np.random.default_rng(4)
    ours, theirs = sample(random.normal(10, 4, 400)), sample(random.normal(7, 3, 300))
    found = difference_estimate(ours, theirs)
    error = np.hypot(ours.returns[0].std() / 20, theirs.returns[0].std() / np.sqrt(300))
    assert found.value == pytest.approx(ours.mean - theirs.mean)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    # Resampled independently: nothing against itself is not certain.
    same = difference_estimate(ours, ours)
    assert same.value == 0
    assert same.low < -0.2 < 0.2 < same.high
    assert difference_estimate(ours, theirs) == found


def test_mean_difference_over_games():
    random = np.random.default_rng(5)
    pairs = [(sample(random.normal(m, 1, 100)), sample(random.normal(0, 1, 100))) for m in (2, 40)]
    found = mean_difference_estimate(pairs, [2.0, 40.0])
    each = [(a.mean - b.mean) / s for (a, b), s in zip(pairs, (2.0, 40.0), strict=True)]
    assert found.value == pytest.approx(np.mean(each))
    error = (
        np.sqrt(
            sum(
                (a.returns[0].var() + b.returns[0].var()) / 100 / s**2
                for (a, b), s in zip(pairs, (2, 40), strict=True)
            )
        )
        / 2
    )
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
