"""The pictures of a clip: saliency on the agent's input and on the screen, and tiles with numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from fls_jax.agent import Agent
from fls_jax.film.clip import Clip
from fls_jax.film.drawing import AgentTile, colours, overlay
from fls_jax.film.methods import ATTENTION
from fls_jax.film.relative import SCALE_NAMES, Relative, relative_attention
from fls_jax.networks.replacement import TRAINED
from fls_jax.saliency.projection import Protocol, project, share_of, to_screen
from fls_jax.types import DEAD

_BLOCK = 64


def draw(
    agent: Agent,
    clip: Clip,
    protocol: Protocol = "aligned",
    relative: Relative = "none",
    map_only: bool = False,
) -> Iterator[np.ndarray]:
    """The agent's tile at every step: uint8 [H, W, 3], saliency as a share of its maximum in the clip."""
    if relative != "none":
        less = relative_attention(clip.attention, clip.observations(), agent.spec, relative)
        clip = dataclasses.replace(clip, attention=less)
    maximum, signed = largest_saliency(agent, clip, protocol), relative != "none"
    if maximum is not None and maximum < DEAD and not signed and clip.maps is None:
        print(f"Note: the attention of {agent} has died; its saliency is below {DEAD:g} and is not drawn.")
    facts = (agent.game, f"seed {agent.config.seed}", f"{agent.step:,} steps")
    facts += () if agent.attention == TRAINED else (f"attention {agent.attention}",)
    facts += () if clip.method == ATTENTION else (clip.method,)
    tile = AgentTile(agent.config.variant, facts, maximum, SCALE_NAMES[relative], signed)
    for t, view in enumerate(views(agent, clip, protocol, maximum)):
        numbers = (
            f"{value:z.2f}" if abs(value := clip.values[t]) < 100 else f"{value:,.0f}",
            f"{clip.entropies[t]:z.2f}",
            agent.actions[clip.actions[t]],
            f"{clip.returns[t]:,.0f}",
            f"{clip.games[t]:,}",
            f"{t:,}",
        )
        if map_only:
            pictures = view.screen, colours(view.saliency, signed)
        else:
            screen = overlay(view.screen, view.screen_saliency, signed)
            pictures = screen, overlay(view.seen, view.saliency, signed)
        yield tile.draw(*pictures, numbers)


class View(NamedTuple):
    """One step of a clip.

    screen: uint8 [210, 160, 3], RGB. seen: uint8 [84, 84], the newest of the agent's four frames.
    saliency: float32 [84, 84], on the input; screen_saliency: float32 [210, 160]; shares of a maximum.
    """

    screen: np.ndarray
    seen: np.ndarray
    saliency: np.ndarray
    screen_saliency: np.ndarray


def views(
    agent: Agent, clip: Clip, protocol: Protocol = "aligned", maximum: float | None = None
) -> Iterator[View]:
    """The pictures of a clip, step by step. maximum: the saliency drawn as 1 (None or 0: not scaled)."""
    steps = len(clip.screens)
    blocks = _maps(agent, clip, protocol)
    for start in range(0, steps, _BLOCK):
        maps = share_of(next(blocks), maximum)
        on_screen = np.asarray(_to_screen(maps))
        for t in range(start, min(start + _BLOCK, steps)):
            seen = clip.observation(t)[-1]
            yield View(clip.screen(t), seen, maps[t - start], on_screen[t - start])


def largest_saliency(agent: Agent, clip: Clip, protocol: Protocol = "aligned") -> float | None:
    """The largest absolute value of a pixel in a clip; None for a network without attention."""
    if clip.maps is None and agent.spec.attention is None:
        return None
    return max(float(np.abs(maps).max()) for maps in _maps(agent, clip, protocol))


def _maps(agent: Agent, clip: Clip, protocol: Protocol) -> Iterator[np.ndarray]:
    """Saliency on the input in blocks float32 [64, 84, 84]; after the clip's end it is 0."""
    source = clip.attention if clip.maps is None else clip.maps
    for start in range(0, len(source), _BLOCK):
        block = source[start : start + _BLOCK]
        block = np.pad(block, ((0, _BLOCK - len(block)), (0, 0), (0, 0)))  # one shape, one compilation
        yield block if clip.maps is not None else np.asarray(_project(block, agent.spec, protocol))


_project = jax.jit(project, static_argnums=(1, 2))


_to_screen = jax.jit(to_screen)
