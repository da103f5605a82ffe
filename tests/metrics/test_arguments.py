"""Wrong arguments are named."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from fls_jax import metrics
from tests.metrics.batches import (
    KEY,
    SMALL,
)


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
