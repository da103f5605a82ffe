"""Environments for evaluation: whole games, stepped by environment number; finished environments idle."""

from __future__ import annotations

import typing
from typing import runtime_checkable

import numpy as np

from fls_jax.atari.emulator import InfiniteBreakoutPool
from fls_jax.atari.pool import AtariPool


@runtime_checkable
class EvaluationPool(typing.Protocol):
    """N games, stepped by environment number."""

    num_actions: int

    def reset(self) -> np.ndarray:
        """Start every game: observations uint8 [N, 4, 84, 84], oldest frame first."""
        ...

    def advance(
        self, actions: np.ndarray, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Act in environments `ids`, int32 [k] and int32 [k]; the others idle.

        Returns the next observations uint8 [k, 4, 84, 84] (of a new life or game where one ended), raw
        rewards float [k], and two arrays bool [k]: games that ended or were cut, and games that were only
        cut by the limit (a game over at the limit is a game over).
        """
        ...

    def close(self) -> None:
        """Stop the environments."""
        ...


class EnvPoolGames(AtariPool):
    """The training environments with raw rewards, stepped by environment number."""

    def __init__(
        self, game: str, num_envs: int, seed: int, max_episode_steps: int, sticky_actions: float = 0.0
    ) -> None:
        super().__init__(
            game,
            num_envs,
            seed,
            max_episode_steps=max_episode_steps,
            clip_rewards=False,
            sticky_actions=sticky_actions,
        )
        self._observations = np.zeros((num_envs, 4, 84, 84), np.uint8)

    def advance(
        self, actions: np.ndarray, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """See EvaluationPool."""
        ids = ids.astype(np.int32)
        observations, _, terminated, truncated, info = self._pool.step(actions.astype(np.int32), ids)
        self._observations[ids] = observations
        self._lives[ids] = info["lives"]
        game_over = info["terminated"].astype(bool)
        ended = game_over | truncated
        done = terminated | truncated
        if done.any():
            ended[done] |= self._revive(ids[done], self._observations, ended[done])
        return self._observations[ids], info["reward"].astype(float), ended, truncated & ~game_over


def make_pool(
    game: str, infinite: bool, num_envs: int, seed: int, max_episode_steps: int, sticky_actions: float
) -> EvaluationPool:
    """N games; environment i has the seed seed + i. If `infinite`, BreakoutInfinite instead of Breakout."""
    if infinite:
        return InfiniteBreakoutPool(num_envs, seed, max_episode_steps, sticky_actions)
    return EnvPoolGames(game, num_envs, seed, max_episode_steps, sticky_actions)
