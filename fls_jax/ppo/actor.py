"""The actor: plays the policy in the environments, parameters in, a trajectory out.

First the pure functions (one policy step, its randomness, T steps joined), then the loop over a pool.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.atari.pool import AtariPool
from fls_jax.ppo.compilation import jit_by_size
from fls_jax.ppo.losses import ApplyFn, action_log_probs
from fls_jax.ppo.sharding import Placement
from fls_jax.process.timing import PhaseTimer
from fls_jax.types import Params, Trajectory


class PolicyStep(NamedTuple):
    """actions int32 [N], their log-probabilities float32 [N], predicted values float32 [N]."""

    actions: Array
    log_probs: Array
    values: Array


def channels_last(observations: Array) -> Array:
    """EnvPool's uint8 [..., 4, 84, 84] as the networks' [..., 84, 84, 4]."""
    return jnp.moveaxis(observations, -3, -1)


@partial(jax.jit, static_argnums=(1, 2, 3))
def sampling_noise(key: Array, steps: int, num_envs: int, num_actions: int) -> Array:
    """Gumbel noise float32 [T, N, A]: the randomness of step t is the rollout's key folded with t.

    Made once a rollout, since generating it costs as much as a small network's forward pass.
    """
    keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(steps))
    return jax.vmap(lambda k: jax.random.gumbel(k, (num_envs, num_actions)))(keys)


def make_policy_step(apply: ApplyFn) -> Callable[[Params, ArrayLike, ArrayLike], PolicyStep]:
    """Jitted (params, observations [N, ...], noise [N, A]) -> PolicyStep.

    With Gumbel noise (see sampling_noise) the actions are samples of the policy.
    """

    def policy_step(params: Params, observations: ArrayLike, noise: ArrayLike) -> PolicyStep:
        output = apply(params, jnp.asarray(observations))
        actions = jnp.argmax(output.logits + noise, axis=-1).astype(jnp.int32)
        return PolicyStep(actions, action_log_probs(output.logits, actions), output.value)

    return jit_by_size(policy_step)


@jax.jit
def join_steps(steps: list[PolicyStep]) -> PolicyStep:
    """T policy steps of [N] as one of [T, N]."""
    return PolicyStep(*(jnp.stack(column) for column in zip(*steps, strict=True)))


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
