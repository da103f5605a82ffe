"""Batches in parts: slices that fit into the cache, and blocks of a few sizes to limit compilation.

The slices are the CPU form of a convolutional extractor: XLA's CPU convolution unrolls every receptive
field into memory. A minibatch of 256 frames takes over 100 MB per layer, written to and read from main
memory; a slice of 8 frames stays in the cache. The slices are independent, so the result is the same up to
the order of float32 sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

CPU_CHUNK_SIZE = 8


def default_chunk_size(devices: int = 1) -> int | None:
    """8 for a computation on one CPU device; None (the whole batch at once) on accelerators and meshes."""
    return CPU_CHUNK_SIZE if jax.default_backend() == "cpu" and devices == 1 else None


def in_chunks(function: Callable[[Array], Any], batch: Array, chunk_size: int | None) -> Any:
    """function(batch), computed in slices of chunk_size along axis 0 and concatenated leaf by leaf.

    `function` maps [B, ...] to a pytree of [B, ...] arrays, sample by sample. None, or a chunk as
    large as the batch, calls it once.
    """
    if chunk_size is None or batch.shape[0] <= chunk_size:
        return function(batch)
    slices = [function(batch[start : start + chunk_size]) for start in range(0, batch.shape[0], chunk_size)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *slices)


def largest_block() -> int:
    """Rows of the largest block: 32 on a CPU, where compilation time grows with the rows, else 128."""
    return 32 if jax.default_backend() == "cpu" else 128


def padded_blocks(batch: Any, largest: int | None = None) -> Iterator[tuple[Any, int]]:
    """Blocks of a pytree of arrays [B, ...], padded to a power of two, each with its true size.

    At most six or eight sizes are compiled. largest: a power of two; larger blocks are not faster.
    """
    largest = largest or largest_block()
    length = len(jax.tree.leaves(batch)[0])
    for start in range(0, length, largest):
        size = min(largest, length - start)
        padding = (1 << (size - 1).bit_length()) - size
        yield jax.tree.map(lambda leaf: _padded(leaf[start : start + size], padding), batch), size  # noqa: B023


def over_blocks(function: Callable[..., Any], *batch: Any, largest: int | None = None) -> Any:
    """function(*batch) of pytrees of arrays [B, ...], B > 0, block by block: a pytree of NumPy arrays.

    The device computes one block while the previous one is fetched.
    """
    parts, pending = [], None
    for block, size in padded_blocks(batch, largest):
        output = function(*block), size
        if pending is not None:
            parts.append(_fetched(*pending))
        pending = output
    if pending is None:
        raise ValueError("There are no rows to compute.")
    parts.append(_fetched(*pending))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def _padded(rows: Any, padding: int) -> Any:
    if not padding:
        return rows
    if isinstance(rows, np.ndarray):
        return np.concatenate([rows, np.zeros((padding, *rows.shape[1:]), rows.dtype)])
    first = jnp.broadcast_to(rows[:1], (padding, *rows.shape[1:]))  # random keys have no zero
    return jnp.concatenate([rows, first])


def _fetched(output: Any, size: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:size], output)
