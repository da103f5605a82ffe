"""What a saliency method explains: a network, frames, and outputs of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.errors import UserError
from fls_jax.networks.chunking import over_blocks
from fls_jax.types import Params

Target = str | int
"""`action` (the most probable one of each frame), the number of an action, `policy` (all logits), `value`."""

Apply = Callable[[Params, Any], tuple[Any, ...]]
"""(parameters, frames [N, H, W, C]) -> (logits float [N, A], value float [N], ...).

Frames are uint8, or float32 on the same scale of 0 to 255 if a method blurs or differentiates. A third output
is taken as the attention, float [N, h, w]. The output for a frame must not depend on other frames.
"""


class CannotExplainError(UserError, ValueError):
    """What a method cannot explain, or did not: a sentence for its user."""


class Answer(NamedTuple):
    """Logits [..., A] and value [...] of some frames, float32."""

    logits: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Question:
    """A network, frames, and the outputs to explain.

    apply, params: the network.
    observations: uint8 [B, H, W, C], the oldest frame in the first channel.
    targets: T targets; a method returns maps [T, B, H, W].
    key: the source of all randomness of a method.
    """

    apply: Apply
    params: Params
    observations: np.ndarray
    targets: tuple[Target, ...]
    key: jax.Array

    @cached_property
    def answer(self) -> Answer:
        """The network's output for the observations: logits [B, A], value [B]."""
        return Answer(*over_blocks(self._said, self.observations))

    @cached_property
    def actions(self) -> tuple[np.ndarray | None, ...]:
        """For each target, the action to explain in each frame, int [B]; None for `policy` and `value`."""
        return tuple(chosen_actions(target, self.answer.logits) for target in self.targets)

    @cached_property
    def keys(self) -> jax.Array:
        """One random key per frame, [B]; it does not depend on the other frames."""
        return jax.vmap(lambda n: jax.random.fold_in(self.key, n))(jnp.arange(len(self.observations)))

    def _said(self, frames: np.ndarray) -> Answer:
        logits, value = compiled(self.apply)(self.params, frames)[:2]
        return Answer(logits, value)


@cache
def compiled(apply: Apply) -> Apply:
    """The function itself if it is already jitted, else jitted once for all calls."""
    return apply if hasattr(apply, "lower") else jax.jit(apply)


def chosen_actions(target: Target, logits: np.ndarray) -> np.ndarray | None:
    """The action that a target names in each frame, int [B]; None for `policy` and `value`.

    Raises ValueError for an unknown target or action.
    """
    actions = logits.shape[-1]
    if target in ("policy", "value"):
        return None
    if target == "action":
        return logits.argmax(axis=-1)
    if isinstance(target, str) or not 0 <= target < actions:
        raise ValueError(
            f"There is no target {target!r}; choose `action`, `policy`, `value` or an action's number, "
            f"0 to {actions - 1}."
        )
    return np.full(len(logits), target)
