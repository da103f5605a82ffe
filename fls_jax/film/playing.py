"""An agent at play, recorded step by step as a clip."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from fls_jax.agent import Agent
from fls_jax.atari.pool import AtariPool
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip


def play(
    agent: Agent,
    steps: int,
    seed: int,
    greedy: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> Clip:
    """Let an agent play `steps` agent steps under its training's rules: lives, sticky actions, time limit.

    report: called after each step with the number of steps done. Raises UserError if the agent's game has
    another number of actions or its network's output is not finite.
    """
    config = agent.config
    pool = AtariPool(
        agent.game,
        1,
        seed,
        max_episode_steps=config.max_episode_steps,
        clip_rewards=False,
        sticky_actions=config.sticky_actions,
        threads=1,
        screens=True,
    )
    if pool.num_actions != len(agent.actions):
        raise UserError(f"{agent} has {len(agent.actions)} actions and the game has {pool.num_actions}.")
    random = np.random.default_rng(seed)
    screens, inputs, rows = [], [], []
    attention: np.ndarray | None = None
    observations, game_return, game = pool.reset(), 0.0, 1
    for t in range(steps):
        output = agent(np.moveaxis(observations, 1, -1))
        logits, value = output.logits[0].astype(np.float64), float(output.value[0])
        if not (np.isfinite(logits).all() and np.isfinite(output.attention).all() and np.isfinite(value)):
            raise UserError(
                f"The output of {agent} is not finite at step {t} of the clip; choose another --step."
            )
        if attention is None:
            attention = np.empty((steps, *output.attention.shape[1:]), np.float32)
        attention[t] = output.attention[0]
        screens.append(zlib.compress(pool.screens[0].tobytes(), 1))
        inputs.append(zlib.compress(observations[0].tobytes(), 1))
        noise = (
            0.0 if greedy else random.gumbel(size=len(logits))
        )  # the index of the largest sum is a sample of the softmax
        action = int(np.argmax(logits + noise))
        memory = pool.ram[0]
        played = pool.step(np.array([action], np.int32))
        reward = float(played.rewards[0])
        ended = bool(played.terminated[0] or played.truncated[0])
        rows.append((logits, value, entropy(logits), action, game_return, game, reward, ended, memory))
        observations = played.observations
        over = len(played.finished_returns) > 0
        game_return, game = (0.0, game + 1) if over else (game_return + reward, game)
        report(t + 1)
    pool.close()
    assert attention is not None
    logits, values, entropies, actions, returns, games, rewards, ends, ram = map(
        np.array, zip(*rows, strict=True)
    )
    return Clip(
        screens, inputs, attention, logits, values, entropies, actions, returns, games, rewards, ends, ram
    )


def entropy(logits: np.ndarray) -> float:
    """Entropy in nats of softmax(logits), float64 [A]."""
    shifted = logits - logits.max()
    log_sum = np.log(np.exp(shifted).sum())
    return float(log_sum - (np.exp(shifted - log_sum) * shifted).sum())
