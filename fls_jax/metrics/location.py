"""Metrics that read the map at the fixated pixels: NSS and information gain."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float32

from fls_jax.metrics.density import is_non_negative, normalise, smooth
from fls_jax.metrics.maps import Maps, Values, as_batch, as_float32, standardise, total


def nss(saliency: ArrayLike, fixations: ArrayLike) -> Values:
    """Normalised scanpath saliency (Peters et al. 2005): the mean z-score at the fixations; chance is 0.

    z = (s - mean(s)) / std(s) with the population standard deviation; a pixel counts as often as it was
    fixated. Undefined (NaN) without fixations, if the map is not finite, and if std(s) is numpy.isclose to 0.

    Args:
        saliency: [N, H, W].
        fixations: counts [N, H, W].

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers.
        ValueError: a shape is wrong.
    """
    return _nss(*as_batch(saliency=saliency, fixations=fixations))


@jax.jit
def _nss(maps: Maps, counts: Maps) -> Values:
    scores, varies = standardise(maps)
    samples = total(counts)
    return jnp.where(varies & (samples > 0), total(scores * counts) / samples, jnp.nan)


def information_gain(saliency: ArrayLike, fixations: ArrayLike, baseline: ArrayLike) -> Values:
    """Information gain over a baseline, in bits per fixation: mean of log2(q / b); the baseline has 0.

    After Kümmerer et al. (2015): how much better the map predicts the fixations than a fixed density such as
    the centre prior. q = `smoothed_density(saliency)`; b = baseline / sum(baseline), not smoothed (give
    `smoothed_density(baseline[None])[0]` to smooth it too). Undefined (NaN) without fixations, if the map is
    not finite or has a negative value, and if the baseline is 0 at a fixation. All values are NaN if the
    baseline is not a density (not finite, negative somewhere or all zeros).

    Args:
        saliency: [N, H, W], non-negative.
        fixations: counts [N, H, W].
        baseline: [H, W], positive.

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers.
        ValueError: a shape is wrong.
    """
    maps, counts = as_batch(saliency=saliency, fixations=fixations)
    if np.shape(baseline) != maps.shape[1:]:
        raise ValueError(
            f"baseline has shape {np.shape(baseline)}, but must be one map [H, W] of {maps.shape[1:]} pixels."
        )
    return _information_gain(maps, counts, as_float32("baseline", baseline))


@jax.jit
def _information_gain(maps: Maps, counts: Maps, baseline: Float32[jax.Array, "H W"]) -> Values:
    # With a constant baseline XLA would fold whole batches at compile time, which takes seconds.
    baseline = jax.lax.optimization_barrier(baseline)
    prior, has_mass = normalise(baseline[None])
    fixated = counts > 0
    samples = total(counts)
    defined = (samples > 0) & is_non_negative(maps) & has_mass & is_non_negative(baseline[None])
    defined &= ~jnp.any(fixated & (prior <= 0), axis=(1, 2))
    gain = (jnp.log(smooth(maps)) - jnp.log(jnp.where(prior > 0, prior, 1))) / math.log(2)
    return jnp.where(defined, total(jnp.where(fixated, counts * gain, 0)) / samples, jnp.nan)
