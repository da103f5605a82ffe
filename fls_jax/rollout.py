"""The actor, as pure functions: one policy step, and T steps of arrays joined into a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.ppo import ApplyFn, action_log_probs
from fls_jax.types import Params, Trajectory


class PolicyStep(NamedTuple):
    """actions int32 [N], their log-probabilities float32 [N], predicted values float32 [N]."""

    actions: Array
    log_probs: Array
    values: Array


def channels_last(observations: Array) -> Array:
    """EnvPool's uint8 [..., 4, 84, 84] as the networks' [..., 84, 84, 4]."""
    return jnp.moveaxis(observations, -3, -1)


def make_policy_step(apply: ApplyFn) -> Callable[[Params, Array, Array, np.int32], PolicyStep]:
    """Jitted (params, observations [N, ...], key, t) -> PolicyStep, actions sampled from the policy.

    The randomness of step t of a rollout is the rollout's key folded with t.
    """

    @jax.jit
    def policy_step(params: Params, observations: Array, key: Array, t: Any) -> PolicyStep:
        output = apply(params, observations)
        actions = jax.random.categorical(jax.random.fold_in(key, t), output.logits).astype(jnp.int32)
        return PolicyStep(actions, action_log_probs(output.logits, actions), output.value)

    return policy_step


@jax.jit
def join_steps(
    observations: list[Array],
    steps: list[PolicyStep],
    rewards: Array,
    terminated: Array,
    truncated: Array,
    truncation_values: Array,
    last_value: Array,
) -> Trajectory:
    """Lists of T per-step arrays, and [T, N] arrays of what the environments said, as a Trajectory."""
    joined = PolicyStep(*(jnp.stack(column) for column in zip(*steps, strict=True)))
    return Trajectory(
        jnp.stack(observations),
        joined.actions,
        joined.log_probs,
        joined.values,
        rewards,
        terminated,
        truncated,
        truncation_values,
        last_value,
    )
