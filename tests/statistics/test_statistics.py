"""Statistics against scipy, against golden values of rliable 1.2.0, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fls_jax.atari.pool import games
from fls_jax.statistics import (
    REFERENCES,
    bootstrap_intervals,
    human_normalised,
    interquartile_mean,
    iqm,
    mean,
    median,
    median_of_means,
)

SCORES = np.array(
    [[((7 * i * i + 13 * j**3 + 5 * i * j + 3) % 97) / 20 for j in range(6)] for i in range(10)]
)
SMALL = np.array([[((11 * i + 29 * j) % 31) / 3 for j in range(3)] for i in range(7)])
STATISTICS = {"mean": mean, "median": median_of_means, "iqm": iqm}

# rliable's aggregate_mean, aggregate_median and aggregate_iqm, and its get_interval_estimates with 20,000
# resamples; over three seeds its bounds differ by at most 0.0125.
RLIABLE = {
    "mean": (2.3925, 2.0608, 2.7267),
    "median": (2.4, 1.9675, 2.8308),
    "iqm": (2.315, 1.8811, 2.8233),
}
RLIABLE_ONE_TASK = {"mean": (2.365, 1.4817, 3.2183), "iqm": (2.45, 1.2167, 3.4806)}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 101])
def test_interquartile_mean_is_scipys_trimmed_mean(n, rng):
    values = rng.normal(size=(3, n))
    np.testing.assert_allclose(interquartile_mean(values), scipy.stats.trim_mean(values, 0.25, axis=-1))


def test_aggregates_have_rliables_values():
    for name, (value, _, _) in RLIABLE.items():
        assert STATISTICS[name](SCORES) == pytest.approx(value)
    assert mean(SMALL) == pytest.approx(4.428571428571428)
    assert median_of_means(SMALL) == pytest.approx(4.428571428571429)
    assert iqm(SMALL) == pytest.approx(4.363636363636363)
    assert median(SMALL) == np.median(SMALL)


def test_intervals_have_rliables_values():
    found = bootstrap_intervals(SCORES, STATISTICS, resamples=20_000)
    for name, (_, low, high) in RLIABLE.items():
        assert found[name] == pytest.approx((low, high), abs=0.02)
    found = bootstrap_intervals(SCORES[:, :1], STATISTICS, resamples=20_000)
    for name, (_, low, high) in RLIABLE_ONE_TASK.items():
        assert found[name] == pytest.approx((low, high), abs=0.03)


def test_strata_are_not_mixed():
    scores = np.array([[0.0, 100.0]] * 5)
    assert bootstrap_intervals(scores, STATISTICS)["mean"] == (50.0, 50.0)
    assert bootstrap_intervals(scores.reshape(-1, 1), STATISTICS)["mean"].low < 40


def test_a_seed_gives_one_result_whatever_the_chunk(monkeypatch):
    one = bootstrap_intervals(SCORES, STATISTICS, resamples=500, seed=3)
    assert one == bootstrap_intervals(SCORES, STATISTICS, resamples=500, seed=3)
    assert one != bootstrap_intervals(SCORES, STATISTICS, resamples=500, seed=4)
    monkeypatch.setattr("fls_jax.statistics.aggregates._CHUNK", 7 * SCORES.size)
    assert one == bootstrap_intervals(SCORES, STATISTICS, resamples=500, seed=3)


def test_intervals_cover_the_truth(rng):
    covered = 0
    for seed in range(200):
        sample = rng.exponential(size=(40, 2)) * [1.0, 3.0]
        low, high = bootstrap_intervals(sample, {"mean": mean}, resamples=400, seed=seed)["mean"]
        covered += low < 2.0 < high
    assert 176 <= covered <= 198  # 95%, less the little by which percentile intervals are too short


def test_undefined_input_is_an_error():
    for scores in (np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"must be \[n, strata\]"):
            bootstrap_intervals(scores, STATISTICS)
    with pytest.raises(ValueError, match="must be finite"):
        bootstrap_intervals(np.array([[np.nan]]), STATISTICS)
    with pytest.raises(ValueError, match=r"they are 0 and 0\.95"):
        bootstrap_intervals(np.ones((1, 1)), STATISTICS, resamples=0)


def test_human_normalised_scores():
    assert human_normalised(1.7, "Breakout") == 0.0
    assert human_normalised(30.5, "Breakout") == 1.0
    assert human_normalised(21.0, "Pong") == pytest.approx(41.7 / 35.3)
    assert human_normalised(1.0, "VideoPinball") is None
    assert human_normalised(1.0, "AirRaid") is None


def test_references_are_games_and_sane():
    assert REFERENCES.keys() <= games().keys()
    assert len(REFERENCES) == 56
    assert all(human > random for random, human in REFERENCES.values())
