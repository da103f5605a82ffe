"""Times the parts of training one by one, without a command line, for machines with few libraries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fls_jax.ppo.fleet import Fleet
from fls_jax.ppo.rollout import group_noise


def timed(work: Callable[[], Any], repeats: int = 0) -> list[float]:
    """Seconds of `repeats` calls after an untimed first one (compilation); with 0 repeats, of the first."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds


def policy_seconds(fleet: Fleet, repeats: int) -> list[float]:
    """A rollout's worth of policy steps without games, placed as `Collector.collect` places them.

    Observations go into the rollout's store and are acted on from there; actions are fetched at each step.
    """
    pools, length, place = fleet._pools, fleet.config.rollout_length, fleet.placement
    num_envs = pools[0].num_envs
    observations = np.random.default_rng(0).integers(0, 256, (num_envs, 4, 84, 84), dtype=np.uint8)
    step = fleet._collector._policy_step
    noise = group_noise(fleet._keys, length, fleet.config.num_envs, pools[0].num_actions, len(pools))

    def rollout() -> None:
        params = fleet.lanes.params(fleet.states)
        store = place.rollout_store(length, len(pools), len(fleet.seeds))
        placed = [place.spread_rollout(part) for part in noise]
        clocks = [place.replicate(np.int32(0)) for _ in pools]
        for _ in range(length):
            for group in range(len(pools)):
                seen = store.add(observations)
                policy, clocks[group] = step(params, seen, placed[group], clocks[group])
                place.fetch(policy.actions)

    return timed(rollout, repeats)


def update_seconds(fleet: Fleet, repeats: int) -> list[float]:
    """Seconds of the epochs of minibatches on one collected rollout, for all runs."""
    keys = fleet._stream(0, 0)
    trajectory = fleet._collector.collect(fleet.lanes.params(fleet.states), keys).trajectory

    def update() -> None:
        fleet.states, metrics = fleet.lanes.update(fleet.states, trajectory, keys)
        jax.block_until_ready(metrics)

    return timed(update, repeats)
