"""A planted cue: a game in which the rewarded action is written into a corner of the screen.

An agent that earns more than chance here must read the corner, whatever else is on the screen. So a map of
what mattered to it must have its mass there: a ground truth that no game has by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fls_jax.agent import Agent
from fls_jax.atari.pool import AtariPool
from fls_jax.benchmark.location import area_share, lift, mass_share, pointing
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.saliency import METHODS
from fls_jax.saliency.methods import mass_of
from fls_jax.statistics.clusters import cluster_means
from fls_jax.types import EnvStep

BLOCK = 6
"""Rows and columns of the white block that stands for an action."""
CORNER = 2 * BLOCK
"""Rows and columns of the corner, upper left: 2 x 2 blocks, one for each of at most four actions."""
ACTIONS = 4
SPACING = 20
COLUMNS = ("agent", "method", "metric", "value", "low", "high", "n")


def write_cues(observations: np.ndarray, cues: np.ndarray) -> np.ndarray:
    """Observations uint8 [N, 4, 84, 84] with cues int [N, 4] in the corner: one white block per frame."""
    written = observations.copy()
    written[:, :, :CORNER, :CORNER] = 0
    for (game, frame), cue in np.ndenumerate(cues):
        top, left = BLOCK * (cue // 2), BLOCK * (cue % 2)
        written[game, frame, top : top + BLOCK, left : left + BLOCK] = 255
    return written


def read_cues(observations: np.ndarray) -> np.ndarray:
    """The rewarded actions that stand in the newest frames of observations [N, 4, 84, 84]: int [N]."""
    corner = observations[:, -1, :CORNER, :CORNER].reshape(-1, 2, BLOCK, 2, BLOCK)
    return corner.mean(axis=(2, 4)).reshape(-1, ACTIONS).argmax(axis=1)


class CuePool:
    """Games of a real title, in which only the cue is rewarded: 1 for its action, 0 for another.

    A new cue is drawn for every observation. The three older frames show the cues of their own time, which
    are worth nothing any more. Actions move the game as they always do, and its own rewards are left out.

    config: its game needs four actions. seeds: one for each game, and for its cues. Raises UserError for a
    game with another number of actions.
    """

    def __init__(self, config: TrainConfig, seeds: list[int]) -> None:
        self._pool = AtariPool(config.game, len(seeds), seeds, config.max_episode_steps, threads=1)
        self.num_envs, self.num_actions = len(seeds), self._pool.num_actions
        if self.num_actions != ACTIONS:
            raise UserError(
                f"{config.game} has {self.num_actions} actions; the cue names one of {ACTIONS}: choose a "
                "game such as Breakout."
            )
        self._random = np.random.default_rng(seeds)
        self._cues = self._draw((self.num_envs, 4))
        self._earned = np.zeros(self.num_envs)
        self._actions = np.zeros(self.num_envs, np.int64)

    def reset(self) -> np.ndarray:
        """Restart every game: observations uint8 [N, 4, 84, 84]."""
        self._cues, self._earned = self._draw((self.num_envs, 4)), np.zeros(self.num_envs)
        return write_cues(self._pool.reset(), self._cues)

    def send(self, actions: np.ndarray) -> None:
        """The first half of a step."""
        self._actions = np.asarray(actions)
        self._pool.send(actions)

    def receive(self) -> EnvStep:
        """The second half of a step. A game's return is the number of its cues that were followed."""
        step = self._pool.receive()
        rewards = (self._actions == self._cues[:, -1]).astype(np.float32)
        self._cues = np.concatenate([self._cues[:, 1:], self._draw((self.num_envs, 1))], axis=1)
        self._earned += rewards
        returns = self._earned[step.finished_environments].copy()
        self._earned[step.finished_environments] = 0
        final = step.final_observations
        return step._replace(
            observations=write_cues(step.observations, self._cues),
            rewards=rewards,
            final_observations=None if final is None else write_cues(final, self._cues),
            finished_returns=returns,
        )

    def close(self) -> None:
        """Close the games."""
        self._pool.close()

    def _draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._random.integers(0, ACTIONS, shape)


def play(agent: Agent, pool: CuePool, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Let an agent play: its observations, the game of each, and how often it did what was written.

    Every 20th step of every game is taken: uint8 [frames, 84, 84, 4] and int [frames]. The share is over all
    steps, of the most probable action. Actions are sampled.
    """
    random, seen, followed = np.random.default_rng(seed), [], []
    observations = pool.reset()
    for step in range(SPACING * -(-frames // pool.num_envs)):
        stacks = np.moveaxis(observations, 1, -1)
        logits = agent(stacks).logits
        followed.append(logits.argmax(axis=1) == read_cues(observations))
        if step % SPACING == SPACING - 1:
            seen.append(stacks)
        pool.send((logits + random.gumbel(size=logits.shape)).argmax(axis=1).astype(np.int32))
        observations = pool.receive().observations
    games = np.tile(np.arange(pool.num_envs), len(seen))
    return np.concatenate(seen)[:frames], games[:frames], float(np.mean(followed))


def corner_scores(maps: np.ndarray, family: str) -> dict[str, np.ndarray]:
    """How much of maps [B, 84, 84] lies in the corner: float [B] by metric.

    mass, area: shares of the map and of the screen. lift: their ratio. pointing: whether the maximum lies
    there.
    """
    inside = np.zeros(maps.shape, bool)
    inside[:, :CORNER, :CORNER] = True
    mass = mass_of(maps, family)
    return {
        "mass": mass_share(mass, inside),
        "area": area_share(inside),
        "lift": lift(mass, inside),
        "pointing": pointing(mass, inside),
    }


def score_methods(
    agents: dict[str, Agent], methods: list[str], observations: np.ndarray, games: np.ndarray
) -> pd.DataFrame:
    """A row for every agent, method and metric: means over the frames, intervals over whole games."""
    rows: list[tuple[Any, ...]] = []
    for method in methods:
        for name, agent in agents.items():
            if METHODS[method].family == "control" and rows and rows[-1][1] == method:
                continue  # a control does not depend on the network
            scores = corner_scores(agent.saliency(observations, method), METHODS[method].family)
            means = cluster_means(np.stack(list(scores.values()), axis=1), games)
            rows += [(name, method, metric, *mean) for metric, mean in zip(scores, means, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))
