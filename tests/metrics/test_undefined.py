"""Frames on which a metric is undefined: NaN there, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import gaze_metrics_reference as reference
from fls_jax import metrics
from tests.metrics.batches import (
    KEY,
    SIGMA,
    SMALL,
    scored,
    small_batch,
)


def undefined(saliency, fixations=None, others=None) -> set[str]:
    """The metrics that are NaN for one frame."""
    ones = np.ones((1, *SMALL))
    fixations, others = (ones if counts is None else counts[None] for counts in (fixations, others))
    if fixations is ones:
        fixations = np.zeros_like(ones)
        fixations[0, 5, 4] = 1
    values = scored(saliency[None], fixations, others, ones[0], SIGMA)
    sampled = metrics.shuffled_auc(saliency[None], fixations, others, "paper", KEY)
    assert np.isnan(sampled[0]) == np.isnan(values["sauc"][0])
    return {name for name, value in values.items() if np.isnan(value[0])}


EVERYTHING = {"nss", "kl", "kl_smoothed", "sauc", "cc", "sim", "auc_judd", "information_gain"}
RAMP = np.linspace(1, 2, 120, dtype=np.float32).reshape(SMALL)


def test_everything_is_defined_on_an_ordinary_frame():
    assert undefined(RAMP) == set()


def test_nothing_is_defined_without_fixations():
    assert undefined(RAMP, fixations=np.zeros(SMALL)) == EVERYTHING


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_defined_where_the_map_is_not_finite(value):
    saliency = RAMP.copy()
    saliency[-1, -1] = value
    assert undefined(saliency) == EVERYTHING


def test_a_value_beyond_float32_counts_as_not_finite():
    saliency = RAMP.astype(np.float64)
    saliency[-1, -1] = 1e300
    assert undefined(saliency) == EVERYTHING


def test_the_shuffled_auc_alone_needs_others():
    assert undefined(RAMP, others=np.zeros(SMALL)) == {"sauc"}


def test_auc_judd_needs_a_pixel_without_fixations():
    assert undefined(RAMP, fixations=2 * np.ones(SMALL)) == {"auc_judd", "cc"}  # their blur is constant


@pytest.mark.parametrize("value", [0.1, 1, 1e9])
def test_a_constant_map_has_no_scores_that_rank_or_standardise(value):
    assert undefined(np.full(SMALL, value)) == {"nss", "cc", "sauc", "auc_judd"}


def test_a_map_of_zeros_has_smoothed_scores_only():
    assert undefined(np.zeros(SMALL)) == EVERYTHING - {"kl_smoothed", "information_gain"}


def test_nearly_constant_is_what_numpy_isclose_says():
    assert undefined(1e-8 * RAMP + 1) == {"nss", "cc", "sauc", "auc_judd"}
    # A deviation of 3e-6 is one, a range of 1e-5 of the minimum is none.
    assert undefined(1 + 9e-6 * (RAMP - 1)) == {"sauc", "auc_judd"}
    assert undefined(1 + 3e-5 * (RAMP - 1)) == set()
    assert undefined(1e-9 * RAMP) == {"nss", "cc", "sauc", "auc_judd", "kl"}


def test_a_negative_value_is_no_density_but_can_be_ranked():
    saliency = RAMP.copy()
    saliency[-1, -1] = -0.5
    assert undefined(saliency) == {"kl", "kl_smoothed", "sim", "information_gain"}


@pytest.mark.parametrize(("column", "missing"), [(8, {"kl"}), (9, set())])
def test_the_published_kl_minds_zeros_only_within_reach_of_the_gaze(column, missing):
    fixations = np.zeros(SMALL)
    fixations[6, 0] = 1
    saliency = RAMP.copy()
    saliency[6, column] = 1e-9
    values = scored(saliency[None], fixations[None], np.ones((1, *SMALL)), np.ones(SMALL), SIGMA)
    assert {name for name, value in values.items() if np.isnan(value[0])} == missing
    wanted = reference.kl_divergence(saliency.astype(np.float64), fixations, SIGMA)
    assert (wanted is None) == bool(missing)


@pytest.mark.parametrize("fill", [0, -1, np.nan, np.inf])
def test_a_baseline_that_is_no_density_gives_no_information_gain(fill):
    saliency, fixations, _, baseline = small_batch()
    assert np.isfinite(metrics.information_gain(saliency, fixations, baseline)).all()
    assert np.isnan(metrics.information_gain(saliency, fixations, np.full(SMALL, fill))).all()


def test_a_baseline_of_zero_matters_only_at_a_fixation():
    saliency, baseline = np.ones((2, 2, 2)), np.array([[0, 1], [1, 2]])
    values = metrics.information_gain(saliency, np.array([[[0, 1], [0, 0]], [[1, 1], [0, 0]]]), baseline)
    np.testing.assert_allclose(values, [0, np.nan], atol=1e-6)


def test_smoothed_density_is_nan_where_the_map_is_no_density():
    density = np.asarray(metrics.smoothed_density(np.array([[[1, 2]], [[-1, 2]], [[np.nan, 2]]])))
    assert np.isnan(density[1:]).all()
    np.testing.assert_allclose(density.sum(axis=(1, 2))[0], 1, rtol=1e-6)
