"""The actor's randomness, and where a rollout's observations are kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.ppo.actor import make_policy_step, sampling_noise
from fls_jax.ppo.sharding import Placement, _aligned, _DeviceStore, _HostStore
from fls_jax.types import NetworkOutput


def linear(params, observations):
    flat = observations.reshape(observations.shape[0], -1).astype(jnp.float32)
    logits = flat @ params
    return NetworkOutput(logits, logits[:, 0], jnp.zeros((flat.shape[0], 1, 1)))


def test_the_noise_samples_as_jax_does(rng):
    params = jnp.asarray(rng.normal(size=(6, 5)), jnp.float32)
    observations = rng.normal(size=(4, 2, 3)).astype(np.float32)
    key = jax.random.key(7)
    noise = sampling_noise(key, 32, 4, 5)
    assert noise.shape == (32, 4, 5)
    step = make_policy_step(linear)
    logits = linear(params, jnp.asarray(observations)).logits
    for t in range(32):
        taken = step(params, observations, np.asarray(noise)[t])
        expected = jax.random.categorical(jax.random.fold_in(key, t), logits)
        np.testing.assert_array_equal(taken.actions, expected)
        every = np.asarray(jax.nn.log_softmax(logits))
        np.testing.assert_allclose(taken.log_probs, every[np.arange(4), expected], rtol=1e-5)


def test_actions_come_as_often_as_the_policy_says():
    probabilities = np.array([0.6, 0.3, 0.1])
    noise = np.asarray(sampling_noise(jax.random.key(0), 500, 40, 3)).reshape(-1, 3)
    counts = np.bincount((np.log(probabilities) + noise).argmax(axis=1), minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), probabilities, atol=0.01)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_stores_keep_every_step_as_it_was(rng, num_envs):
    placement = Placement(1, num_envs)
    steps = rng.integers(0, 256, (5, num_envs, 4, 6, 6), dtype=np.uint8)
    kept = []
    for store in (placement.rollout_store(5), _HostStore(5), _DeviceStore(placement)):
        for step in steps:
            given = step.copy()
            np.testing.assert_array_equal(store.add(given), step)
            if isinstance(store, _HostStore):
                given[:] = 0  # it has a copy of its own
        kept.append(store.joined())
    for joined in kept:
        assert isinstance(joined, jax.Array)
        np.testing.assert_array_equal(joined, steps)


def test_a_rollouts_memory_is_taken_over_without_a_copy():
    memory = _aligned((3, 8, 4, 84, 84), np.dtype(np.uint8))
    assert memory.shape == (3, 8, 4, 84, 84)
    assert memory.ctypes.data % 64 == 0
    assert jax.device_put(memory, jax.devices("cpu")[0]).unsafe_buffer_pointer() == memory.ctypes.data
