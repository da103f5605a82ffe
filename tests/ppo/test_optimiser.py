"""The optimiser: golden schedule values, Adam's TensorFlow form, the gradient clip."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fls_jax.config import TrainConfig
from fls_jax.ppo.optimiser import learning_rate, make_optimiser, scale_by_tensorflow_adam


@pytest.mark.parametrize(
    ("update", "rate"),
    # 50,000,000 // 1024 = 48,828 updates; fraction left 1 - (update - 1) / 48,828.
    [(1, 2.5e-4), (2, 2.4999488e-4), (24_415, 1.25e-4), (48_828, 5.1200131e-9)],
)
def test_golden_learning_rates_of_the_papers_run(update, rate):
    # float32 resolves the fraction to 6e-8.
    np.testing.assert_allclose(learning_rate(update, TrainConfig()), rate, rtol=1e-6, atol=2e-11)


def test_all_steps_of_an_update_share_its_rate():
    config = TrainConfig(total_steps=4096, max_grad_norm=1e9, adam_epsilon=1e-12)
    optimiser = make_optimiser(config)
    params = {"w": jnp.zeros(3)}
    state = optimiser.init(params)
    sizes = []
    for _ in range(4 * 16):
        steps, state = optimiser.update({"w": jnp.ones(3)}, state, params)
        sizes.append(float(-steps["w"][0]))
    # A constant gradient makes Adam's direction exactly 1, so a step is the learning rate itself.
    np.testing.assert_allclose(sizes, np.repeat([2.5e-4, 1.875e-4, 1.25e-4, 0.625e-4], 16), rtol=1e-4)


def test_epsilon_stands_outside_the_bias_correction():
    gradient, epsilon = 1e-6, 1e-5
    ours = scale_by_tensorflow_adam(epsilon)
    step, _ = ours.update({"w": jnp.array([gradient])}, ours.init({"w": jnp.zeros(1)}))
    by_hand = np.sqrt(1 - 0.999) / (1 - 0.9) * (0.1 * gradient) / (np.sqrt(0.001) * gradient + epsilon)
    np.testing.assert_allclose(step["w"], [by_hand], rtol=1e-4)
    theirs = optax.scale_by_adam(eps=epsilon)
    with jax.numpy_dtype_promotion("standard"):
        other, _ = theirs.update({"w": jnp.array([gradient])}, theirs.init({"w": jnp.zeros(1)}))
    assert float(other["w"][0]) > 10 * by_hand


def test_long_gradients_are_clipped_by_their_global_norm():
    config = TrainConfig(total_steps=1024, max_grad_norm=0.5)
    clip = make_optimiser(config)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    _, state = clip.update({"a": jnp.array([30.0]), "b": jnp.array([40.0])}, clip.init(params), params)
    moments = next(part for part in state if isinstance(part, optax.ScaleByAdamState))
    np.testing.assert_allclose([moments.mu["a"][0], moments.mu["b"][0]], [0.1 * 0.3, 0.1 * 0.4], rtol=1e-5)
