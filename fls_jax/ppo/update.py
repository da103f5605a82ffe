"""The update of proximal policy optimisation: epochs of shuffled minibatches over one rollout.

Pure functions of arrays, and the two compiled forms of the update. T steps, N environments, B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from fls_jax.config import TrainConfig
from fls_jax.ppo.compilation import jit_by_size
from fls_jax.ppo.losses import ApplyFn, Metrics, Minibatch, advantages, explained_variance, loss
from fls_jax.ppo.optimiser import learning_rate, make_optimiser
from fls_jax.types import Params, Trajectory


class TrainState(NamedTuple):
    """The learner's state: parameters, the optimiser's state, the number of updates done (int32)."""

    params: Params
    optimiser: Any
    update: Array


UpdateFn = Callable[[TrainState, Trajectory, Array], tuple[TrainState, Metrics]]


def init_train_state(params: Params, config: TrainConfig) -> TrainState:
    """The state of a learner before its first update."""
    # One program, not one for every array.
    return TrainState(params, jax.jit(make_optimiser(config).init)(params), jnp.zeros((), jnp.int32))


def minibatch_gradients(
    apply: ApplyFn, params: Params, batch: Minibatch, config: TrainConfig, unroll: bool
) -> tuple[Params, Metrics]:
    """Gradient of one minibatch's loss, and its metrics: means over the samples.

    Advantages are normalised here, over the whole minibatch: (A - mean) / (std + 1e-8). With
    config.microbatch the gradient is the mean of those of equally large microbatches.
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
    # A microbatch has every count-th sample, so that it is sharded over the devices like the batch.
    parts = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(config.microbatch, count, *x.shape[1:]), 1, 0), batch
    )

    def accumulate(total: Any, part: Minibatch) -> tuple[Any, None]:
        return jax.tree.map(lambda t, g: t + g / count, total, gradients(part)), None

    shapes = jax.eval_shape(gradients, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(accumulate, zeros, parts, unroll=unroll)[0]


def shuffles(key: Array, epochs: int, minibatches: int, samples: int) -> Int[Array, "steps size"]:
    """int32 [epochs * minibatches, samples / minibatches]: a new permutation of the samples per epoch."""
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
    """The samples [T, N, ...] with the numbers `chosen`, counted by time, then environment: [B, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[chosen], samples)


def update_of_runs(update: UpdateFn, runs: int) -> UpdateFn:
    """The update of several runs at once: state, keys and metrics have a leading axis of `runs`.

    The trajectory's N environments are ordered run after run. The state is donated.
    """

    def updates(states: TrainState, trajectory: Trajectory, keys: Array) -> tuple[TrainState, Metrics]:
        def by_run(x: Array) -> Array:
            axis = min(x.ndim, 2) - 1  # the axis of environments: the first of [N], else the second
            return jnp.moveaxis(x.reshape(*x.shape[:axis], runs, -1, *x.shape[axis + 1 :]), axis, 0)

        return jax.vmap(update)(states, jax.tree.map(by_run, trajectory), keys)

    return jax.jit(updates, donate_argnums=0)


class _Parts(NamedTuple):
    """The three parts of the update, pure functions that both forms call.

    prepare: (trajectory, key) -> the rollout's samples, int32 [epochs * minibatches, size] of their numbers
        minibatch by minibatch, metrics of the rollout.
    step: (state, samples, numbers) -> (state, metrics): one optimiser step on one minibatch.
    finish: (state, stacked metrics, rollout metrics) -> (state, metrics): counts the update, averages.
    """

    prepare: Callable[[Trajectory, Array], tuple[Minibatch, Array, Metrics]]
    step: Callable[[TrainState, Minibatch, Array], tuple[TrainState, Metrics]]
    finish: Callable[[TrainState, Metrics, Metrics], tuple[TrainState, Metrics]]


def make_update(
    apply: ApplyFn,
    config: TrainConfig,
    mesh: Mesh | None = None,
    scanned: bool | None = None,
    runs: int | None = None,
) -> UpdateFn:
    """The update: (train state, trajectory, key) -> (train state, metrics). The state is donated.

    Epochs of shuffled minibatches, one optimiser step each; no host synchronisation inside. Metrics are
    float32 scalars, means over the minibatches, plus the rollout's explained variance and the learning
    rate. With a mesh, samples are spread over its axis `data` and parameters are replicated.

    scanned: one compiled program (accelerators), or a compiled step called from Python (the default on
    CPUs, where XLA runs convolutions inside a loop several times slower). Same arithmetic either way.
    runs: update this many runs at once, scanned (see `update_of_runs`).
    """
    # The parts are the same; the backend decides how they are compiled.
    if scanned is None:
        scanned = jax.default_backend() != "cpu" or runs is not None
    parts = _parts(apply, config, mesh, unroll=not scanned)
    if not scanned:
        return _stepped(parts)
    if runs is not None:
        return update_of_runs(_scanned(parts), runs)
    return jax.jit(_scanned(parts), donate_argnums=0)


def _parts(apply: ApplyFn, config: TrainConfig, mesh: Mesh | None, unroll: bool) -> _Parts:
    optimiser = make_optimiser(config)

    def prepare(trajectory: Trajectory, key: Array) -> tuple[Minibatch, Array, Metrics]:
        # Advantages and returns of the rollout, then the order of the samples in all epochs.
        samples = trajectory_samples(trajectory, config)
        order = shuffles(key, config.epochs, config.minibatches, config.steps_per_update)
        return samples, order, {"explained_variance": explained_variance(samples.values, samples.returns)}

    def step(state: TrainState, samples: Minibatch, chosen: Array) -> tuple[TrainState, Metrics]:
        # Gather the minibatch and shard it over the devices.
        batch = choose(samples, chosen)
        if mesh is not None:
            spread = NamedSharding(mesh, PartitionSpec("data"))
            batch = jax.lax.with_sharding_constraint(batch, spread)
        # Differentiate the loss, then take one step of the optimiser.
        gradients, metrics = minibatch_gradients(apply, state.params, batch, config, unroll=unroll)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        steps, optimiser_state = optimiser.update(gradients, state.optimiser)
        return TrainState(optax.apply_updates(state.params, steps), optimiser_state, state.update), metrics

    def finish(state: TrainState, stacked: Metrics, extra: Metrics) -> tuple[TrainState, Metrics]:
        # Count the update, and average the metrics over the minibatches.
        done = state.update + 1
        means = jax.tree.map(jnp.mean, stacked)
        return state._replace(update=done), means | extra | {"learning_rate": learning_rate(done, config)}

    return _Parts(prepare, step, finish)


def _scanned(parts: _Parts) -> UpdateFn:
    """One compiled program that scans over the minibatches."""

    def update(state: TrainState, trajectory: Trajectory, key: Array) -> tuple[TrainState, Metrics]:
        samples, order, extra = parts.prepare(trajectory, key)
        state, stacked = jax.lax.scan(lambda s, chosen: parts.step(s, samples, chosen), state, order)
        return parts.finish(state, stacked, extra)

    return update


def _stepped(parts: _Parts) -> UpdateFn:
    """Three compiled programs; Python calls the step once per minibatch."""

    def prepare_numbers(trajectory: Trajectory, key: Array) -> tuple[Minibatch, list[Array], Metrics]:
        samples, order, extra = parts.prepare(trajectory, key)
        # Observations are not an output, because that would copy them.
        return samples._replace(observations=jnp.empty(0)), list(order), extra

    def finish_rows(state: TrainState, rows: list[Metrics], extra: Metrics) -> tuple[TrainState, Metrics]:
        return parts.finish(state, jax.tree.map(lambda *r: jnp.stack(r), *rows), extra)

    prepare_jit, step_jit = jax.jit(prepare_numbers), jit_by_size(parts.step, donate_argnums=0)
    finish_jit = jax.jit(finish_rows, donate_argnums=0)

    def stepped(state: TrainState, trajectory: Trajectory, key: Array) -> tuple[TrainState, Metrics]:
        # Each of the three programs runs in turn; Python does not wait for their results.
        samples, order, extra = prepare_jit(trajectory, key)
        samples = samples._replace(observations=trajectory.observations)
        rows = []
        for chosen in order:
            state, metrics = step_jit(state, samples, chosen)
            rows.append(metrics)
        return finish_jit(state, rows, extra)

    return stepped
