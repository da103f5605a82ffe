"""The frames on which methods are compared: a fixed, seeded set from an agent's own games."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import count as numbers
from pathlib import Path
from typing import Any

import numpy as np

from fls_jax.agent import Agent
from fls_jax.atari.pool import AtariPool
from fls_jax.benchmark.highlights import CANDIDATES, diverse, importance
from fls_jax.errors import UserError
from fls_jax.runs.files import part_of

SPACING = 20
ENVIRONMENTS = 8
SEED = 1000
STACK = 4


@dataclass(frozen=True)
class FrameSet:
    """B observations of a game, in the order of play.

    observations: uint8 [B, 84, 84, 4], oldest frame first. ram: uint8 [B, 4, 128], the emulator's memory at
    each of the four. episodes: int64 [B], the game of each. followers: uint8 [F, 84, 84, 4], the observations
    one step after those numbered `followed`, int64 [F].
    """

    game: str
    observations: np.ndarray
    ram: np.ndarray
    episodes: np.ndarray
    followers: np.ndarray
    followed: np.ndarray

    def __len__(self) -> int:
        return len(self.observations)

    def save(self, path: Path) -> None:
        """Write them compressed and atomically."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "game"}
        with part_of(path) as part, part.open("wb") as file:
            np.savez_compressed(file, game=np.array(self.game), **arrays)


def load_frames(path: Path) -> FrameSet:
    """Read saved frames. Raises UserError if the file cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            game, *arrays = (stored[field.name] for field in fields(FrameSet))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove it, and the frames are played again."
        ) from error
    return FrameSet(str(game), *arrays)


def frames_folder(run: Path, step: int, count: int, seed: int, highlights: bool = False) -> Path:
    """The folder of a run's own frames and results on them. step: of the checkpoint that plays."""
    return run / "saliency" / f"{step}-{count}-{seed}{'-highlights' * highlights}"


def play_frames(
    agent: Agent,
    count: int,
    seed: int = SEED,
    report: Callable[[int], None] = lambda done: None,
    highlights: bool = False,
) -> FrameSet:
    """Let an agent play under its training's rules, and take one frame of every 20 steps in each of 8 games.

    The step among the 20 is random. Steps less than four after the start of a life, and its last, are
    skipped, so that all four frames are of one life. For at most 64 frames the next observation is kept, too.

    With `highlights`, five times as many frames are played. Those in which the choice of the action matters
    most are kept, all different from each other (see highlights.py).

    seed: of the games and all random choices; training never uses 1000 and above. report: called with the
    number of frames taken. Raises UserError if the agent's game has another number of actions.
    """
    pool = AtariPool(
        agent.game,
        ENVIRONMENTS,
        seed,
        max_episode_steps=agent.config.max_episode_steps,
        sticky_actions=agent.config.sticky_actions,
    )
    if pool.num_actions != len(agent.actions):
        raise UserError(f"{agent} has {len(agent.actions)} actions and the game has {pool.num_actions}.")
    taken, played = [], count * (CANDIDATES if highlights else 1)
    for frame in _clean_steps(pool, agent, np.random.default_rng(seed)):
        taken.append(frame)
        report(len(taken) * count // played)
        if len(taken) == played:
            break
    pool.close()
    observations, ram, episodes, following = (np.stack(column) for column in zip(*taken, strict=True))
    if highlights:
        kept = diverse(importance(agent(observations).logits), observations[..., -1], count, seed)
        observations, ram, episodes, following = (
            each[kept] for each in (observations, ram, episodes, following)
        )
    followed = np.arange(0, count, max(8, count // 64))[:64]
    return FrameSet(agent.game, observations, ram, episodes, following[followed], followed)


def _clean_steps(pool: AtariPool, agent: Agent, random: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Endless: observation, memories [4, 128], episode and next observation of steps drawn from play."""
    observations = np.moveaxis(pool.reset(), 1, -1).copy()
    memories = deque([pool.ram] * STACK, STACK)
    alive = np.zeros(ENVIRONMENTS, np.int64)  # steps since the life began
    episodes = np.arange(ENVIRONMENTS)
    drawn = random.integers(0, SPACING, ENVIRONMENTS)
    for step in numbers():
        if step % SPACING == 0:
            drawn = random.integers(0, SPACING, ENVIRONMENTS)
        logits = agent(observations).logits.astype(np.float64)
        actions = np.argmax(logits + random.gumbel(size=logits.shape), axis=1)  # a sample of softmax
        played = pool.step(actions.astype(np.int32))
        following = np.moveaxis(played.observations, 1, -1).copy()
        ended = played.terminated | played.truncated
        for place in np.flatnonzero((step % SPACING == drawn) & (alive >= STACK) & ~ended):
            past = np.stack([memory[place] for memory in memories])
            yield observations[place], past, episodes[place], following[place]
        memories.append(pool.ram)
        alive = np.where(ended, 0, alive + 1)
        episodes = np.where(pool.new_games, episodes.max() + 1 + np.arange(ENVIRONMENTS), episodes)
        observations = following
