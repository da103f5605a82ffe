"""Profiles, probability of improvement and curves against golden values of rliable 1.2.0 and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fls_jax.statistics import (
    bootstrap_band,
    bootstrap_intervals,
    iqm,
    iqm_curve,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from tests.statistics.test_statistics import SCORES

OTHERS = np.array([[((11 * i * i + 5 * j**3 + 7 * i * j + 8) % 89) / 20 for j in range(6)] for i in range(8)])
THRESHOLDS = np.array([0.0, 0.5, 1.0, 2.0, 2.4, 3.0, 4.8, 5.0])

# rliable's aggregate_optimality_gap, probability_of_improvement, and create_performance_profile with
# 2,000 resamples; its get_interval_estimates with 20,000, which over three seeds differ by at most 0.004.
PROFILE = [1.0, 0.9, 0.7833333333, 0.6, 0.5, 0.3333333333, 0.0, 0.0]
PROFILE_LOW = [1.0, 0.8333, 0.6833, 0.4833, 0.3833, 0.2167, 0.0, 0.0]
PROFILE_HIGH = [1.0, 0.9667, 0.8833, 0.7167, 0.6167, 0.45, 0.0, 0.0]
IMPROVEMENT = (0.53125, 0.4208, 0.6396)
GAP = (0.94166667, 0.7108, 1.1775)


def test_optimality_gap_has_rliables_values():
    assert optimality_gap(SCORES) == pytest.approx(0.0875)
    assert optimality_gap(SCORES, 3.0) == pytest.approx(GAP[0])
    assert optimality_gap(OTHERS) == pytest.approx(0.12395833333)
    found = bootstrap_intervals(SCORES, {"gap": lambda x: optimality_gap(x, 3.0)}, resamples=20_000)["gap"]
    assert found == pytest.approx(GAP[1:], abs=0.02)


def test_performance_profile_has_rliables_values():
    band = bootstrap_band([SCORES], lambda x: performance_profile(x, THRESHOLDS), resamples=20_000)
    np.testing.assert_allclose(band.value, PROFILE)
    # A quantile of shares moves by whole runs, of which there are 60.
    np.testing.assert_allclose(band.low, PROFILE_LOW, atol=1.01 / 60)
    np.testing.assert_allclose(band.high, PROFILE_HIGH, atol=1.01 / 60)


def test_probability_of_improvement_has_rliables_values():
    assert probability_of_improvement(SCORES, OTHERS) == pytest.approx(IMPROVEMENT[0])
    assert probability_of_improvement(OTHERS, SCORES) == pytest.approx(1 - IMPROVEMENT[0])
    band = bootstrap_band([SCORES, OTHERS], probability_of_improvement, resamples=20_000)
    assert (band.low, band.high) == pytest.approx(IMPROVEMENT[1:], abs=0.01)


def test_probability_of_improvement_is_mann_whitneys_statistic_also_with_ties(rng):
    ours, theirs = rng.integers(0, 4, (7, 3)), rng.integers(0, 4, (5, 3))
    expected = np.mean(
        [scipy.stats.mannwhitneyu(ours[:, j], theirs[:, j]).statistic / (7 * 5) for j in range(3)]
    )
    assert probability_of_improvement(ours, theirs) == pytest.approx(expected)
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)
    assert probability_of_improvement(ours + 9, theirs) == 1.0


def test_stacks_are_reduced_one_by_one(rng):
    stack, other = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 6, 3))
    for statistic, arrays in (
        (lambda x: performance_profile(x, THRESHOLDS), [stack]),
        (probability_of_improvement, [stack, other]),
        (optimality_gap, [stack]),
        (iqm_curve, [rng.normal(size=(4, 5, 3, 2))]),
    ):
        together = statistic(*arrays)
        for number in range(4):
            np.testing.assert_allclose(together[number], statistic(*(each[number] for each in arrays)))


def test_a_curve_is_the_aggregate_at_every_point_and_runs_are_drawn_whole():
    curves = np.stack([SCORES * factor for factor in (0.25, 0.5, 1.0)], axis=-1)
    band = bootstrap_band([curves], iqm_curve, resamples=2000)
    np.testing.assert_allclose(band.value, iqm(SCORES) * np.array([0.25, 0.5, 1.0]))
    # Points of one resample are of the same runs, so their intervals are in the same proportion.
    np.testing.assert_allclose(band.low / band.low[-1], [0.25, 0.5, 1.0])
    expected = bootstrap_intervals(SCORES, {"iqm": iqm}, resamples=2000)["iqm"]
    assert (band.low[-1], band.high[-1]) == pytest.approx(expected)


def test_strata_that_differ_are_refused():
    with pytest.raises(ValueError, match="same strata"):
        bootstrap_band([SCORES, OTHERS[:, :2]], probability_of_improvement)
    with pytest.raises(ValueError, match=r"must be \[n, strata\]"):
        bootstrap_band([np.zeros((0, 3))], iqm)
