"""Proximal policy optimisation's losses as pure functions of arrays.

Schulman et al. 2017 (arXiv 1707.06347) with the details of OpenAI Baselines' PPO2 (2019): value
clipping, advantages normalised in each minibatch. T steps, N environments, B samples, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from fls_jax.config import TrainConfig
from fls_jax.types import NetworkOutput, Params, Trajectory

ApplyFn = Callable[[Params, Array], NetworkOutput]
Metrics = dict[str, Array]


class Minibatch(NamedTuple):
    """B samples of a rollout; fields as in Trajectory, with `returns` = advantages + values."""

    observations: Array
    actions: Array
    log_probs: Array
    values: Array
    advantages: Array
    returns: Array


def advantages(trajectory: Trajectory, gamma: float, gae_lambda: float) -> Float[Array, "T N"]:
    """Generalised advantage estimates, float32 [T, N] (Schulman et al. 2015, arXiv 1506.02438, eq. 16).

    delta_t = r_t + gamma * v_{t+1} - v_t and A_t = delta_t + gamma * lambda * A_{t+1}. After a
    termination v_{t+1} = 0; after a truncation it is the value of the last real observation. Either
    ends the recursion.
    """
    done = trajectory.terminated | trajectory.truncated
    following = jnp.concatenate([trajectory.values[1:], trajectory.last_value[None]])
    following = jnp.where(done, trajectory.truncation_values, following)
    deltas = trajectory.rewards + gamma * following - trajectory.values
    carry_on = gamma * gae_lambda * (1.0 - done.astype(deltas.dtype))

    def step(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, carry = now
        advantage = delta + carry * later
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(deltas[0]), (deltas, carry_on), reverse=True)[1]


def explained_variance(values: Float[Array, "*B"], returns: Float[Array, "*B"]) -> Float[Array, ""]:
    """1 - var(returns - values) / var(returns); NaN if the returns do not vary."""
    variance = jnp.var(returns)
    return jnp.where(variance > 0, 1.0 - jnp.var(returns - values) / variance, jnp.nan)


def entropy(logits: Float[Array, "*B A"]) -> Float[Array, "*B"]:
    """Entropy of the categorical policy, in nats: [..., A] -> [...]."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def action_log_probs(logits: Float[Array, "*B A"], actions: Int[Array, "*B"]) -> Float[Array, "*B"]:
    """Log-probability of each action: logits [..., A], int32 actions [...] -> [...]."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], axis=-1)[..., 0]


def loss(output: NetworkOutput, batch: Minibatch, config: TrainConfig) -> tuple[Float[Array, ""], Metrics]:
    """Clipped PPO loss of B samples whose advantages are already normalised: (scalar, its parts).

    L = policy + value_coefficient * value - entropy_coefficient * entropy
    + attention_cost * (mean of the attention over samples and positions), where, with the ratio r,
    policy = mean max(-A r, -A clip(r, 1-c, 1+c)) and
    value = 0.5 mean max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2).
    """
    log_ratio = action_log_probs(output.logits, batch.actions) - batch.log_probs
    ratio = jnp.exp(log_ratio)
    clip = config.clip_range
    unclipped = -batch.advantages * ratio
    clipped = -batch.advantages * jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    policy_loss = jnp.mean(jnp.maximum(unclipped, clipped))

    near = batch.values + jnp.clip(output.value - batch.values, -clip, clip)
    errors = jnp.maximum(jnp.square(output.value - batch.returns), jnp.square(near - batch.returns))
    value_loss = 0.5 * jnp.mean(errors)

    mean_entropy = jnp.mean(entropy(output.logits))
    total = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * mean_entropy
    metrics = {
        "loss": total,
        "loss_policy": policy_loss,
        "loss_value": value_loss,
        "entropy": mean_entropy,
        "approx_kl": 0.5 * jnp.mean(jnp.square(log_ratio)),
        "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > clip).astype(jnp.float32)),
        **attention_statistics(output.attention),
    }
    if config.attention_cost:
        metrics["loss_attention"] = config.attention_cost * jnp.mean(output.attention)
        metrics["loss"] = total = total + metrics["loss_attention"]
    return total, metrics


def attention_statistics(attention: Float[Array, "B h w"]) -> Metrics:
    """Means over the samples of each map's mean, maximum, and entropy as a distribution (nats).

    attention: float32 [B, h, w].
    """
    maps = jax.lax.stop_gradient(attention).reshape(attention.shape[0], -1)
    shares = maps / jnp.maximum(maps.sum(axis=1, keepdims=True), jnp.finfo(maps.dtype).tiny)
    return {
        "attention_mean": jnp.mean(maps),
        "attention_max": jnp.mean(jnp.max(maps, axis=1)),
        "attention_entropy": jnp.mean(jnp.sum(jax.scipy.special.entr(shares), axis=1)),
    }
