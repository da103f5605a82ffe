"""Proximal policy optimisation as pure functions of arrays.

Schulman et al. 2017 (arXiv 1707.06347) with the details of OpenAI Baselines' PPO2 (2019): value
clipping, advantages normalised in each minibatch. T steps, N environments, B samples, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from fls_jax.compilation import jit_by_size
from fls_jax.config import TrainConfig
from fls_jax.optimiser import learning_rate, make_optimiser
from fls_jax.types import NetworkOutput, Params, Trajectory

ApplyFn = Callable[[Params, Array], NetworkOutput]
Metrics = dict[str, Array]


class TrainState(NamedTuple):
    """What learning changes: parameters, the optimiser's state, the number of updates done (int32)."""

    params: Params
    optimiser: Any
    update: Array


UpdateFn = Callable[[TrainState, Trajectory, Array], tuple[TrainState, Metrics]]


class Minibatch(NamedTuple):
    """B samples of a rollout; fields as in Trajectory, with `returns` = advantages + values."""

    observations: Array
    actions: Array
    log_probs: Array
    values: Array
    advantages: Array
    returns: Array


def init_train_state(params: Params, config: TrainConfig) -> TrainState:
    """A learner that has not learnt yet, around params."""
    return TrainState(params, make_optimiser(config).init(params), jnp.zeros((), jnp.int32))


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
    """1 - var(returns - values) / var(returns); NaN where the returns do not vary."""
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

    L = policy + value_coefficient * value - entropy_coefficient * entropy, and, where attention has a cost,
    + attention_cost * the mean of the attention over samples and positions; with the ratio r
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


def minibatch_gradients(
    apply: ApplyFn, params: Params, batch: Minibatch, config: TrainConfig, unroll: bool
) -> tuple[Params, Metrics]:
    """Gradient of one minibatch's loss, and its metrics: means over the samples.

    Advantages are normalised here, over the whole minibatch, (A - mean) / (std + 1e-8). With
    config.microbatch the gradient is then the mean of the microbatches' (equal in size).
    """
    a = batch.advantages
    batch = batch._replace(advantages=(a - jnp.mean(a)) / (jnp.std(a) + 1e-8))

    def gradients(part: Minibatch) -> tuple[Params, Metrics]:
        def objective(p: Params) -> tuple[Array, Metrics]:
            return loss(apply(p, part.observations), part, config)

        return jax.grad(objective, has_aux=True)(params)

    size = batch.actions.shape[0]
    if not 0 < config.microbatch < size:
        return gradients(batch)
    count = size // config.microbatch
    # Every count-th sample, so that a batch that is spread over devices stays so in each microbatch.
    parts = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(config.microbatch, count, *x.shape[1:]), 1, 0), batch
    )

    def accumulate(total: Any, part: Minibatch) -> tuple[Any, None]:
        return jax.tree.map(lambda t, g: t + g / count, total, gradients(part)), None

    shapes = jax.eval_shape(gradients, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(accumulate, zeros, parts, unroll=unroll)[0]


def shuffles(key: Array, epochs: int, minibatches: int, samples: int) -> Int[Array, "steps size"]:
    """int32 [epochs * minibatches, samples / minibatches]: a new permutation of the samples each epoch."""
    orders = jax.vmap(lambda k: jax.random.permutation(k, samples))(jax.random.split(key, epochs))
    return orders.reshape(epochs * minibatches, samples // minibatches)


def trajectory_samples(trajectory: Trajectory, config: TrainConfig) -> Minibatch:
    """A rollout's samples [T, N, ...], with advantages (not normalised) and returns."""
    a = advantages(trajectory, config.gamma, config.gae_lambda)
    return Minibatch(
        trajectory.observations,
        trajectory.actions,
        trajectory.log_probs,
        trajectory.values,
        a,
        a + trajectory.values,
    )


def choose(samples: Minibatch, chosen: Int[Array, " B"]) -> Minibatch:
    """The samples [T, N, ...] numbered `chosen`, in the order of time and then environments: [B, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[chosen], samples)


def make_update(
    apply: ApplyFn, config: TrainConfig, mesh: Mesh | None = None, scanned: bool | None = None
) -> UpdateFn:
    """The update: (train state, trajectory, key) -> (train state, metrics). The state is donated.

    Epochs of shuffled minibatches, one optimiser step each; no host synchronisation inside. Metrics are
    float32 scalars, means over the minibatches, plus the rollout's explained variance and the learning
    rate. With a mesh, samples are spread over its axis `data` and parameters are replicated.

    scanned: one compiled program (accelerators), or a compiled step called from Python (the default on
    CPUs, where XLA runs convolutions inside a loop several times slower). Same arithmetic either way.
    """
    if scanned is None:
        scanned = jax.default_backend() != "cpu"
    optimiser = make_optimiser(config)

    def prepare(trajectory: Trajectory, key: Array) -> tuple[Minibatch, Array, Metrics]:
        samples = trajectory_samples(trajectory, config)
        order = shuffles(key, config.epochs, config.minibatches, config.steps_per_update)
        return samples, order, {"explained_variance": explained_variance(samples.values, samples.returns)}

    def step(state: TrainState, samples: Minibatch, chosen: Array) -> tuple[TrainState, Metrics]:
        batch = choose(samples, chosen)
        if mesh is not None:
            spread = NamedSharding(mesh, PartitionSpec("data"))
            batch = jax.lax.with_sharding_constraint(batch, spread)
        gradients, metrics = minibatch_gradients(apply, state.params, batch, config, unroll=not scanned)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        steps, optimiser_state = optimiser.update(gradients, state.optimiser)
        return TrainState(optax.apply_updates(state.params, steps), optimiser_state, state.update), metrics

    def finish(state: TrainState, stacked: Metrics, extra: Metrics) -> tuple[TrainState, Metrics]:
        done = state.update + 1
        means = jax.tree.map(jnp.mean, stacked)
        return state._replace(update=done), means | extra | {"learning_rate": learning_rate(done, config)}

    if scanned:

        def update(state: TrainState, trajectory: Trajectory, key: Array) -> tuple[TrainState, Metrics]:
            samples, order, extra = prepare(trajectory, key)
            state, stacked = jax.lax.scan(lambda s, chosen: step(s, samples, chosen), state, order)
            return finish(state, stacked, extra)

        return jax.jit(update, donate_argnums=0)

    def prepare_numbers(trajectory: Trajectory, key: Array) -> tuple[Minibatch, Array, Metrics]:
        samples, order, extra = prepare(trajectory, key)
        # As an output the observations would be copied.
        return samples._replace(observations=jnp.empty(0)), order, extra

    prepare_jit, step_jit = jax.jit(prepare_numbers), jit_by_size(step, donate_argnums=0)
    finish_jit = jax.jit(
        lambda state, rows, extra: finish(state, jax.tree.map(lambda *r: jnp.stack(r), *rows), extra),
        donate_argnums=0,
    )

    def stepped(state: TrainState, trajectory: Trajectory, key: Array) -> tuple[TrainState, Metrics]:
        samples, order, extra = prepare_jit(trajectory, key)
        samples = samples._replace(observations=trajectory.observations)
        rows = []
        for chosen in np.asarray(order):
            state, metrics = step_jit(state, samples, chosen)
            rows.append(metrics)
        return finish_jit(state, rows, extra)

    return stepped
