"""What must not change a metric: scale, offset, order, batch, jit, dtype."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fls_jax import metrics
from tests.metrics.batches import (
    KEY,
    SIGMA,
    SMALL,
    assert_scores_agree,
    counts_arrays,
    scored,
    small_batch,
)


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
