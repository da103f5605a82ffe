"""Areas under the ROC curve: shuffled AUC and AUC-Judd.

Both are the exact (Mann-Whitney) area, ties counting one half: the probability that a fixated pixel's value
is above a negative's. With weights p on the fixated pixels and n on the negatives it is

    sum_ij p_i * n_j * ([s_i > s_j] + [s_i = s_j] / 2) / (sum p * sum n),

so both follow from one map, `_mass_above`: for each pixel j, the weight p of the pixels above it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float32, Int32, Key

from fls_jax.metrics.maps import (
    Fixated,
    Flags,
    FlatMaps,
    Maps,
    Values,
    as_batch,
    check_choice,
    fixated_pixels,
    flatten,
    is_finite,
    is_flat,
    total,
)

FlatMap = Float32[jax.Array, " P"]
Keys = Key[jax.Array, " N"]

SPLITS = 100

_COMPARED_AT_ONCE = 16
_DRAWN_AT_ONCE = 1024


def shuffled_auc(
    saliency: ArrayLike,
    fixations: ArrayLike,
    others: ArrayLike,
    protocol: str = "closed",
    key: ArrayLike | None = None,
) -> Values:
    """AUC of the map's values at the fixations against those at other frames' fixations; chance is 0.5.

    After Zhang et al. (2008). Positives are the fixations and negatives the fixations of other frames, both
    with their counts.

    `protocol="closed"`: every fixation of `others` is a negative; exact and deterministic.

    `protocol="paper"` (Nikulin et al. 2019): the mean over 100 splits, each with as many negatives as there
    are positives, drawn from `others` with replacement. Because all splits have the same size, that mean
    equals the AUC against the union of their draws, which is what is computed. "closed" is its limit for
    infinitely many splits.

    Undefined (NaN) without fixations, if `others` is empty, if the map is not finite, and if its maximum and
    minimum are numpy.isclose.

    Args:
        saliency: [N, H, W].
        fixations: counts [N, H, W].
        others: [N, H, W], the summed counts of other frames.
        protocol: "closed" or "paper".
        key: for "paper": a JAX random key, from which frame n uses `fold_in(key, n)`; or N keys, one per
            frame, which makes the draws independent of batching. Unused by "closed".

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers, or key is not a JAX random key.
        ValueError: a shape or protocol is wrong, or "paper" has no key.
    """
    check_choice("protocol", protocol, ("closed", "paper"))
    maps, counts, negatives = as_batch(saliency=saliency, fixations=fixations, others=others)
    if protocol == "closed":
        return _closed_auc(maps, counts, negatives)
    return _sampled_auc(maps, counts, negatives, _frame_keys(key, len(maps)))


def auc_judd(saliency: ArrayLike, fixations: ArrayLike) -> Values:
    """AUC of the map's values at the fixations against those at all pixels not fixated; chance is 0.5.

    After Judd et al. (2009): the map is a classifier of fixated pixels, thresholded at every level. Positives
    count as often as they were fixated; each pixel without a fixation in this frame is one negative. The area
    is exact: over all thresholds, with ties counting one half. It is the limit of the original's random
    jitter, without the upward bias of a trapezoid through the fixated levels alone. Undefined (NaN) without
    fixations, if every pixel is fixated, if the map is not finite, and if its maximum and minimum are
    numpy.isclose.

    Args:
        saliency: [N, H, W].
        fixations: counts [N, H, W].

    Returns:
        float32 [N].

    Raises:
        TypeError: an array does not hold real numbers.
        ValueError: a shape is wrong.
    """
    maps, counts = as_batch(saliency=saliency, fixations=fixations)
    return _closed_auc(maps, counts, (counts == 0).astype(jnp.float32))


@jax.jit
def _closed_auc(maps: Maps, counts: Maps, negatives: Maps) -> Values:
    samples, opposed = total(counts), total(negatives)
    above = total(_mass_above(maps, counts) * negatives)
    return jnp.where(_is_defined(maps, samples, opposed), above / (samples * opposed), jnp.nan)


@jax.jit
def _sampled_auc(maps: Maps, counts: Maps, negatives: Maps, keys: Keys) -> Values:
    samples, opposed = total(counts), total(negatives)
    defined = _is_defined(maps, samples, opposed)
    share_above = _mass_above(maps, counts) / jnp.where(samples > 0, samples, 1)[:, None, None]
    draws = jnp.where(defined, SPLITS * jnp.ceil(samples), 0).astype(jnp.int32)
    return jnp.where(defined, _mean_over_draws(share_above, negatives, draws, keys), jnp.nan)


def _is_defined(maps: Maps, samples: Values, opposed: Values) -> Flags:
    return (samples > 0) & (opposed > 0) & is_finite(maps) & ~is_flat(maps)


def _frame_keys(key: ArrayLike | None, frames: int) -> Keys:
    """One random key per frame: typed keys [frames]."""
    if key is None:
        raise ValueError('protocol "paper" draws random numbers: give it a key, such as jax.random.key(0).')
    try:
        keys = jnp.asarray(key)
        if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
            keys = jax.random.wrap_key_data(keys)
    except (TypeError, ValueError):
        raise TypeError(f"key is {key!r}, but must be a JAX random key, such as jax.random.key(0).") from None
    if keys.ndim == 0:
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys, jnp.arange(frames))
    if keys.shape != (frames,):
        raise ValueError(
            f"key holds {keys.shape} keys, but one key, or one for each of {frames} frames, is needed."
        )
    return keys


def _mass_above(maps: Maps, weights: Maps) -> Maps:
    """For each pixel, the weight of the pixels with a greater value plus half the weight of its equals.

    Args:
        maps: float32 [N, H, W].
        weights: float32 [N, H, W], non-negative, mostly 0.

    Returns:
        float32 [N, H, W].
    """
    values = flatten(maps)
    fixated = fixated_pixels(weights)
    above = jax.lax.cond(
        fixated.most <= fixated.pixels.shape[1],
        lambda: _mass_above_by_comparing(values, fixated),
        lambda: _mass_above_by_sorting(values, flatten(weights)),
    )
    return above.reshape(maps.shape)


def _mass_above_by_comparing(values: FlatMaps, fixated: Fixated) -> FlatMaps:
    """`_mass_above` over flat maps [N, P], by comparing each fixated pixel with all others."""
    padding = ((0, 0), (0, -fixated.pixels.shape[1] % _COMPARED_AT_ONCE))
    halves = jnp.pad(fixated.counts / 2, padding)
    thresholds = jnp.pad(jnp.take_along_axis(values, fixated.pixels, axis=1), padding)

    def compare_some(carry: tuple[jax.Array, FlatMaps]) -> tuple[jax.Array, FlatMaps]:
        start, above = carry
        half = jax.lax.dynamic_slice_in_dim(halves, start, _COMPARED_AT_ONCE, axis=1)
        threshold = jax.lax.dynamic_slice_in_dim(thresholds, start, _COMPARED_AT_ONCE, axis=1)
        # Unrolled: XLA makes one vectorised pass over the pixels of a sum, but not of a reduction.
        for i in range(_COMPARED_AT_ONCE):
            level = threshold[:, i, None]
            ranks = (level > values).astype(jnp.float32) + (level >= values).astype(jnp.float32)
            above = above + half[:, i, None] * ranks
        return start + _COMPARED_AT_ONCE, above

    start = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(
        lambda carry: carry[0] < fixated.most, compare_some, (start, jnp.zeros_like(values))
    )[1]


def _mass_above_by_sorting(values: FlatMaps, weights: FlatMaps) -> FlatMaps:
    """`_mass_above` over flat maps [N, P]: slower, but for any number of fixated pixels."""

    def one_map(values: FlatMap, weights: FlatMap) -> FlatMap:
        levels, weights = jax.lax.sort((values, weights), num_keys=1)
        below = jnp.concatenate([jnp.zeros_like(weights, shape=1), jnp.cumsum(weights)])
        strictly = below[jnp.searchsorted(levels, values, side="left")]
        or_equal = below[jnp.searchsorted(levels, values, side="right")]
        return below[-1] - (strictly + or_equal) / 2

    return jax.vmap(one_map)(values, weights)


def _mean_over_draws(shares: Maps, weights: Maps, draws: Int32[jax.Array, " N"], keys: Keys) -> Values:
    """The mean of `shares` [N, H, W] over `draws` [N] pixels drawn in proportion to `weights` [N, H, W]."""
    flat_shares = flatten(shares)
    cumulative = jnp.cumsum(flatten(weights), axis=1)

    def draw_some(carry: tuple[jax.Array, Values]) -> tuple[jax.Array, Values]:
        turn, means = carry

        def one_frame(
            shares: FlatMap, cumulative: FlatMap, draws: jax.Array, key: jax.Array
        ) -> Float32[jax.Array, ""]:
            uniform = jax.random.uniform(jax.random.fold_in(key, turn), (_DRAWN_AT_ONCE,), jnp.float32)
            pixels = jnp.searchsorted(cumulative, uniform * cumulative[-1], side="right")
            wanted = turn * _DRAWN_AT_ONCE + jnp.arange(_DRAWN_AT_ONCE, dtype=jnp.int32) < draws
            return jnp.sum(jnp.where(wanted, shares[pixels], 0)) / jnp.maximum(draws, 1).astype(jnp.float32)

        return turn + 1, means + jax.vmap(one_frame)(flat_shares, cumulative, draws, keys)

    turns = jnp.max(-(-draws // _DRAWN_AT_ONCE), initial=0)
    start = (jnp.zeros((), jnp.int32), jnp.zeros(len(shares), jnp.float32))
    return jax.lax.while_loop(lambda carry: carry[0] < turns, draw_some, start)[1]
