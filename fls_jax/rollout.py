"""The actor, as pure functions: one policy step, its randomness, and T steps joined."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from fls_jax.compilation import jit_by_size
from fls_jax.ppo import ApplyFn, action_log_probs
from fls_jax.types import Params


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
