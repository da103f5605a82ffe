"""The optimiser of Baselines' PPO2: gradient-norm clip, Adam in TensorFlow's form, linear schedule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fls_jax.config import TrainConfig
from fls_jax.types import Params

B1, B2 = 0.9, 0.999


def learning_rate(update: Array | int, config: TrainConfig) -> Array:
    """Step size of update number `update`, counted from 1: the full rate at the first, then linear to 0.

    learning_rate * (1 - (update - 1) / num_updates), as Baselines counts it.
    """
    fraction = 1.0 - (jnp.asarray(update, jnp.float32) - 1.0) / config.num_updates
    return config.learning_rate * fraction


def scale_by_tensorflow_adam(epsilon: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015, end of section 2), with epsilon outside the bias correction.

    g -> sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon), t from 1. optax.adam adds epsilon to the
    corrected root instead, which takes larger steps while t is small.
    """

    def init(params: Params) -> optax.ScaleByAdamState:
        count = jnp.zeros((), jnp.int32)
        return optax.ScaleByAdamState(
            count, mu=jax.tree.map(jnp.zeros_like, params), nu=jax.tree.map(jnp.zeros_like, params)
        )

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        count = jnp.asarray(state.count) + 1
        mean = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, state.mu, updates)
        square = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, state.nu, updates)
        t = count.astype(jnp.float32)
        correction = jnp.sqrt(1 - B2**t) / (1 - B1**t)
        steps = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mean, square)
        return steps, optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(init, update)


def make_optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Clip by global norm, then Adam with the learning rate of the step's update."""
    steps_per_update = config.epochs * config.minibatches
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        scale_by_tensorflow_adam(config.adam_epsilon),
        optax.scale_by_schedule(
            lambda count: -learning_rate(jnp.asarray(count) // steps_per_update + 1, config)
        ),
    )
