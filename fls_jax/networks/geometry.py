"""The receptive fields of features, and how a map of features is drawn onto pixels (paper, section 4).

Every attention value multiplies one position of the features. It is therefore added to all pixels of that
position's receptive field: a transposed convolution with a kernel of ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fls_jax.networks.specs import Conv, NetworkSpec

INPUT_SIZE = 84


class Geometry(NamedTuple):
    """Feature i sees pixels i*stride - padding ... i*stride - padding + receptive_field - 1."""

    receptive_field: int
    stride: int
    padding: int


def conv_geometry(convs: Sequence[Conv], input_padding: int = 0) -> Geometry:
    """Geometry of the output of a chain of convolutions, on the grid that enters the chain."""
    field, stride, padding = 1, 1, input_padding
    for conv in convs:
        if conv.padding == "SAME":
            # SAME with stride 1 pads (kernel - 1) / 2 on each side; no published network uses another stride.
            padding += (conv.kernel - 1) // 2 * stride
        field += (conv.kernel - 1) * stride
        stride *= conv.stride
    return Geometry(field, stride, padding)


def attention_geometry(spec: NetworkSpec, published: bool = False) -> Geometry:
    """Geometry of a network's attention map on the 84x84 input.

    The map lies on the grid of the first gate (x3 sums its maps there). `published` gives the
    authors' figure, which for cnn_rsppo ignores the padding of its input.
    """
    last = spec.attention.after[0] if spec.attention else len(spec.torso)
    geometry = conv_geometry(spec.torso[:last], spec.input_padding)
    if published and spec.published_padding is not None:
        return geometry._replace(padding=spec.published_padding)
    return geometry


def attention_shape(spec: NetworkSpec) -> tuple[int, int]:
    """(h, w) of a network's attention map."""
    size = INPUT_SIZE + 2 * spec.input_padding
    last = spec.attention.after[0] if spec.attention else len(spec.torso)
    for conv in spec.torso[:last]:
        size = _output_size(size, conv)
    return size, size


def _output_size(size: int, conv: Conv) -> int:
    return -(-size // conv.stride) if conv.padding == "SAME" else (size - conv.kernel) // conv.stride + 1


def positions_read(spec: NetworkSpec) -> int:
    """How many rows (and columns) of the attention map, from the first, the next convolution reads.

    A VALID convolution with a stride may stop before the border: of the 21x21 patches the second one (4x4,
    stride 2) reads 20x20, so attention on the last row and column of patches has no effect.
    """
    last = spec.attention.after[0] if spec.attention else len(spec.torso)
    sizes = [attention_shape(spec)[0]]
    for conv in spec.torso[last:]:
        sizes.append(_output_size(sizes[-1], conv))
    read = sizes.pop()
    for conv in reversed(spec.torso[last:]):
        size = sizes.pop()
        read = size if conv.padding == "SAME" else (read - 1) * conv.stride + conv.kernel
    return read


def without_unread(attention: Float[Array, "B h w"], spec: NetworkSpec) -> Float[Array, "B h w"]:
    """Attention [B, h, w] with 0 at the positions that no later layer reads, where it has no effect."""
    read = np.arange(attention.shape[1]) < positions_read(spec)
    return jnp.where(np.outer(read, read)[None], attention, 0)


def coverage(positions: int, geometry: Geometry, size: int) -> Float[np.ndarray, "size positions"]:
    """float32 [size, positions]: 1 where a pixel lies in the position's receptive field along one axis."""
    pixel = np.arange(size)[:, None]
    start = np.arange(positions)[None, :] * geometry.stride - geometry.padding
    return ((pixel >= start) & (pixel < start + geometry.receptive_field)).astype(np.float32)


def paint(
    attention: Float[Array, "B h w"], geometry: Geometry, size: int = INPUT_SIZE
) -> Float[Array, "B {size} {size}"]:
    """Draw attention [B, h, w] through receptive fields onto [B, size, size], float32.

    Equal to a transposed convolution with a kernel of ones, cropped by the padding. It is computed as two
    matrix products, because a kernel of ones is separable.
    """
    rows = jnp.asarray(coverage(attention.shape[1], geometry, size))
    columns = jnp.asarray(coverage(attention.shape[2], geometry, size))
    return jnp.einsum("yi,bij,xj->byx", rows, attention, columns, precision="highest")
