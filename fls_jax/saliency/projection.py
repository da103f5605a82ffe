"""Where attention lies on the observation, and where the observation lies on the screen.

Both steps are linear and separable: an attention map is painted through receptive fields onto the
84x84 observation (Nikulin et al. 2019, arXiv 1908.02511, section 4), and that is enlarged to the
210x160 screen. Each is a product with one small matrix an axis.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.networks.geometry import attention_geometry, attention_shape, paint
from fls_jax.networks.specs import NetworkSpec

Protocol = Literal["aligned", "paper"]
PROTOCOLS: tuple[Protocol, ...] = ("aligned", "paper")
SCREEN = (210, 160)
DEAD = 1e-6
"""Attention that is smaller than this everywhere passes nothing on: the network has lost its input."""


def share_of(saliency: np.ndarray, maximum: float | None) -> np.ndarray:
    """Saliency as a share of its maximum: all zeros where that is below DEAD, itself where there is none."""
    if maximum is not None and maximum < DEAD:
        return np.zeros_like(saliency)
    return saliency / (maximum or 1.0)


def project(attention: ArrayLike, spec: NetworkSpec, protocol: Protocol = "aligned") -> Array:
    """Attention float [B, h, w] of a network, painted onto its input: float32 [B, 84, 84].

    Every value is added to each pixel of the receptive field of the feature that it multiplies.
    protocol: `aligned` uses the true receptive fields; `paper` those that the authors published, which
    for cnn_rsppo ignore the padding of its input and so lie one pixel too low and too far right.
    Raises ValueError for another protocol or a map that is not this network's.
    """
    check_protocol(protocol)
    attention = jnp.asarray(attention, jnp.float32)
    expected = attention_shape(spec)
    if attention.ndim != 3 or attention.shape[1:] != expected:
        raise ValueError(
            f"The attention of {spec.name} must be [B, {expected[0]}, {expected[1]}]; "
            f"this has shape {list(attention.shape)}."
        )
    return paint(attention, attention_geometry(spec, published=protocol == "paper"))


def to_screen(maps: ArrayLike) -> Array:
    """Maps float [B, 84, 84] of the observation enlarged to the screen: float32 [B, 210, 160]."""
    return enlarge(maps, SCREEN)


def enlarge(maps: ArrayLike, shape: tuple[int, int]) -> Array:
    """Maps [B, h, w] bilinearly interpolated to float32 [B, *shape], no smaller than (h, w).

    The same as skimage.transform.resize with its defaults (order 1, mode `reflect`, which does no
    anti-aliasing when enlarging). Raises ValueError for an array of another rank or a smaller shape.
    """
    maps = jnp.asarray(maps, jnp.float32)
    if maps.ndim != 3:
        raise ValueError(f"Maps must be [B, h, w]; these have shape {list(maps.shape)}.")
    if shape[0] < maps.shape[1] or shape[1] < maps.shape[2]:
        raise ValueError(
            f"Maps of {maps.shape[1]}x{maps.shape[2]} cannot be enlarged to {shape[0]}x{shape[1]}."
        )
    rows, columns = (jnp.asarray(interpolation(n, m)) for n, m in zip(maps.shape[1:], shape, strict=True))
    return jnp.einsum("yi,bij,xj->byx", rows, maps, columns, precision="highest")


def interpolation(size: int, new_size: int) -> np.ndarray:
    """float32 [new_size, size]: linear interpolation along an axis, pixel centres at half integers.

    Beyond the outermost centres the axis is mirrored about them.
    """
    place = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    place = np.abs(place)
    place = np.where(place > size - 1, 2 * (size - 1) - place, place)
    # Only at size 1 does mirroring leave the axis; there, every place is its one pixel.
    below = np.clip(np.floor(place).astype(int), 0, size - 1)
    share = (place - below) if size > 1 else np.zeros(new_size)
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size), below), 1 - share)
    np.add.at(matrix, (np.arange(new_size), np.minimum(below + 1, size - 1)), share)
    return matrix.astype(np.float32)


def between(centres: np.ndarray, size: int) -> np.ndarray:
    """float32 [size, n]: values at `centres`, in pixels and ascending, taken to every pixel of an axis.

    Linear between two centres, the value of the outermost beyond them: a value stays where it was measured,
    which stretching n values over the axis would not do.
    """
    basis = np.eye(len(centres))
    return np.stack([np.interp(np.arange(size), centres, row) for row in basis], axis=1).astype(np.float32)


def check_protocol(protocol: str) -> None:
    """ValueError for anything but `aligned` and `paper`."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"There is no protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}.")
