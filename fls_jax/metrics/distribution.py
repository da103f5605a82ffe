"""Metrics that compare a map with the blurred density of gaze: KL divergence, CC, SIM."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fls_jax.metrics.density import blur, check_sigma, is_non_negative, normalise, smooth
from fls_jax.metrics.maps import (
    ATOL,
    Maps,
    Values,
    as_batch,
    check_choice,
    is_flat,
    per_map,
    standardise,
    total,
)


def kl_divergence(
    saliency: ArrayLike, fixations: ArrayLike, sigma: float | int, protocol: str = "smoothed"
) -> Values:
    """KL divergence of the map q from the gaze density p: sum p * log(p / q), in nats; 0 is best.

    p is `blur_fixations(fixations, sigma)` divided by its sum.

    `protocol="smoothed"`: q = `smoothed_density(saliency)`, with zero maps as uniform. Undefined (NaN)
    without fixations, or if the map is not finite or has a negative value.

    `protocol="paper"` (Nikulin et al. 2019): q = s / sum(s), without epsilon. Also undefined if any pixel of
    the map is numpy.isclose to 0 where the blurred fixations are positive. This leaves out the worst frames
    of sparse maps: report the coverage, too.

    Args:
        saliency: [N, H, W], non-negative.
        fixations: counts [N, H, W].
        sigma: of the gaze density, in pixels (5 on the 210x160 screen, 2 on 84x84); not traced.
        protocol: "smoothed" or "paper".

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers, or sigma is no Python number.
        ValueError: a shape, sigma or protocol is wrong.
    """
    check_choice("protocol", protocol, ("smoothed", "paper"))
    maps, counts = as_batch(saliency=saliency, fixations=fixations)
    return _kl_divergence(maps, counts, check_sigma(sigma), protocol)


@functools.partial(jax.jit, static_argnames=("sigma", "protocol"))
def _kl_divergence(maps: Maps, counts: Maps, sigma: float, protocol: str) -> Values:
    gaze, has_gaze = normalise(blur(counts, sigma))
    in_reach = gaze > 0
    defined = has_gaze & is_non_negative(maps)
    if protocol == "paper":
        defined &= ~jnp.any(in_reach & (maps <= ATOL), axis=(1, 2))
        # log(s) - log(sum s) instead of log(s / sum s), because the quotient can underflow.
        peak = jnp.max(maps, axis=(1, 2))
        log_mass = jnp.log(peak) + jnp.log(total(maps / per_map(peak)))
        log_map = jnp.log(jnp.where(in_reach, maps, 1)) - per_map(log_mass)
    else:
        log_map = jnp.log(smooth(maps))
    log_ratio = jnp.log(jnp.where(in_reach, gaze, 1)) - log_map
    return jnp.where(defined, total(jnp.where(in_reach, gaze * log_ratio, 0)), jnp.nan)


def cc(saliency: ArrayLike, fixations: ArrayLike, sigma: float | int) -> Values:
    """Pearson's correlation coefficient of the map and the blurred fixations, -1 to 1; 1 is best.

    Undefined (NaN) without fixations, if the map is not finite or its standard deviation is numpy.isclose to
    0, and if the maximum and minimum of the blurred fixations are numpy.isclose.

    Args:
        saliency: [N, H, W].
        fixations: counts [N, H, W].
        sigma: of the gaze density, in pixels; not traced.

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers, or sigma is no Python number.
        ValueError: a shape or sigma is wrong.
    """
    maps, counts = as_batch(saliency=saliency, fixations=fixations)
    return _cc(maps, counts, check_sigma(sigma))


@functools.partial(jax.jit, static_argnames="sigma")
def _cc(maps: Maps, counts: Maps, sigma: float) -> Values:
    map_scores, map_varies = standardise(maps)
    gaze = blur(counts, sigma)
    gaze_scores, _ = standardise(gaze)
    gaze_varies = ~is_flat(gaze)  # and not its deviation: blurring evenly spread fixations leaves rounding
    correlation = jnp.mean(map_scores * gaze_scores, axis=(1, 2))
    return jnp.where(map_varies & gaze_varies, correlation, jnp.nan)


def sim(saliency: ArrayLike, fixations: ArrayLike, sigma: float | int) -> Values:
    """Similarity, or histogram intersection: sum min(p, q), 0 to 1; 1 is best (Judd et al. 2012).

    p is the blurred fixations and q the map, each divided by its sum. Undefined (NaN) without fixations, and
    if the map is not finite, has a negative value or is all zeros.

    Args:
        saliency: [N, H, W], non-negative.
        fixations: counts [N, H, W].
        sigma: of the gaze density, in pixels; not traced.

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers, or sigma is no Python number.
        ValueError: a shape or sigma is wrong.
    """
    maps, counts = as_batch(saliency=saliency, fixations=fixations)
    return _sim(maps, counts, check_sigma(sigma))


@functools.partial(jax.jit, static_argnames="sigma")
def _sim(maps: Maps, counts: Maps, sigma: float) -> Values:
    gaze, has_gaze = normalise(blur(counts, sigma))
    density, has_mass = normalise(maps)
    defined = has_gaze & has_mass & is_non_negative(maps)
    return jnp.where(defined, total(jnp.minimum(gaze, density)), jnp.nan)
