"""Saliency methods in the gaze pass, in addition to the network's own attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fls_jax.agent import Agent
from fls_jax.errors import UserError
from fls_jax.gaze.controls import CONTROLS, UNTRAINED
from fls_jax.saliency import METHODS
from fls_jax.saliency.methods import find_method, mass_of

ALL = "all"
_OF_A_WHOLE_CLIP = "attention_relative"
_SCORED_ANYWAY = ("attention", *CONTROLS)


def posthoc(names: Sequence[str]) -> tuple[str, ...]:
    """The methods to score in addition to the model's attention and the controls.

    `all`: all methods. Raises UserError for an unknown name, and for `attention_relative`, which needs the
    mean over a whole trial.
    """
    for name in names:
        try:
            if name != ALL:
                find_method(name)
        except ValueError as error:
            raise UserError(f"--methods: {error}") from error
        if name == _OF_A_WHOLE_CLIP:
            raise UserError(
                f"--methods: {name} is attention minus its mean over the frames given, and trials are "
                "scored in parts: leave it out."
            )
    chosen = METHODS if ALL in names else dict.fromkeys(names)
    return tuple(name for name in chosen if name not in (*_SCORED_ANYWAY, _OF_A_WHOLE_CLIP))


def untrained_name(method: str) -> str:
    """The name of a method's map on the same network with fresh weights."""
    return f"{method} {UNTRAINED}"


def method_maps(agent: Agent, stacks: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Each method's maps of observations uint8 [B, 84, 84, 4], as mass: non-negative float32 [B, 84, 84].

    They explain each observation's most probable action. The mass is the absolute value of derivatives, and
    the positive part of all other maps.
    """
    return {name: mass_of(agent.saliency(stacks, name), METHODS[name].family) for name in names}
