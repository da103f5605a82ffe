"""The sampled shuffled AUC against its closed form and scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gaze_metrics_reference as reference
from fls_jax import metrics
from tests.metrics.batches import (
    KEY,
    SMALL,
    small_batch,
)


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
