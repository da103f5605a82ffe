"""Maps of saliency methods for films, in place of the attention that is drawn by default."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fls_jax.agent import Agent
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip
from fls_jax.process.display import ProgressDisplay
from fls_jax.saliency import METHODS
from fls_jax.saliency.methods import find_method, mass_of

ATTENTION = "attention"
_AT_ONCE = 32


def check_methods(names: Sequence[str]) -> None:
    """UserError unless there are names, and each names a saliency method."""
    if not names:
        raise UserError("--method needs at least one name, such as attention.")
    for name in names:
        try:
            find_method(name)
        except ValueError as error:
            raise UserError(f"--method: {error}") from error


def with_method(agent: Agent, clip: Clip, method: str) -> Clip:
    """The clip with the maps of a method, for each step's most probable action; shows its progress.

    Derivatives are drawn by their size, all other maps by their positive part, as shares of the largest value
    in the clip: the units of methods differ. Raises UserError if the method
    does not fit the network.
    """
    if method == ATTENTION:
        return clip
    frames = np.moveaxis(clip.observations(), 1, -1)
    # A relative map needs the mean over all frames.
    size = len(frames) if METHODS[method].family == "attention" else _AT_ONCE
    if METHODS[method].family == "attention" and agent.spec.attention is None:
        return dataclasses.replace(clip, method=method)
    maps = np.empty(frames.shape[:3], np.float32)
    with ProgressDisplay(f"{agent.network}, {method}", len(frames), "looking ...") as display:
        for start in range(0, len(frames), size):
            part = slice(start, start + size)
            maps[part] = mass_of(agent.saliency(frames[part], method), METHODS[method].family)
            display.count(min(start + size, len(frames)), "frames")
    return dataclasses.replace(clip, method=method, maps=maps / (maps.max() or 1))
