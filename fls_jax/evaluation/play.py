"""Plays one round: every environment plays its share of whole games, then idles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.agent import Agent
from fls_jax.evaluation.pools import EvaluationPool
from fls_jax.ppo.rollout import channels_last
from fls_jax.types import NetworkOutput, Params

FRAMES_PER_STEP = 4

Act = Callable[[np.ndarray, jax.Array, int], np.ndarray]


@dataclass(frozen=True)
class Game:
    """One finished game.

    environment: 0 to N-1. number: of the game in its environment, from 0. score: raw return of the whole
    game. steps: agent steps. seconds: wall clock. cut: ended only by the limit of agent steps.
    """

    environment: int
    number: int
    score: float
    steps: int
    seconds: float
    cut: bool

    def to_json(self) -> dict[str, Any]:
        """The game's entry in the result file."""
        return {
            "environment": self.environment,
            "game": self.number,
            "return": self.score,
            "steps": self.steps,
            "frames": self.steps * FRAMES_PER_STEP,
            "seconds": round(self.seconds, 3),
            "cut": self.cut,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Game:
        """The inverse of to_json."""
        keys = ("environment", "game", "return", "steps", "seconds", "cut")
        return cls(*(values[key] for key in keys))


def make_act(agent: Agent, greedy: bool) -> Act:
    """(observations uint8 [k, 4, 84, 84], key, t) -> actions int32 [k], sampled or the most probable.

    Batches are padded to powers of two, so that only a few sizes are compiled.
    """

    def apply(params: Params, observations: jax.Array) -> NetworkOutput:
        return agent.apply(params, channels_last(observations))

    @jax.jit
    def sampled(params: Params, observations: jax.Array, key: jax.Array, t: jax.Array) -> jax.Array:
        logits = apply(params, observations).logits
        return jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)

    @jax.jit
    def best(params: Params, observations: jax.Array) -> jax.Array:
        return jnp.argmax(apply(params, observations).logits, axis=-1).astype(jnp.int32)

    def act(observations: np.ndarray, key: jax.Array, t: int) -> np.ndarray:
        k = len(observations)
        padding = (1 << (k - 1).bit_length()) - k
        if padding:
            observations = np.concatenate([observations, np.repeat(observations[:1], padding, axis=0)])
        if greedy:
            actions = best(agent.params, observations)
        else:
            actions = sampled(agent.params, observations, key, np.int32(t))
        return np.asarray(actions)[:k]

    return act


def play_round(
    pool: EvaluationPool,
    act: Act,
    key: jax.Array,
    games: range,
    ended: Callable[[Game], None],
    stop: Callable[[], bool],
) -> list[Game] | None:
    """The first len(games) games of every environment of a fresh pool; None if `stop` returned True.

    The same pool, parameters and key give the same games.

    Args:
        games: the numbers of an environment's games in the whole evaluation.
        ended: called with every game that ends.
        stop: called before every step.
    """
    observations = pool.reset()
    num_envs = len(observations)
    scores, steps = np.zeros(num_envs), np.zeros(num_envs, np.int64)
    played = np.zeros(num_envs, np.int64)
    begun = np.full(num_envs, time.perf_counter())
    ids = np.arange(num_envs, dtype=np.int32)
    finished: list[Game] = []
    t = 0
    while len(ids):
        if stop():
            return None
        actions = act(observations[ids], key, t)
        observations[ids], rewards, over, cut = pool.advance(actions, ids)
        scores[ids] += rewards
        steps[ids] += 1
        t += 1
        if not over.any():
            continue
        now = time.perf_counter()
        for i, was_cut in zip(ids[over].tolist(), cut[over].tolist(), strict=True):
            number = games[int(played[i])]
            game = Game(i, number, float(scores[i]), int(steps[i]), now - begun[i], was_cut)
            finished.append(game)
            ended(game)
        through = ids[over]
        scores[through], steps[through], begun[through] = 0.0, 0, now
        played[through] += 1
        ids = ids[played[ids] < len(games)]
    return finished
