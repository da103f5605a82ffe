"""Runs a network on many changed variants of every frame, in large batches and bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.networks.chunking import padded_blocks
from fls_jax.saliency.question import Answer, Apply, Question
from fls_jax.types import Params

Perturb = Callable[[Any, Any], Array]
"""(one frame's arrays, one variant's arrays) -> the changed frame, float32 [H, W, C]; traceable."""


def answers(question: Question, frames: Any, perturb: Perturb, variants: Any) -> Answer:
    """The network's output for every variant of every frame: logits [B, M, A], value [B, M].

    frames: a pytree of NumPy arrays [B, ...]; variants: a pytree of arrays [M, ...]. `perturb` is compiled
    once per function object, so it should be a function at the top level of a module.
    """
    count = len(jax.tree.leaves(variants)[0])
    variants = jax.tree.map(jnp.asarray, variants)
    parts = []
    for block, size in padded_blocks(frames, frames_at_once()):
        step = partial(_step, question.apply, perturb, question.params, jax.device_put(block), variants)
        said = [step(*pairs) for pairs in _pairs(size, count)]
        logits, value = (np.concatenate(column)[: size * count] for column in zip(*said, strict=True))
        parts.append((logits.reshape(size, count, -1), value.reshape(size, count)))
    return Answer(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def frames_at_once() -> int:
    """Frames whose variants are computed together, which bounds the memory."""
    return 8 if jax.default_backend() == "cpu" else 64


def passes_at_once() -> int:
    """Variants in a batch. On a CPU larger batches are not faster."""
    return 32 if jax.default_backend() == "cpu" else 1024


def _pairs(frames: int, variants: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs (frame, variant) in equal batches, int32 [n] each; the last is padded with the first."""
    size = passes_at_once()
    for start in range(0, frames * variants, size):
        number = np.arange(start, start + size, dtype=np.int32)
        number[number >= frames * variants] = 0
        yield number // np.int32(variants), number % np.int32(variants)


@partial(jax.jit, static_argnums=(0, 1))
def _step(
    apply: Apply, perturb: Perturb, params: Params, frames: Any, variants: Any, frame: Array, variant: Array
) -> Answer:
    chosen = (
        jax.tree.map(lambda leaf: leaf[frame], frames),
        jax.tree.map(lambda leaf: leaf[variant], variants),
    )
    logits, value = apply(params, jax.vmap(perturb)(*chosen))[:2]
    return Answer(logits, value)
