"""Functions that all metrics share: checks and casts of inputs, and moments of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float32, Int32, Shaped

Maps = Float32[jax.Array, "N H W"]
FlatMaps = Float32[jax.Array, "N P"]
Values = Float32[jax.Array, " N"]
Flags = Bool[jax.Array, " N"]

# numpy.isclose's defaults, which decide what is "constant" and "zero".
RTOL = 1e-5
ATOL = 1e-8

# One limit for all metrics, so that XLA picks the pixels once where several metrics share a jit.
FIXATED_LIMIT = 1024


def as_float32(name: str, array: ArrayLike) -> jax.Array:
    """`array` as float32.

    Values beyond float32's range become infinite, so their map counts as not finite.

    Raises:
        TypeError: `array` does not hold real numbers.
    """
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or jnp.iscomplexobj(array):
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}.")
    with np.errstate(over="ignore"):
        return jnp.asarray(array, dtype=jnp.float32)


def as_batch(**arrays: ArrayLike) -> list[Maps]:
    """The named arrays as float32 [N, H, W], in the order given.

    Raises:
        TypeError: one does not hold real numbers.
        ValueError: one is not [N, H, W], or their shapes differ.
    """
    (first, shape), *_ = ((name, np.shape(array)) for name, array in arrays.items())
    for name, array in arrays.items():
        if np.ndim(array) != 3 or 0 in np.shape(array)[1:]:
            raise ValueError(
                f"{name} has shape {np.shape(array)}, but a batch of maps [N, H, W] is needed; "
                "give a single map a leading axis with map[None]."
            )
        if np.shape(array) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(array)} and {first} {shape}; they must be the same [N, H, W]."
            )
    return [as_float32(name, array) for name, array in arrays.items()]


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, choices))}.")


def total(maps: Maps) -> Values:
    """The sum of each map: [N, H, W] -> [N]."""
    return jnp.sum(maps, axis=(1, 2))


def per_map(values: Shaped[jax.Array, " N"]) -> Shaped[jax.Array, "N 1 1"]:
    """Reshape one value per map to broadcast over its pixels: [N] -> [N, 1, 1]."""
    return values[:, None, None]


class Fixated(NamedTuple):
    """The fixated pixels of each map, the most fixated first.

    Attributes:
        counts: float32 [N, K], padded with 0; K is FIXATED_LIMIT, or H * W if that is less.
        pixels: int32 [N, K], row * W + column.
        most: the largest number of fixated pixels in any map, int32 []. Above K, some are left out.
    """

    counts: Float32[jax.Array, "N K"]
    pixels: Int32[jax.Array, "N K"]
    most: Int32[jax.Array, ""]


def fixated_pixels(counts: Maps) -> Fixated:
    """The fixated pixels of each map [N, H, W], at most FIXATED_LIMIT of them."""
    flat = flatten(counts)
    top_counts, pixels = jax.lax.top_k(flat, min(FIXATED_LIMIT, flat.shape[1]))
    numbers = jnp.sum(flat > 0, axis=1, dtype=jnp.int32)
    return Fixated(top_counts, pixels, jnp.max(numbers, initial=0))


def flatten(maps: Maps) -> FlatMaps:
    """[N, H, W] -> [N, H * W]."""
    return maps.reshape(len(maps), maps.shape[1] * maps.shape[2])


def is_finite(maps: Maps) -> Flags:
    """Whether every pixel of a map is finite: [N, H, W] -> bool [N]."""
    return jnp.all(jnp.isfinite(maps), axis=(1, 2))


def is_flat(maps: Maps) -> Flags:
    """numpy.isclose(maximum, minimum) of each map: [N, H, W] -> bool [N]."""
    high, low = jnp.max(maps, axis=(1, 2)), jnp.min(maps, axis=(1, 2))
    return high - low <= ATOL + RTOL * jnp.abs(low)


def standardise(maps: Maps) -> tuple[Maps, Flags]:
    """Scale each map to mean 0 and population standard deviation 1.

    The mean is subtracted twice: in float32 the first mean has an error of a few units in the last place,
    which matters for a map far from zero or with one extreme pixel. Deviations are scaled before they are
    squared, so that large values do not overflow.

    Args:
        maps: float32 [N, H, W].

    Returns:
        The standardised maps, float32 [N, H, W], and bool [N]: False if the map is not finite or its
        standard deviation is numpy.isclose to 0; its standardised map is then meaningless.
    """
    pixels = maps.shape[1] * maps.shape[2]
    deviation = maps - per_map(total(maps / pixels))
    deviation = deviation - per_map(total(deviation) / pixels)
    scale = jnp.max(jnp.abs(deviation), axis=(1, 2))
    deviation = deviation / per_map(jnp.where(scale > 0, scale, 1))
    std = jnp.sqrt(total(deviation**2) / pixels)
    constant = (scale * std <= ATOL) | (jnp.max(maps, axis=(1, 2)) == jnp.min(maps, axis=(1, 2)))
    return deviation / per_map(jnp.where(constant, 1, std)), is_finite(maps) & ~constant
