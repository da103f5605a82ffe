"""The actor's pure functions: a policy step, its randomness, and joining the steps of a rollout.

Environments may belong to several runs and may be played in groups that take turns. An axis of environments
lists them run after run. A group holds the same environments of every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fls_jax.ppo.compilation import jit_by_size
from fls_jax.ppo.losses import ApplyFn, action_log_probs
from fls_jax.types import Params


class PolicyStep(NamedTuple):
    """actions int32 [N], their log-probabilities float32 [N], predicted values float32 [N]."""

    actions: Array
    log_probs: Array
    values: Array


def channels_last(observations: Array) -> Array:
    """Move EnvPool's axes [..., 4, 84, 84] to the networks' [..., 84, 84, 4]."""
    return jnp.moveaxis(observations, -3, -1)


@partial(jax.jit, static_argnums=(1, 2, 3))
def sampling_noise(key: Array, steps: int, num_envs: int, num_actions: int) -> Array:
    """Gumbel noise float32 [T, N, A]: the randomness of step t is the rollout's key folded with t.

    It is generated once per rollout, because that costs as much as a small network's forward pass.
    """
    keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(steps))
    return jax.vmap(lambda k: jax.random.gumbel(k, (num_envs, num_actions)))(keys)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def group_noise(keys: Array, steps: int, num_envs: int, num_actions: int, groups: int) -> list[Array]:
    """The noise of S runs by their keys [S], for each group: float32 [T, S * N / groups, A].

    N: the environments of one run. A run gets the same noise as if it were alone in one group.
    """
    noise = jax.vmap(lambda key: sampling_noise(key, steps, num_envs, num_actions), out_axes=1)(keys)
    return [part.reshape(steps, -1, num_actions) for part in jnp.split(noise, groups, axis=2)]


PolicyStepFn = Callable[[Params, Array, Array, Array], tuple[PolicyStep, Array]]


def make_policy_step(apply: ApplyFn) -> PolicyStepFn:
    """Jitted (params, observations [N, ...], noise [T, N, A], step t) -> (PolicyStep, t + 1).

    With Gumbel noise (see sampling_noise) the actions are samples of the policy. Noise and t, int32, stay on
    the device, so that a step only sends observations and fetches actions.
    """

    def policy_step(params: Params, observations: Array, noise: Array, t: Array) -> tuple[PolicyStep, Array]:
        output = apply(params, observations)
        actions = jnp.argmax(output.logits + noise[t], axis=-1).astype(jnp.int32)
        return PolicyStep(actions, action_log_probs(output.logits, actions), output.value), t + 1

    return jit_by_size(policy_step)


def interleave(groups: Sequence[Array], runs: int, axis: int) -> Array:
    """Join the groups' arrays [..., S * N / G, ...] along `axis` into [..., S * N, ...]."""
    if len(groups) == 1:
        return groups[0]
    before, after = groups[0].shape[:axis], groups[0].shape[axis + 1 :]
    by_run = [group.reshape(*before, runs, group.shape[axis] // runs, *after) for group in groups]
    return jnp.concatenate(by_run, axis=axis + 1).reshape(*before, -1, *after)


@partial(jax.jit, static_argnums=1)
def join_steps(groups: Sequence[Sequence[PolicyStep]], runs: int = 1) -> PolicyStep:
    """Join every group's T policy steps of [S * N / G] into one of [T, S * N]."""
    columns = [PolicyStep(*map(jnp.stack, zip(*steps, strict=True))) for steps in groups]
    return PolicyStep(*(interleave(parts, runs, 1) for parts in zip(*columns, strict=True)))


@partial(jax.jit, static_argnums=1)
def join_observations(groups: Sequence[Sequence[Array]], runs: int = 1) -> Array:
    """Join every group's T observations [S * N / G, ...] into one array [T, S * N, ...]."""
    return interleave([jnp.stack(list(steps)) for steps in groups], runs, 1)


@partial(jax.jit, static_argnums=(1, 2))
def join_columns(groups: Sequence[Array], runs: int, axis: int) -> Array:
    """`interleave`, compiled."""
    return interleave(groups, runs, axis)


@partial(jax.jit, donate_argnums=0)
def put_values(rows: Array, t: Array, values: Array, chosen: Array) -> Array:
    """rows float32 [T, N] with row t set to `values` [N] where bool [N] `chosen`, else to 0."""
    return rows.at[t].set(jnp.where(chosen, values, 0.0))
