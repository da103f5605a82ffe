"""Derivatives of a network's outputs, and how maps of single outputs become maps of targets.

The output to explain is an action's logit, the value or, for `policy`, every logit; the logits' maps are
combined as the root of the sum of squares. Derivatives are with respect to the frames on the scale of 0 to
255.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.networks.chunking import over_blocks
from fls_jax.saliency.question import Apply, Question
from fls_jax.types import Params


def network(question: Question) -> tuple[Apply, Params]:
    """A question's network, in the form for the compiled steps."""
    return question.apply, question.params


def explained(question: Question, of_block: Callable[..., ArrayLike]) -> np.ndarray:
    """Maps [T, B, H, W] from a function that returns one map for each row of a block's weights."""
    weights, spans = _output_weights(question)
    rows = over_blocks(of_block, question.observations, weights, question.keys)
    maps = [
        np.sqrt((rows[:, span] ** 2).sum(axis=1)) if target == "policy" else rows[:, span.start]
        for target, span in zip(question.targets, spans, strict=True)
    ]
    return np.stack(maps)


def _output_weights(question: Question) -> tuple[np.ndarray, list[slice]]:
    """Weights float32 [B, K, A + 1] of the outputs (logits, then value), and each target's rows of the K."""
    (frames, count), columns, spans = question.answer.logits.shape, [], []
    eye = np.eye(count + 1, dtype=np.float32)
    for target, actions in zip(question.targets, question.actions, strict=True):
        if actions is not None:
            rows = eye[actions][:, None]
        else:
            same = eye[:count] if target == "policy" else eye[count:]
            rows = np.broadcast_to(same, (frames, *same.shape))
        start = spans[-1].stop if spans else 0
        spans.append(slice(start, start + rows.shape[1]))
        columns.append(rows)
    return np.concatenate(columns, axis=1), spans


def outputs(said: tuple[Any, ...]) -> Array:
    """Logits [b, A] and value [b] as one array [b, A + 1]."""
    return jnp.concatenate([said[0], said[1][:, None]], axis=1)


def derivatives(apply: Apply, params: Params, frames: Array, weights: Array) -> Array:
    """Derivatives of each weighted sum of the outputs by float32 frames: [b, K, H, W, C], in one pass."""
    _, pull = jax.vjp(lambda x: outputs(apply(params, x)), frames)
    return jax.vmap(lambda row: pull(row)[0], in_axes=1, out_axes=1)(weights)


def magnitude(each: Array) -> Array:
    """The largest absolute value over the channels: [..., C] -> [...]."""
    return jnp.abs(each).max(axis=-1)
