"""Values of the metrics worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fls_jax import metrics
from tests.metrics.batches import (
    SIGMA,
    small_batch,
)


def test_nss_of_a_small_map():
    value = metrics.nss(np.array([[[1, 2], [3, 4]]]), np.array([[[0, 0], [0, 1]]]))
    np.testing.assert_allclose(value, [1.5 / np.sqrt(1.25)], rtol=1e-6)


def test_nss_counts_a_pixel_as_often_as_it_was_fixated():
    value = metrics.nss(np.array([[[1, 2], [3, 4]]]), np.array([[[2, 0], [0, 1]]]))
    np.testing.assert_allclose(value, [(2 * -1.5 + 1.5) / 3 / np.sqrt(1.25)], rtol=1e-6)


@pytest.mark.parametrize(
    ("protocol", "wanted"), [("paper", np.log(10 / 3)), ("smoothed", -np.log(0.99 * 0.3 + 0.01 / 4))]
)
def test_kl_of_a_single_sharp_fixation_is_minus_log_of_the_density_there(protocol, wanted):
    value = metrics.kl_divergence(
        np.array([[[1, 2], [3, 4]]]), np.array([[[0, 0], [5, 0]]]), 0.1, protocol=protocol
    )
    np.testing.assert_allclose(value, [wanted], rtol=1e-6)


def test_a_map_of_zeros_counts_as_uniform_in_the_smoothed_metrics():
    zeros, fixation = np.zeros((2, 1, 2, 2))
    fixation[0, 1, 0] = 3
    np.testing.assert_allclose(metrics.smoothed_density(zeros), np.full(zeros.shape, 1 / 4), rtol=1e-6)
    np.testing.assert_allclose(metrics.kl_divergence(zeros, fixation, 0.1), [np.log(4)], rtol=1e-6)
    np.testing.assert_allclose(metrics.information_gain(zeros, fixation, np.ones((2, 2))), [0], atol=1e-6)


def test_information_gain_is_in_bits():
    value = metrics.information_gain(
        np.array([[[0, 0], [8, 0]]]), np.array([[[0, 0], [2, 0]]]), np.array([[1, 1], [2, 4]])
    )
    np.testing.assert_allclose(value, [np.log2((0.99 + 0.01 / 4) / 0.25)], rtol=1e-6)


def test_information_gain_of_the_smoothed_baseline_itself_is_nothing():
    saliency, fixations, _, _ = small_batch(1)
    baseline = metrics.smoothed_density(saliency)[0]
    np.testing.assert_allclose(metrics.information_gain(saliency, fixations, baseline), [0], atol=1e-6)


def test_shuffled_auc_weighs_counts_and_halves_ties():
    # The pixel of value 2 (twice) beats 1 and ties with three 2s; the 3 beats all four.
    value = metrics.shuffled_auc(
        np.array([[[1, 2], [2, 3]]]), np.array([[[0, 2], [0, 1]]]), np.array([[[1, 0], [3, 0]]])
    )
    np.testing.assert_allclose(value, [(2 * (1 + 1.5) + 4) / 12], rtol=1e-6)


def test_auc_judd_takes_the_pixels_without_fixations_as_negatives():
    value = metrics.auc_judd(np.array([[[1, 2], [2, 3]]]), np.array([[[0, 7], [0, 0]]]))
    np.testing.assert_allclose(value, [(1 + 0.5 + 0) / 3], rtol=1e-6)


def test_sim_is_the_common_mass():
    np.testing.assert_allclose(
        metrics.sim(np.array([[[1, 2], [3, 4]]]), np.array([[[0, 0], [5, 0]]]), 0.1), [0.3], rtol=1e-6
    )


def test_the_blurred_fixations_correlate_fully_with_themselves():
    _, fixations, _, _ = small_batch()
    blurred = metrics.blur_fixations(fixations, SIGMA)
    np.testing.assert_allclose(metrics.cc(blurred, fixations, SIGMA), np.ones(4), atol=1e-6)
    np.testing.assert_allclose(metrics.cc(-3 * blurred, fixations, SIGMA), -np.ones(4), atol=1e-6)
    np.testing.assert_allclose(metrics.sim(blurred, fixations, SIGMA), np.ones(4), atol=1e-6)
    np.testing.assert_allclose(
        metrics.kl_divergence(blurred + 1e-7, fixations, SIGMA, "paper"), np.zeros(4), atol=1e-4
    )
