"""The CPU form of a convolutional extractor: the batch in slices small enough for the cache.

XLA's CPU convolution unrolls every receptive field into memory. For a minibatch of 256 frames that
is over 100 MB a layer, written to and read from main memory; for a slice of 8 it stays in the cache.
The slices are independent, so the result is the same up to the order of float32 sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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
