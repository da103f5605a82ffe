"""Turns fixations and saliency maps into probability densities over the screen."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float32

from fls_jax.metrics.maps import (
    Fixated,
    Flags,
    Maps,
    as_batch,
    as_float32,
    fixated_pixels,
    is_finite,
    per_map,
    total,
)

UNIFORM_SHARE = 0.01

# Up to this many distinct fixated pixels per frame, the blur is computed as the sum of their kernels, which
# is several times cheaper than a blur of the whole screen.
_SUMMED_PIXELS = 32


def blur_fixations(fixations: ArrayLike, sigma: float | int) -> Float32[jax.Array, "*N H W"]:
    """Blur fixation counts with a Gaussian, like OpenCV's `GaussianBlur` with its default kernel size.

    The kernel is cut at 4 sigma (41 taps for sigma 5, 17 for sigma 2) and sums to 1; the border is reflected
    without repeating the edge pixel (BORDER_REFLECT_101).

    Args:
        fixations: counts [..., H, W], any real dtype, not negative.
        sigma: standard deviation in pixels, greater than 0; not traced.

    Returns:
        float32 [..., H, W]. Exactly 0 outside the kernels of all fixations.

    Raises:
        TypeError: `sigma` is not a Python number, or `fixations` does not hold real numbers.
        ValueError: `sigma` is not finite and positive, or `fixations` is not a map [..., H, W] with pixels.
    """
    counts = as_float32("fixations", fixations)
    if counts.ndim < 2 or 0 in counts.shape[-2:]:
        raise ValueError(f"fixations has shape {counts.shape}, but maps [..., H, W] are needed.")
    return blur(counts, check_sigma(sigma))


def smoothed_density(saliency: ArrayLike) -> Maps:
    """Turn a map into a positive density: 0.99 * s / sum(s) + 0.01 / (H * W).

    A map of zeros counts as uniform.

    Args:
        saliency: non-negative [N, H, W], any real dtype.

    Returns:
        float32 [N, H, W], each map with sum 1; all NaN if a map is not finite or has a negative value.

    Raises:
        TypeError: `saliency` does not hold real numbers.
        ValueError: `saliency` is not [N, H, W].
    """
    (maps,) = as_batch(saliency=saliency)
    return _smoothed_density(maps)


@jax.jit
def _smoothed_density(maps: Maps) -> Maps:
    return jnp.where(per_map(is_non_negative(maps)), smooth(maps), jnp.nan)


def check_sigma(sigma: float | int) -> float:
    """`sigma` as a float.

    Raises:
        TypeError: it is not a Python number (for example a traced value).
        ValueError: it is not finite and positive.
    """
    try:
        value = float(sigma)
    except (TypeError, ValueError):
        raise TypeError(
            f"sigma is {sigma!r}, but must be a number of pixels (under jit, a static argument)."
        ) from None
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"sigma is {value}, but must be a finite number of pixels greater than 0.")
    return value


@functools.partial(jax.jit, static_argnames="sigma")
def blur(counts: Float32[jax.Array, "*N H W"], sigma: float) -> Float32[jax.Array, "*N H W"]:
    """`blur_fixations` for a float32 array and a checked sigma."""
    maps = counts.reshape(-1, *counts.shape[-2:])
    fixated = fixated_pixels(maps)
    rows, columns = (jnp.asarray(_blur_matrix(size, sigma)) for size in counts.shape[-2:])
    blurred = jax.lax.cond(
        fixated.most <= _SUMMED_PIXELS,
        lambda: _sum_of_kernels(fixated, rows, columns),
        lambda: _product(rows, _product(maps, columns.T)),
    )
    return blurred.reshape(counts.shape)


def _sum_of_kernels(
    fixated: Fixated, rows: Float32[jax.Array, "H H"], columns: Float32[jax.Array, "W W"]
) -> Maps:
    """The blurred maps [N, H, W] as the sum of the kernels at a few fixated pixels."""
    counts, pixels = (part[:, :_SUMMED_PIXELS] for part in (fixated.counts, fixated.pixels))
    vertical = counts[:, :, None] * rows.T[pixels // len(columns)]
    horizontal = columns.T[pixels % len(columns)]
    return _product(vertical.mT, horizontal)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    # GPUs round the factors of a product unless the precision is set.
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


@functools.lru_cache(maxsize=32)
def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    """The blur along one axis as a matrix, float32 [size, size], including the reflected border."""
    radius = (round(8 * sigma + 1) | 1) // 2
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    period = max(2 * (size - 1), 1)
    source = (np.arange(size)[:, None] + offsets) % period
    source = np.minimum(source, period - source) if size > 1 else np.zeros_like(source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), kernel)
    return matrix.astype(np.float32)


def is_non_negative(maps: Maps) -> Flags:
    """Whether a map can be a density: finite and non-negative. [N, H, W] -> bool [N]."""
    return is_finite(maps) & (jnp.min(maps, axis=(1, 2)) >= 0)


def normalise(maps: Maps) -> tuple[Maps, Flags]:
    """Divide non-negative maps by their sum, and return whether that sum is greater than 0.

    Args:
        maps: float32 [N, H, W], finite and non-negative.

    Returns:
        float32 [N, H, W], zeros for a map of zeros; bool [N].
    """
    peak = jnp.max(maps, axis=(1, 2))
    scaled = maps / per_map(jnp.where(peak > 0, peak, 1))  # so that the sum can't overflow
    mass = total(scaled)
    return scaled / per_map(jnp.where(mass > 0, mass, 1)), mass > 0


def smooth(maps: Maps) -> Maps:
    """`smoothed_density` for float32 maps that are finite and non-negative."""
    pixels = maps.shape[1] * maps.shape[2]
    density, has_mass = normalise(maps)
    density = jnp.where(per_map(has_mass), density, 1 / pixels)
    return (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE / pixels
