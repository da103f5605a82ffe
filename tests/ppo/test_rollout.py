"""The actor's randomness, and where a rollout's observations are kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.ppo.rollout import group_noise, join_columns, make_policy_step, sampling_noise
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
        taken, following = step(params, jnp.asarray(observations), noise, jnp.int32(t))
        assert following == t + 1
        expected = jax.random.categorical(jax.random.fold_in(key, t), logits)
        np.testing.assert_array_equal(taken.actions, expected)
        every = np.asarray(jax.nn.log_softmax(logits))
        np.testing.assert_allclose(taken.log_probs, every[np.arange(4), expected], rtol=1e-5)


def test_runs_in_groups_have_the_noise_that_they_have_alone():
    """Two runs of four environments in two groups: in each, environments 0, 1 or 2, 3 of either run."""
    keys = jax.random.split(jax.random.key(1), 2)
    first, second = (np.asarray(sampling_noise(key, 3, 4, 5)) for key in keys)
    early, late = (np.asarray(part) for part in group_noise(keys, 3, 4, 5, 2))
    np.testing.assert_array_equal(early, np.concatenate([first[:, :2], second[:, :2]], axis=1))
    np.testing.assert_array_equal(late, np.concatenate([first[:, 2:], second[:, 2:]], axis=1))


def test_actions_come_as_often_as_the_policy_says():
    probabilities = np.array([0.6, 0.3, 0.1])
    noise = np.asarray(sampling_noise(jax.random.key(0), 500, 40, 3)).reshape(-1, 3)
    counts = np.bincount((np.log(probabilities) + noise).argmax(axis=1), minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), probabilities, atol=0.01)


@pytest.mark.parametrize(("groups", "runs"), [(2, 1), (1, 3), (2, 3)])
def test_groups_are_joined_run_by_run(rng, groups, runs):
    """Six environments a run; a group holds the same of every run."""
    placement = Placement(1, 6)
    steps = rng.integers(0, 256, (5, runs, 6, 4, 2, 2), dtype=np.uint8)
    stores = [placement.rollout_store(5, groups, runs), _DeviceStore(placement, groups, runs)]
    for store in stores:
        for step in steps:
            for part in np.split(step, groups, axis=1):
                store.add(part.reshape(-1, 4, 2, 2))
        np.testing.assert_array_equal(store.joined(), steps.reshape(5, -1, 4, 2, 2))
    numbers = steps[..., 0, 0, 0].astype(np.float32)  # [T, runs, environments]
    parts = [jnp.asarray(part.reshape(5, -1)) for part in np.split(numbers, groups, axis=2)]
    np.testing.assert_array_equal(join_columns(parts, runs, 1), numbers.reshape(5, -1))
    np.testing.assert_array_equal(join_columns([p[0] for p in parts], runs, 0), numbers[0].ravel())


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
