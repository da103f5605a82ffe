"""The metrics and the blur against OpenCV, SciPy, scikit-learn, pysaliency and the published code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings

from benchmarks import gaze_metrics_reference as reference
from fls_jax import metrics
from tests.metrics.batches import (
    SIGMA,
    SMALL,
    assert_scores_agree,
    counts_arrays,
    expected,
    gaze,
    heavy_tailed,
    maps_arrays,
    scored,
    small_batch,
)
from tests.oracles import metrics as oracles


@pytest.mark.parametrize(("height", "width", "sigma"), [(210, 160, 5), (84, 84, 2)])
def test_all_metrics_agree_with_the_libraries_at_full_size(height, width, sigma):
    rng = np.random.default_rng(height)
    shape = (2, height, width)
    batch = heavy_tailed(rng, shape), gaze(rng, shape, 25), gaze(rng, shape, 2000)
    baseline = 0.01 + rng.random((height, width))
    assert_scores_agree(scored(*batch, baseline, sigma), expected(*batch, baseline, sigma))


def nearly_even(value: float) -> np.ndarray:
    """A map that is even but for its first two pixels."""
    saliency = np.full(SMALL, value, np.float32)
    saliency.flat[:2] = 29, 999
    return saliency


def everywhere_but(pixel: int) -> np.ndarray:
    """One fixation on every pixel but one."""
    counts = np.ones(SMALL, np.int32)
    counts.flat[pixel] = 0
    return counts


@settings(max_examples=40, deadline=None)
@example(nearly_even(320.26562), everywhere_but(2), everywhere_but(0))  # logarithms that nearly cancel
@given(maps_arrays, counts_arrays, counts_arrays)
def test_all_metrics_agree_with_the_libraries_on_any_map(saliency, fixations, others):
    batch = saliency[None], fixations[None], others[None]
    baseline = np.linspace(1, 2, saliency.size).reshape(SMALL)
    actual = scored(*batch, baseline, SIGMA)
    if reference.nss(saliency.astype(np.float64), fixations) is None:
        assert all(np.isnan(actual[name][0]) for name in ("nss", "cc"))
    if np.isclose(saliency.max(), saliency.min()):
        assert all(np.isnan(actual[name][0]) for name in ("sauc", "auc_judd"))
    if not np.isnan(list(actual.values())).all():
        wanted = expected(*batch, baseline, SIGMA)
        comparable = {name for name in actual if not np.isnan(actual[name][0])}
        assert {"kl_smoothed", "information_gain"} <= comparable
        assert ("kl" in comparable) == (not np.isnan(wanted["kl"][0]))
        assert ("sim" in comparable) == bool(saliency.any())
        assert_scores_agree(
            {name: actual[name] for name in comparable}, {name: wanted[name] for name in comparable}
        )


def test_nss_agrees_with_pysaliency():
    saliency, fixations, _, _ = small_batch()
    wanted = [oracles.nss(saliency[n], fixations[n]) for n in range(4)]
    np.testing.assert_allclose(metrics.nss(saliency, fixations), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "change", ["huge", "offset", "tiny", "high outlier", "low outlier", "one bright half"]
)
def test_float32_is_enough_for_awkward_maps(change):
    rng = np.random.default_rng(3)
    shape = (2, 84, 84)
    saliency = rng.random(shape, np.float32)
    match change:
        case "huge":
            saliency = saliency * np.float32(1e37)
        case "offset":
            saliency = saliency + np.float32(1e4)
        case "tiny":
            saliency = saliency * np.float32(1e-5) + np.float32(1e-7)
        case "high outlier":
            saliency[:, 3, 4] = 1e6
        case "low outlier":
            saliency = saliency + np.float32(1e6)
            saliency[:, 3, 4] = 1
        case "one bright half":
            saliency[:, :42] = 1e6
    saliency += saliency == 0
    batch = saliency, gaze(rng, shape, 20), gaze(rng, shape, 300)
    baseline = np.ones(shape[1:])
    actual, wanted = (score(*batch, baseline, SIGMA) for score in (scored, expected))
    if change in ("offset", "low outlier"):  # A flat map tells nothing but rounding here.
        for name in ("information_gain", "sauc", "auc_judd"):
            del actual[name], wanted[name]
    assert_scores_agree(actual, wanted)


@pytest.mark.parametrize(
    ("shape", "sigma"),
    [
        ((210, 160), 5),
        ((84, 84), 2),
        (SMALL, 5),
        (SMALL, 0.3),
        ((5, 1), 2.3),
    ],
)
@pytest.mark.parametrize("samples", [5, 33, 60])
def test_the_blur_is_opencvs(shape, sigma, samples):
    counts = gaze(np.random.default_rng(0), (2, *shape), samples)
    counts[:, 0, 0] += 2
    blurred = np.asarray(metrics.blur_fixations(counts, sigma))
    wanted = np.stack([oracles.blur(fixations, sigma).reshape(shape) for fixations in counts])
    np.testing.assert_allclose(blurred, wanted, rtol=2e-6, atol=1e-12)
    np.testing.assert_array_equal(blurred > 0, wanted > 0)


def test_the_blur_takes_any_leading_axes():
    _, counts, _, _ = small_batch()
    blurred = metrics.blur_fixations(counts, SIGMA)
    np.testing.assert_allclose(metrics.blur_fixations(counts[1], SIGMA), blurred[1], rtol=1e-6)


@pytest.mark.parametrize("fixated", [1, 16, 17, 1024, 1025, 1500])
def test_the_aucs_are_exact_for_any_number_of_fixated_pixels(fixated):
    rng = np.random.default_rng(fixated)
    saliency = rng.integers(0, 200, (2, 40, 40)).astype(np.float32)
    fixations, others = np.zeros((2, 2, 40, 40), np.int32)
    for n, count in enumerate((fixated, 3)):
        fixations[n].flat[rng.permutation(1600)[:count]] = rng.integers(1, 9, count)
    others[:] = rng.integers(0, 500, others.shape)
    frames = range(2)
    np.testing.assert_allclose(
        metrics.shuffled_auc(saliency, fixations, others),
        [oracles.shuffled_auc(saliency[n], fixations[n], others[n]) for n in frames],
        rtol=2e-6,
    )
    np.testing.assert_allclose(
        metrics.auc_judd(saliency, fixations),
        [oracles.auc_judd(saliency[n], fixations[n]) for n in frames],
        rtol=2e-6,
    )
