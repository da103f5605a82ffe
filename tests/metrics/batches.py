"""Batches of maps and gaze, and all metrics of them by us and by the oracles."""

from __future__ import annotations

import functools

import jax
import numpy as np
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


counts_arrays = arrays.arrays(np.int32, SMALL, elements=st.integers(0, 3)).filter(
    lambda counts: 0 < np.count_nonzero(counts) < counts.size
)


maps_arrays = st.one_of(
    arrays.arrays(np.float32, SMALL, elements=st.integers(0, 3)),
    arrays.arrays(np.float32, SMALL, elements=st.floats(0, 1000, width=32, allow_subnormal=False)),
)
