"""A clip: what an agent saw and did at consecutive steps."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from fls_jax.saliency.projection import SCREEN


@dataclass(frozen=True)
class Frames:
    """T moments of a game, kept compressed.

    screens: zlib of uint8 [210, 160, 3], RGB. inputs: zlib of uint8 [4, 84, 84], the oldest frame first.
    """

    screens: list[bytes]
    inputs: list[bytes]

    def __len__(self) -> int:
        return len(self.screens)

    def screen(self, t: int) -> np.ndarray:
        """The game's screen at step t: uint8 [210, 160, 3], RGB."""
        return np.frombuffer(zlib.decompress(self.screens[t]), np.uint8).reshape(*SCREEN, 3)

    def observation(self, t: int) -> np.ndarray:
        """The agent's input at step t: uint8 [4, 84, 84], the oldest frame first."""
        return np.frombuffer(zlib.decompress(self.inputs[t]), np.uint8).reshape(4, 84, 84)

    def observations(self) -> np.ndarray:
        """All inputs of the agent: uint8 [T, 4, 84, 84]."""
        return np.stack([self.observation(t) for t in range(len(self))])


@dataclass(frozen=True)
class Clip(Frames):
    """T consecutive steps of an agent, each recorded before it acted.

    attention: float32 [T, h, w]. logits: float64 [T, A]. values: float32 [T]. entropies: float64 [T], of the
    policy, in nats. actions: int64 [T]. returns: float64 [T], raw return of the game so far. games: int64
    [T], from 1. rewards: float64 [T], raw, of the action. ends: bool [T], whether it ended a life or a game.
    ram: uint8 [T, 128], the emulator's memory at the newest frame. method: the saliency method drawn; maps:
    float32 [T, 84, 84], its maps, 0 to 1; None for `attention`, which is drawn from the field of that name.
    """

    attention: np.ndarray
    logits: np.ndarray
    values: np.ndarray
    entropies: np.ndarray
    actions: np.ndarray
    returns: np.ndarray
    games: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    ram: np.ndarray
    method: str = "attention"
    maps: np.ndarray | None = None
