"""Maps from the attention grid to the observation, and from the observation to the screen.

Both steps are linear and separable. An attention map is drawn through receptive fields onto the 84x84
observation (Nikulin et al. 2019, arXiv 1908.02511, section 4), and the result is enlarged to the 210x160
screen. Each step is a product with one small matrix per axis.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.networks.geometry import attention_geometry, attention_shape, paint, without_unread
from fls_jax.networks.specs import NetworkSpec
from fls_jax.types import DEAD

Protocol = Literal["aligned", "paper"]
PROTOCOLS: tuple[Protocol, ...] = ("aligned", "paper")
SCREEN = (210, 160)


def share_of(saliency: np.ndarray, maximum: float | None) -> np.ndarray:
    """Saliency divided by `maximum`: zeros if that is below DEAD, unchanged if it is None."""
    if maximum is not None and maximum < DEAD:
        return np.zeros_like(saliency)
    return saliency / (maximum or 1.0)


def project(attention: ArrayLike, spec: NetworkSpec, protocol: Protocol = "aligned") -> Array:
    """Draw attention float [B, h, w] of a network onto its input: float32 [B, 84, 84].

    Every value is added to each pixel of the receptive field of the feature that it multiplies. Positions
    that no later layer reads are drawn as 0 (networks.geometry.positions_read); the paper's networks have
    none.
    protocol: `aligned` uses the true receptive fields, `paper` those that the authors published. For
    cnn_rsppo the latter ignore the padding of the input and are one pixel too low and too far right.
    Raises ValueError for another protocol, or a map of another shape than this network's.
    """
    check_protocol(protocol)
    attention = jnp.asarray(attention, jnp.float32)
    expected = attention_shape(spec)
    if attention.ndim != 3 or attention.shape[1:] != expected:
        raise ValueError(
            f"The attention of {spec.name} must be [B, {expected[0]}, {expected[1]}]; "
            f"this has shape {list(attention.shape)}."
        )
    seen = without_unread(attention, spec)
    return paint(seen, attention_geometry(spec, published=protocol == "paper"))


def to_screen(maps: ArrayLike) -> Array:
    """Maps float [B, 84, 84] of the observation enlarged to the screen: float32 [B, 210, 160]."""
    return enlarge(maps, SCREEN)


def enlarge(maps: ArrayLike, shape: tuple[int, int]) -> Array:
    """Interpolate maps [B, h, w] bilinearly to float32 [B, *shape], which is not smaller than (h, w).

    Equal to skimage.transform.resize with its defaults (order 1, mode `reflect`, no anti-aliasing when
    enlarging). Raises ValueError for an array of another rank or a smaller shape.
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
    # Mirroring leaves the axis only at size 1, where every position is the one pixel.
    below = np.clip(np.floor(place).astype(int), 0, size - 1)
    share = (place - below) if size > 1 else np.zeros(new_size)
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size), below), 1 - share)
    np.add.at(matrix, (np.arange(new_size), np.minimum(below + 1, size - 1)), share)
    return matrix.astype(np.float32)


def between(centres: np.ndarray, size: int) -> np.ndarray:
    """float32 [size, n]: interpolation from `centres` (pixels, ascending) to every pixel of an axis.

    It is linear between centres and constant beyond the outermost ones. Each value stays where it was
    measured, which is not so if n values are stretched over the axis.
    """
    basis = np.eye(len(centres))
    return np.stack([np.interp(np.arange(size), centres, row) for row in basis], axis=1).astype(np.float32)


def check_protocol(protocol: str) -> None:
    """Raise ValueError for anything but `aligned` and `paper`."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"There is no protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}.")
