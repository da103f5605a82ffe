from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks import gaze_metrics_reference as reference
from fls_jax import metrics
from tests.oracles import metrics as oracles

SIGMA = 2.0
SMALL = (12, 10)
KEY = jax.random.key(0)


def gaze(rng: np.random.Generator, shape: tuple[int, ...], samples: int) -> np.ndarray:
    """Fixation counts [N, H, W] with `samples` a frame, some of them on the same pixel."""
    counts = np.zeros(shape, np.int32)
    for fixations in counts:
        pixels = rng.integers(fixations.size, size=samples)
        np.add.at(fixations.reshape(-1), np.concatenate([pixels, pixels[: samples // 3]]), 1)
    return counts


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive maps over several orders of magnitude, not normalised."""
    return np.exp(3 * rng.standard_normal(shape)).astype(np.float32)


def scored(saliency, fixations, others, baseline, sigma) -> dict[str, np.ndarray]:
    """Every deterministic metric of a batch, by the table column that it fills."""
    values = {
        "nss": metrics.nss(saliency, fixations),
        "kl": metrics.kl_divergence(saliency, fixations, sigma, protocol="paper"),
        "kl_smoothed": metrics.kl_divergence(saliency, fixations, sigma),
        "sauc": metrics.shuffled_auc(saliency, fixations, others),
        "cc": metrics.cc(saliency, fixations, sigma),
        "sim": metrics.sim(saliency, fixations, sigma),
        "auc_judd": metrics.auc_judd(saliency, fixations),
        "information_gain": metrics.information_gain(saliency, fixations, baseline),
    }
    return {name: np.asarray(value) for name, value in values.items()}


def expected(saliency, fixations, others, baseline, sigma) -> dict[str, np.ndarray]:
    """`scored` by the oracles, for frames where everything is defined."""
    exact = np.asarray(saliency, np.float64)
    frames = range(len(exact))
    values = {
        "nss": [reference.nss(exact[n], fixations[n]) for n in frames],
        "kl": [reference.kl_divergence(exact[n], fixations[n], sigma) for n in frames],
        "kl_smoothed": [oracles.smoothed_kl(exact[n], fixations[n], sigma) for n in frames],
        "sauc": [oracles.shuffled_auc(exact[n], fixations[n], others[n]) for n in frames],
        "cc": [oracles.cc(exact[n], fixations[n], sigma) for n in frames],
        "sim": [oracles.sim(exact[n], fixations[n], sigma) for n in frames],
        "auc_judd": [oracles.auc_judd(exact[n], fixations[n]) for n in frames],
        "information_gain": [oracles.information_gain(exact[n], fixations[n], baseline) for n in frames],
    }
    return {name: np.array(value, np.float64) for name, value in values.items()}


def assert_scores_agree(actual: dict, wanted: dict, rtol: float = 1e-4, atol: float = 2e-6) -> None:
    assert actual.keys() == wanted.keys()
    for name, value in actual.items():
        # A float32 sum of n pixels may be off by n / 2 * 2^-23 of itself, a density's logarithm by as much.
        least = 1e-5 if name in ("kl", "kl_smoothed", "information_gain") else atol
        np.testing.assert_allclose(value, wanted[name], rtol=rtol, atol=max(atol, least), err_msg=name)


@functools.cache
def small_batch(frames: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    shape = (frames, *SMALL)
    return heavy_tailed(rng, shape), gaze(rng, shape, 6), gaze(rng, shape, 40), 0.1 + rng.random(SMALL)


# Values worked out by hand


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


# Against the libraries


@pytest.mark.parametrize(("height", "width", "sigma"), [(210, 160, 5), (84, 84, 2)])
def test_all_metrics_agree_with_the_libraries_at_full_size(height, width, sigma):
    rng = np.random.default_rng(height)
    shape = (2, height, width)
    batch = heavy_tailed(rng, shape), gaze(rng, shape, 25), gaze(rng, shape, 2000)
    baseline = 0.01 + rng.random((height, width))
    assert_scores_agree(scored(*batch, baseline, sigma), expected(*batch, baseline, sigma))


counts_arrays = arrays.arrays(np.int32, SMALL, elements=st.integers(0, 3)).filter(
    lambda counts: 0 < np.count_nonzero(counts) < counts.size
)
maps_arrays = st.one_of(
    arrays.arrays(np.float32, SMALL, elements=st.integers(0, 3)),
    arrays.arrays(np.float32, SMALL, elements=st.floats(0, 1000, width=32, allow_subnormal=False)),
)


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


# Sampled shuffled AUC


def test_sampled_auc_scatters_about_the_closed_form_as_100_splits_do():
    samples = 8
    saliency, fixations, others, _ = (array[:1].repeat(4, axis=0) for array in small_batch())
    saliency = np.round(np.log(saliency))  # ties
    closed = float(metrics.shuffled_auc(saliency[:1], fixations[:1], others[:1])[0])
    values = np.concatenate(
        [metrics.shuffled_auc(saliency, fixations, others, "paper", jax.random.key(n)) for n in range(300)]
    )
    positives = np.repeat(saliency[0].ravel(), fixations[0].ravel())
    assert len(positives) == samples
    above = np.array([np.mean((positives > s) + (positives == s) / 2) for s in saliency[0].ravel()])
    weights = others[0].ravel() / others[0].sum()
    variance = np.sum(weights * (above - closed) ** 2) / (100 * samples)
    assert abs(values.mean() - closed) < 4 * np.sqrt(variance / len(values))
    np.testing.assert_allclose(values.std(), np.sqrt(variance), rtol=0.08)


def test_sampled_auc_agrees_with_100_calls_of_scikit_learn():
    saliency, fixations, others, _ = small_batch()
    rng = np.random.default_rng(0)
    wanted = [reference.shuffled_auc(saliency[n], fixations[n], others[n], rng) for n in range(4)]
    values = metrics.shuffled_auc(saliency, fixations, others, "paper", KEY)
    np.testing.assert_allclose(values, np.array(wanted, np.float64), atol=0.06)  # 4 standard errors


def test_sampled_auc_draws_only_where_others_looked():
    saliency = np.arange(120.0).reshape(1, *SMALL)
    fixations, others = np.zeros((2, 1, *SMALL))
    fixations[0, 1, 1] = 300  # thousands of draws
    others[0, 0, 0], others[0, 1, 0] = 1, 2
    assert metrics.shuffled_auc(saliency, fixations, others, "paper", KEY)[0] == pytest.approx(1, abs=1e-5)
    others[0, 1, 0], others[0, 2, 3] = 0, 3
    value = metrics.shuffled_auc(saliency, fixations, others, "paper", KEY)[0]
    assert value == pytest.approx(0.25, abs=0.02)


def test_sampled_auc_with_a_key_a_frame_does_not_depend_on_the_batch():
    saliency, fixations, others, _ = small_batch()
    keys = jax.random.split(KEY, 4)
    together = metrics.shuffled_auc(saliency, fixations, others, "paper", keys)
    alone = [
        metrics.shuffled_auc(
            saliency[n : n + 1], fixations[n : n + 1], others[n : n + 1], "paper", keys[n, None]
        )
        for n in range(4)
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-6)


def test_one_key_stands_for_one_folded_in_for_each_frame():
    batch = small_batch()[:3]
    folded = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(4))
    one = metrics.shuffled_auc(*batch, protocol="paper", key=KEY)
    np.testing.assert_array_equal(one, metrics.shuffled_auc(*batch, protocol="paper", key=folded))
    raw = jax.random.key_data(KEY)
    np.testing.assert_array_equal(one, metrics.shuffled_auc(*batch, protocol="paper", key=raw))
    assert not np.array_equal(one, metrics.shuffled_auc(*batch, protocol="paper", key=jax.random.key(1)))


# Undefined frames


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


# What must not matter


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0625, 1024, width=32))
def test_a_positive_scale_changes_nothing(scale):
    saliency, *rest = small_batch()
    assert_scores_agree(scored(np.float32(scale) * saliency, *rest, SIGMA), scored(saliency, *rest, SIGMA))


def test_nss_and_cc_do_not_mind_an_offset():
    saliency, fixations, _, _ = small_batch()
    np.testing.assert_allclose(
        metrics.nss(saliency + 5, fixations), metrics.nss(saliency, fixations), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        metrics.cc(saliency - 5, fixations, SIGMA), metrics.cc(saliency, fixations, SIGMA), atol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(arrays.arrays(np.float32, SMALL, elements=st.integers(-5, 5)), counts_arrays, counts_arrays)
def test_auc_depends_on_the_order_of_values_alone(saliency, fixations, others):
    def both(values: np.ndarray) -> np.ndarray:
        batch = values[None], fixations[None], others[None]
        return np.concatenate([metrics.shuffled_auc(*batch), metrics.auc_judd(*batch[:2])])

    np.testing.assert_allclose(both(saliency**3 + 2), both(saliency), rtol=1e-6)
    np.testing.assert_allclose(both(-saliency), 1 - both(saliency), atol=1e-6)


def test_the_batch_a_frame_comes_in_does_not_matter():
    *batch, baseline = small_batch()
    batch[0] = batch[0].copy()
    batch[0][1, 0, 0] = np.nan
    whole = scored(*batch, baseline, SIGMA)
    alone = scored(*(array[2:3] for array in batch), baseline, SIGMA)
    assert_scores_agree(alone, {name: value[2:3] for name, value in whole.items()}, rtol=1e-6)
    assert all(np.isnan(value[1]) and np.isfinite(value[[0, 2, 3]]).all() for value in whole.values())


def test_an_empty_batch_gives_empty_scores():
    empty = np.zeros((0, *SMALL))
    assert metrics.nss(empty, empty).shape == (0,)
    assert metrics.kl_divergence(empty, empty, SIGMA).shape == (0,)
    assert metrics.shuffled_auc(empty, empty, empty, "paper", KEY).shape == (0,)


def test_one_jit_over_everything_gives_the_same():
    *batch, baseline = small_batch()

    @jax.jit
    def everything(saliency, fixations, others, key):
        return (
            metrics.nss(saliency, fixations),
            metrics.kl_divergence(saliency, fixations, SIGMA, "paper"),
            metrics.kl_divergence(saliency, fixations, SIGMA),
            metrics.shuffled_auc(saliency, fixations, others),
            metrics.cc(saliency, fixations, SIGMA),
            metrics.sim(saliency, fixations, SIGMA),
            metrics.auc_judd(saliency, fixations),
            metrics.information_gain(saliency, fixations, baseline),
        ), metrics.shuffled_auc(saliency, fixations, others, "paper", key)

    values, sampled = everything(*batch, KEY)
    separate = scored(*batch, baseline, SIGMA)
    assert_scores_agree(dict(zip(separate, values, strict=True)), separate, rtol=1e-6)
    np.testing.assert_allclose(sampled, metrics.shuffled_auc(*batch, "paper", KEY), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, bool])
def test_any_real_dtype_is_taken_and_float32_given(dtype):
    rng = np.random.default_rng(5)
    shape = (4, *SMALL)
    saliency, fixations, others = (rng.integers(0, 2, shape).astype(dtype) for _ in range(3))
    baseline = np.ones(SMALL, dtype)
    batch = saliency, fixations, others
    scores = scored(*batch, baseline, SIGMA)
    assert {value.dtype for value in scores.values()} == {np.dtype(np.float32)}
    assert_scores_agree(
        scores, scored(*(jnp.asarray(array, jnp.float32) for array in batch), baseline, SIGMA)
    )


def test_float32_is_given_with_64_bit_types_switched_on_too():
    *batch, baseline = small_batch()
    with jax.enable_x64(True):
        saliency, fixations, others = (jnp.asarray(array, jnp.float64) for array in batch)
        shapes = (
            jax.eval_shape(metrics.nss, saliency, fixations),
            jax.eval_shape(lambda s, f: metrics.kl_divergence(s, f, SIGMA), saliency, fixations),
            jax.eval_shape(lambda s, f: metrics.cc(s, f, SIGMA), saliency, fixations),
            jax.eval_shape(lambda s, f: metrics.sim(s, f, SIGMA), saliency, fixations),
            jax.eval_shape(metrics.shuffled_auc, saliency, fixations, others),
            jax.eval_shape(
                lambda *maps: metrics.shuffled_auc(*maps, protocol="paper", key=KEY),
                saliency,
                fixations,
                others,
            ),
            jax.eval_shape(metrics.auc_judd, saliency, fixations),
            jax.eval_shape(metrics.information_gain, saliency, fixations, baseline),
        )
    assert {(shape.shape, shape.dtype) for shape in shapes} == {((4,), np.dtype(np.float32))}


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: metrics.nss(m[0], m[0]), ValueError, r"saliency has shape \(12, 10\).*map\[None\]"),
        (
            lambda m: metrics.nss(m, m[:1]),
            ValueError,
            r"fixations has shape \(1, 12, 10\) and saliency \(2, 12, 10\)",
        ),
        (lambda m: metrics.shuffled_auc(m, m, m[:, :5]), ValueError, "others has shape"),
        (lambda m: metrics.auc_judd(m[:, :0], m[:, :0]), ValueError, r"\(2, 0, 10\)"),
        (lambda m: metrics.nss(m * 1j, m), TypeError, "saliency must hold real numbers.*complex128"),
        (lambda m: metrics.nss(m.astype(str), m), TypeError, "saliency must hold real numbers"),
        (
            lambda m: metrics.kl_divergence(m, m, 2, "Paper"),
            ValueError,
            "protocol is 'Paper'.*'smoothed', 'paper'",
        ),
        (lambda m: metrics.shuffled_auc(m, m, m, "smoothed"), ValueError, "'closed', 'paper'"),
        (lambda m: metrics.kl_divergence(m, m, 0), ValueError, "sigma is 0.0"),
        (lambda m: metrics.sim(m, m, -2), ValueError, "sigma is -2.0"),
        (lambda m: metrics.cc(m, m, np.nan), ValueError, "sigma is nan"),
        (lambda m: jax.jit(metrics.cc)(m, m, 2.0), TypeError, "sigma"),
        (lambda m: metrics.blur_fixations(m[0, 0], 2), ValueError, r"shape \(10,\)"),
        (lambda m: metrics.blur_fixations(m[:, :0], 2), ValueError, r"shape \(2, 0, 10\)"),
        (lambda m: metrics.shuffled_auc(m, m, m, "paper"), ValueError, "give it a key"),
        (lambda m: metrics.shuffled_auc(m, m, m, "paper", 3), TypeError, "key is 3"),
        (
            lambda m: metrics.shuffled_auc(m, m, m, "paper", jax.random.split(KEY, 3)),
            ValueError,
            r"\(3,\) keys.*each of 2 frames",
        ),
        (lambda m: metrics.information_gain(m, m, m), ValueError, r"baseline has shape \(2, 12, 10\)"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, *SMALL)))
