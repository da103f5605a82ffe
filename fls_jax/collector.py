"""Plays the policy in the environments: parameters in, a trajectory out."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from fls_jax.envs import AtariPool
from fls_jax.placement import Placement
from fls_jax.ppo import ApplyFn
from fls_jax.rollout import join_steps, make_policy_step, sampling_noise
from fls_jax.timing import PhaseTimer
from fls_jax.types import Params, Trajectory


class Rollout(NamedTuple):
    """A trajectory, the whole games that ended in it, and the seconds its phases took.

    returns: float64 [k], raw returns. lengths: int64 [k], agent steps.
    """

    trajectory: Trajectory
    returns: np.ndarray
    lengths: np.ndarray
    seconds: dict[str, float]


class Collector:
    """Steps a pool with a policy; one rollout continues where the one before stopped.

    Args:
        pool: the environments (started by the first rollout).
        apply: (params, observations [N, 4, 84, 84]) -> NetworkOutput.
        length: T, agent steps of each environment in a rollout.
        placement: where the arrays go.
    """

    def __init__(self, pool: AtariPool, apply: ApplyFn, length: int, placement: Placement) -> None:
        self._pool, self._length, self._placement = pool, length, placement
        self._policy_step = make_policy_step(apply)
        self._value = jax.jit(lambda params, observations: apply(params, observations).value)
        self._observations: np.ndarray | None = None

    def collect(self, params: Params, key: jax.Array) -> Rollout:
        """T steps in every environment, actions sampled with `key`; the trajectory is on the devices."""
        timer = PhaseTimer()
        if self._observations is None:
            with timer("environment"):
                self._observations = self._pool.reset()
        shape = (self._length, self._pool.num_envs)
        rewards = np.zeros(shape, np.float32)
        terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
        truncation_values = np.zeros(shape, np.float32)
        store = self._placement.rollout_store(self._length)
        steps, returns, lengths = [], [], []
        with timer("policy"):
            noise = np.asarray(sampling_noise(key, *shape, self._pool.num_actions))
        for t in range(self._length):
            with timer("transfer"):
                seen = store.add(self._observations)
            with timer("policy"):
                policy = self._policy_step(params, seen, noise[t])
                actions = np.asarray(policy.actions)
            with timer("environment"):
                step = self._pool.step(actions)
            if step.final_observations is not None:
                with timer("policy"):
                    values = self._value(params, self._placement.spread(step.final_observations))
                    truncation_values[t] = np.where(step.truncated, np.asarray(values), 0.0)
            rewards[t], terminated[t], truncated[t] = step.rewards, step.terminated, step.truncated
            returns.append(step.finished_returns)
            lengths.append(step.finished_lengths)
            steps.append(policy)
            self._observations = step.observations
        with timer("policy"):
            last_value = self._value(params, self._placement.spread(self._observations))
        with timer("transfer"):
            columns = [rewards, terminated, truncated, truncation_values]
            placed = [self._placement.spread_rollout(column) for column in columns]
            trajectory = Trajectory(store.joined(), *join_steps(steps), *placed, last_value)
            jax.block_until_ready(trajectory)
        return Rollout(trajectory, np.concatenate(returns), np.concatenate(lengths), timer.seconds)
