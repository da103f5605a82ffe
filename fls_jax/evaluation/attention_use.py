"""Is attention used? Statistics of its map, and the change of the policy when the map is replaced.

Frames come from the trained agent at play. Every other frame belongs to the reference from which replacements
are made; the statistics use the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.special import log_softmax

from fls_jax.agent import Agent
from fls_jax.evaluation.play import make_act
from fls_jax.evaluation.pools import make_pool
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.networks.geometry import positions_read
from fls_jax.saliency.projection import project
from fls_jax.statistics.clusters import cluster_means

STEPS, EVERY = 1024, 16
"""Agent steps that every environment plays, and the distance between two frames that are used."""
_ENVIRONMENTS = 16


def frames_of_play(
    agent: Agent, settings: EvaluationSettings, stop: Callable[[], bool], shown: Callable[[int], None]
) -> np.ndarray | None:
    """Observations uint8 [T, 16, 84, 84, 4] of the agent at play, every 16th of 1,024 steps; None if stopped.

    The games' seeds follow those of the evaluation. shown: called with the number of steps done.
    """
    seed = settings.round_seed(settings.rounds)
    limit = settings.max_steps(agent.game)
    pool = make_pool(agent.game, False, _ENVIRONMENTS, seed, limit, agent.config.sticky_actions)
    act, key = make_act(agent, greedy=False), jax.random.key(seed)
    ids, kept = np.arange(_ENVIRONMENTS, dtype=np.int32), []
    observations = pool.reset()
    try:
        for t in range(STEPS):
            if stop():
                return None
            if t % EVERY == EVERY - 1:
                kept.append(np.moveaxis(observations, 1, -1).copy())
            observations = pool.advance(act(observations, key, t), ids)[0]
            shown(t + 1)
    finally:
        pool.close()
    return np.stack(kept)


def split(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(reference [R, 84, 84, 4], frames for statistics [B, 84, 84, 4], the game of each of these [B])."""
    looked = frames[1::2]
    games = np.tile(np.arange(looked.shape[1]), len(looked))
    return frames[::2].reshape(-1, *frames.shape[2:]), looked.reshape(-1, *frames.shape[2:]), games


def compare_policies(
    trained: Agent, replaced: Agent, frames: np.ndarray, games: np.ndarray
) -> dict[str, Any]:
    """The change of policy and value under another attention on the same frames: means, 95 % intervals.

    See `policy_changes`. Intervals resample the games [B] that the frames [B, ...] are from.
    """
    columns = policy_changes(trained, replaced, frames)
    means = cluster_means(np.stack(list(columns.values()), axis=1), games)
    return {
        name: {"mean": mean.value, "interval_95": [mean.low, mean.high]}
        for name, mean in zip(columns, means, strict=True)
    }


def policy_changes(trained: Agent, replaced: Agent, frames: np.ndarray) -> dict[str, np.ndarray]:
    """What another attention changes on each of B frames: float64 [B] each.

    kl: KL(pi_trained || pi_replaced) in nats. value_change: |V_trained - V_replaced|. same_action: whether
    the most probable action stays.
    """
    ours, theirs = trained(frames), replaced(frames)
    log_p, log_q = (log_softmax(each.logits.astype(np.float64), axis=1) for each in (ours, theirs))
    return {
        "kl": np.sum(np.exp(log_p) * (log_p - log_q), axis=1),
        "value_change": np.abs(ours.value.astype(np.float64) - theirs.value),
        "same_action": (ours.logits.argmax(axis=1) == theirs.logits.argmax(axis=1)).astype(float),
    }


def map_statistics(agent: Agent, frames: np.ndarray) -> dict[str, float | None]:
    """Statistics of an agent's map on frames uint8 [B, 84, 84, 4], as means over the frames.

    mean, max: of the map's values. effective_area: exp(entropy) of the map as a distribution over its
    positions, as a share of their number: 1 for a constant map. gini: of its values, 0 for a constant map.
    correlation_with_mean: with its own mean over all frames, None for a constant map.
    correlation_with_uniform: of the drawn map with a drawn uniform one, None if the latter is constant.
    All leave out positions that no later layer reads (networks.geometry.positions_read).
    """
    attention = agent(frames).attention.astype(np.float64)
    read = positions_read(agent.spec)
    maps = attention[:, :read, :read].reshape(len(frames), -1)
    uniform = np.asarray(project(np.ones((1, *attention.shape[1:]), np.float32), agent.spec)).ravel()
    drawn = uniform > 0
    # Drawing and the covariance with a fixed picture are linear: computed block by block to save memory.
    painted = [
        _correlations(
            np.asarray(project(block, agent.spec)).reshape(len(block), -1)[:, drawn], uniform[drawn]
        )
        for block in np.array_split(attention.astype(np.float32), max(1, len(frames) // 64))
    ]
    return {
        "mean": float(maps.mean()),
        "max": float(maps.max(axis=1).mean()),
        "effective_area": float(_effective_area(maps).mean()),
        "gini": float(_gini(maps).mean()),
        "correlation_with_mean": _mean(_correlations(maps, maps.mean(axis=0))),
        "correlation_with_uniform": _mean(np.concatenate(painted)),
    }


def _effective_area(maps: np.ndarray) -> np.ndarray:
    shares = maps / np.maximum(maps.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(axis=1)) / maps.shape[1]


def _gini(maps: np.ndarray) -> np.ndarray:
    n = maps.shape[1]
    ordered = np.sort(maps, axis=1)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return (ordered @ weights) / np.maximum(n * ordered.sum(axis=1), np.finfo(float).tiny)


def _correlations(maps: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row with `other`; NaN if one of them is constant."""
    rows = maps - maps.mean(axis=1, keepdims=True)
    fixed = other - other.mean()
    scale = np.sqrt((rows**2).sum(axis=1) * (fixed**2).sum())
    flat = np.isclose(np.ptp(maps, axis=1), 0) | np.isclose(np.ptp(other), 0)
    return np.where(flat, np.nan, (rows @ fixed) / np.where(flat, 1.0, scale))


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))
