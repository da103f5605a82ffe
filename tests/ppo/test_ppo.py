"""PPO against an independent NumPy implementation with hand-written gradients (tests/oracles/ppo.py)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fls_jax.config import TrainConfig
from fls_jax.ppo import losses
from fls_jax.ppo.update import (
    choose,
    init_train_state,
    make_update,
    minibatch_gradients,
    shuffles,
    trajectory_samples,
)
from fls_jax.types import NetworkOutput, Trajectory
from tests.oracles import ppo as oracle

ACTIONS, HIDDEN, PIXELS = 4, 8, 6
OURS_TO_ORACLE = {"log_probs": "log_probabilities"}
CONFIG = TrainConfig(num_envs=4, rollout_length=8, total_steps=320)


def make_params(rng):
    shapes = {
        "W1": (PIXELS, HIDDEN),
        "b1": (HIDDEN,),
        "Wp": (HIDDEN, ACTIONS),
        "bp": (ACTIONS,),
        "Wv": (HIDDEN, 1),
        "bv": (1,),
    }
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def apply(params, observations):
    flat = observations.reshape(observations.shape[0], -1).astype(jnp.float32) / 255
    hidden = jnp.tanh(flat @ params["W1"] + params["b1"][None])
    logits = hidden @ params["Wp"] + params["bp"][None]
    value = (hidden @ params["Wv"] + params["bv"][None])[:, 0]
    return NetworkOutput(logits, value, jnp.zeros((observations.shape[0], 1, 1)))


def make_trajectory(rng, T=8, N=4, done=0.2, params=None):
    """A random rollout. With params the recorded policy is near theirs: some ratios leave the clip range."""
    terminated = rng.random((T, N)) < done
    truncated = (rng.random((T, N)) < done) & ~terminated
    observations = rng.integers(0, 256, (T, N, PIXELS), dtype=np.uint8)
    actions = rng.integers(0, ACTIONS, (T, N)).astype(np.int32)
    log_probs = np.log(rng.uniform(0.1, 0.5, (T, N)))
    if params is not None:
        logits = oracle.model(params, observations.reshape(T * N, PIXELS))[1].reshape(T, N, ACTIONS)
        chosen = np.take_along_axis(logits, actions[..., None], axis=-1)[..., 0]
        log_probs = chosen - np.log(np.exp(logits).sum(axis=-1)) + rng.normal(scale=0.1, size=(T, N))
    return {
        "observations": observations,
        "actions": actions,
        "log_probs": log_probs,
        "values": rng.normal(size=(T, N)),
        "rewards": rng.integers(-1, 2, (T, N)).astype(np.float64),
        "terminated": terminated,
        "truncated": truncated,
        "truncation_values": np.where(truncated, rng.normal(size=(T, N)), 0.0),
        "last_value": rng.normal(size=N),
    }


def to_jax(trajectory):
    cast = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in trajectory.items()}
    return Trajectory(**{k: jnp.asarray(v) for k, v in cast.items()})


def to_float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), done=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_advantages_agree_with_a_loop_over_episodes(seed, done):
    t = make_trajectory(np.random.default_rng(seed), done=done)
    names = ("rewards", "values", "terminated", "truncated", "truncation_values", "last_value")
    theirs = oracle.advantages(*(t[name] for name in names), gamma=0.99, lam=0.95)
    np.testing.assert_allclose(losses.advantages(to_jax(t), 0.99, 0.95), theirs, rtol=1e-4, atol=1e-5)


def test_truncation_bootstraps_and_termination_does_not():
    one = {
        "observations": np.zeros((2, 2, PIXELS), np.uint8),
        "actions": np.zeros((2, 2), np.int32),
        "log_probs": np.zeros((2, 2)),
        "values": np.array([[1.0, 1.0], [5.0, 5.0]]),
        "rewards": np.array([[1.0, 1.0], [0.0, 0.0]]),
        "terminated": np.array([[True, False], [False, False]]),
        "truncated": np.array([[False, True], [False, False]]),
        "truncation_values": np.array([[0.0, 10.0], [0.0, 0.0]]),
        "last_value": np.array([5.0, 5.0]),
    }
    a = losses.advantages(to_jax(one), 0.9, 0.95)
    np.testing.assert_allclose(a[0], [1.0 - 1.0, 1.0 + 0.9 * 10.0 - 1.0], rtol=1e-6)


def test_loss_and_its_gradient(rng):
    params = make_params(rng)
    t = make_trajectory(rng, params=params)
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in t.items() if k != "last_value"}
    raw = rng.normal(size=32)
    returns = rng.normal(size=32)
    hyper = oracle.Hyperparameters()
    theirs, gradients = oracle.loss_and_gradients(
        params,
        oracle.Minibatch(
            flat["observations"], flat["actions"], flat["log_probs"], flat["values"], raw, returns
        ),
        hyper,
    )
    batch = losses.Minibatch(
        jnp.asarray(flat["observations"]),
        jnp.asarray(flat["actions"]),
        *to_float32((flat["log_probs"], flat["values"], raw, returns)),
    )
    ours, metrics = minibatch_gradients(apply, to_float32(params), batch, CONFIG, unroll=False)
    names = {"loss_policy": "policy_loss", "loss_value": "value_loss"}
    for name in ("loss", "loss_policy", "loss_value", "entropy", "approx_kl", "clip_fraction"):
        np.testing.assert_allclose(metrics[name], theirs[names.get(name, name)], rtol=1e-4, err_msg=name)
    assert 0 < metrics["clip_fraction"] < 1
    for name, gradient in gradients.items():
        np.testing.assert_allclose(ours[name], gradient, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("scanned", [False, True])
def test_two_whole_updates_agree_with_numpy(scanned, rng):
    """Parameters, moments and metrics after 2 x 16 optimiser steps with the same shuffles."""
    params = make_params(rng)
    state = init_train_state(to_float32(params), CONFIG)
    update = make_update(apply, CONFIG, scanned=scanned)
    adam = oracle.initial_adam_state(params)
    for number in (1, 2):
        t, key = make_trajectory(rng, params=params), jax.random.key(number)
        order = np.asarray(shuffles(key, CONFIG.epochs, CONFIG.minibatches, 32)).reshape(4, 32)
        rate = oracle.learning_rate(number, CONFIG.total_steps, initial=2.5e-4, batch=32)
        hyper = oracle.Hyperparameters(learning_rate=rate)
        theirs = {OURS_TO_ORACLE.get(name, name): value for name, value in t.items()}
        params, adam, rows = oracle.update(params, adam, oracle.Trajectory(**theirs), order, hyper)
        state, metrics = update(state, to_jax(t), key)
        assert int(state.update) == number
        np.testing.assert_allclose(metrics["learning_rate"], rate, rtol=1e-6)
        names = {"loss_policy": "policy_loss", "loss_value": "value_loss", "grad_norm": "gradient_norm"}
        for name in (
            "loss",
            "loss_policy",
            "loss_value",
            "entropy",
            "approx_kl",
            "clip_fraction",
            "grad_norm",
        ):
            mean = np.mean([row[names.get(name, name)] for row in rows])
            np.testing.assert_allclose(metrics[name], mean, rtol=2e-3, atol=1e-6, err_msg=name)
    assert max(row["gradient_norm"] for row in rows) > 0.5, "the clip of the gradient norm was not exercised"
    for name, value in params.items():
        np.testing.assert_allclose(state.params[name], value, rtol=0, atol=2e-6, err_msg=name)


def test_every_epoch_is_a_new_permutation():
    order = np.asarray(shuffles(jax.random.key(0), 4, 4, 64)).reshape(4, 64)
    for epoch in order:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(64))
    assert len({tuple(epoch) for epoch in order}) == 4


@pytest.mark.parametrize("unroll", [False, True])
def test_microbatches_give_the_whole_minibatchs_gradient(unroll, rng):
    params, t = to_float32(make_params(rng)), to_jax(make_trajectory(rng))
    batch = choose(trajectory_samples(t, CONFIG), jnp.arange(t.actions.size))
    whole = minibatch_gradients(apply, params, batch, CONFIG, unroll=False)
    parts = minibatch_gradients(
        apply, params, batch, dataclasses.replace(CONFIG, microbatch=8), unroll=unroll
    )
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_explained_variance():
    returns = jnp.array([1.0, 2.0, 3.0, 4.0])
    assert float(losses.explained_variance(returns, returns)) == pytest.approx(1.0)
    assert float(losses.explained_variance(jnp.zeros(4), returns)) == pytest.approx(0.0)
    assert np.isnan(losses.explained_variance(returns, jnp.ones(4)))


def test_attention_statistics():
    maps = jnp.stack([jnp.full((2, 2), 3.0), jnp.array([[8.0, 0.0], [0.0, 0.0]])])
    statistics = losses.attention_statistics(maps)
    assert float(statistics["attention_mean"]) == pytest.approx(2.5)
    assert float(statistics["attention_max"]) == pytest.approx(5.5)
    assert float(statistics["attention_entropy"]) == pytest.approx(np.log(4) / 2, rel=1e-5)


def gated(params, observations):
    """`apply`, its hidden units multiplied by an attention map of their own, [B, 2, 4]."""
    flat = observations.reshape(observations.shape[0], -1).astype(params["W1"].dtype) / 255
    hidden = jnp.tanh(flat @ params["W1"] + params["b1"][None])
    attention = jax.nn.softplus(hidden * params["bp"][0])
    logits = (hidden * attention) @ params["Wp"] + params["bp"][None]
    return NetworkOutput(logits, (hidden @ params["Wv"])[:, 0], attention.reshape(-1, 2, 4))


def some_minibatch(rng, size=12):
    numbers = [jnp.asarray(rng.normal(size=size)) for _ in range(4)]
    observations = jnp.asarray(rng.integers(0, 256, (size, PIXELS), dtype=np.uint8))
    actions = jnp.asarray(rng.integers(0, ACTIONS, size).astype(np.int32))
    return losses.Minibatch(observations, actions, -jnp.abs(numbers[0]), *numbers[1:])


def test_the_cost_of_attention_is_the_gradient_of_its_mean(rng):
    """Against finite differences in float64, of the whole loss and of what the cost adds to it."""
    costly = dataclasses.replace(CONFIG, attention_cost=0.7)
    with jax.enable_x64(True):
        params = {name: jnp.asarray(value) for name, value in make_params(rng).items()}
        batch = some_minibatch(rng)

        def total(params, config):
            return losses.loss(gated(params, batch.observations), batch, config)

        gradients = jax.grad(lambda p: total(p, costly)[0])(params)
        free = jax.grad(lambda p: total(p, CONFIG)[0])(params)
        for name, gradient in gradients.items():
            direction = jnp.asarray(rng.normal(size=gradient.shape))
            ends = [params | {name: params[name] + h * direction} for h in (1e-5, -1e-5)]
            values = [total(p, costly)[0] for p in ends]
            slope = (values[0] - values[1]) / 2e-5
            np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=1e-5, atol=1e-8)
            means = [gated(p, batch.observations).attention.mean() for p in ends]
            added = jnp.sum((gradient - free[name]) * direction)
            np.testing.assert_allclose(added, 0.7 * (means[0] - means[1]) / 2e-5, rtol=1e-5, atol=1e-8)
        loss, parts = total(params, costly)
        assert float(parts["loss_attention"]) == pytest.approx(
            0.7 * float(gated(params, batch.observations).attention.mean())
        )
        assert float(loss) == pytest.approx(float(total(params, CONFIG)[0] + parts["loss_attention"]))


def test_without_a_cost_attention_is_not_in_the_loss(rng):
    """Bit for bit: the loss is the sum that it was, no gradient comes through the map, no column is added."""
    batch = jax.tree.map(
        lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, some_minibatch(rng)
    )
    output = gated(to_float32(make_params(rng)), batch.observations)
    (loss, parts), gradient = jax.value_and_grad(losses.loss, has_aux=True)(output, batch, CONFIG)
    assert float(loss) == float(parts["loss_policy"] + 0.5 * parts["loss_value"] - 0.01 * parts["entropy"])
    assert not gradient.attention.any()
    assert "loss_attention" not in parts
    costly = dataclasses.replace(CONFIG, attention_cost=0.5)
    _, gradient = jax.value_and_grad(losses.loss, has_aux=True)(output, batch, costly)
    np.testing.assert_allclose(gradient.attention, 0.5 / output.attention.size, rtol=1e-6)


def test_entropy_and_log_probs():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]])) + 7.0
    assert float(losses.entropy(logits)[0]) == pytest.approx(1.5 * np.log(2), rel=1e-5)
    assert float(losses.action_log_probs(logits, jnp.array([1]))[0]) == pytest.approx(np.log(0.25), rel=1e-5)
