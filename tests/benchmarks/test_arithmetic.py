"""The arithmetic of the networks, counted from the specs, against what XLA and Flax count."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from benchmarks import arithmetic
from benchmarks.scaling import NETWORKS as PREDICTED
from fls_jax.config import TrainConfig
from fls_jax.networks.modules import ActorCritic, count_parameters
from fls_jax.networks.specs import NETWORKS, network_spec

CONFIG = TrainConfig()


def xla_flops(name, gradient):
    """Operations a sample that XLA counts in a forward pass or in a loss and its gradient; not compiled."""
    network = ActorCritic(network_spec(name), 6)
    observations = jax.ShapeDtypeStruct((4, 84, 84, 4), jnp.uint8)
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 84, 84, 4), jnp.uint8)))

    def total(params, observations):
        output = network.apply(params, observations)
        return output.logits.sum() + output.value.sum()

    function = jax.grad(total) if gradient else total
    return jax.jit(function).lower(params, observations).cost_analysis()["flops"] / 4


@pytest.mark.parametrize("name", list(NETWORKS))
def test_parameters_are_flaxs(name):
    spec = network_spec(name)
    assert arithmetic.parameters(spec, 4) == count_parameters(ActorCritic(spec, 4))


@pytest.mark.parametrize("name", [*PREDICTED, "cnn_sparse_fls_x3", "cnn_daqn"])
def test_forward_operations_are_xlas(name):
    counted = arithmetic.forward_flops(network_spec(name))
    # XLA counts elementwise work too, a few percent, and leaves out what SAME's padding multiplies by 0.
    assert xla_flops(name, gradient=False) == pytest.approx(counted, rel=0.12)


@pytest.mark.parametrize("name", PREDICTED)
def test_training_operations_are_xlas(name):
    counted = arithmetic.training_flops(network_spec(name))
    assert xla_flops(name, gradient=True) == pytest.approx(counted, rel=0.12)


def test_published_costs():
    """The paper's networks: about 19, 31 and 3,400 million operations a frame."""
    millions = {n: arithmetic.forward_flops(network_spec(n)) / 1e6 for n in NETWORKS}
    assert millions["cnn"] == pytest.approx(19, abs=0.5)
    assert millions["cnn_sparse_fls"] == pytest.approx(33, abs=1)
    assert millions["cnn_dense_fls"] == pytest.approx(3_400, rel=0.02)


def test_a_step_by_hand():
    """One update of 1,024 steps of cnn: each sample once forwards to act, four times trained."""
    spec = network_spec("cnn")
    cost = arithmetic.step_cost(spec, CONFIG)
    forward, first = arithmetic.forward_flops(spec), 2 * 20 * 20 * 8 * 8 * 4 * 32
    assert cost.flops == pytest.approx(forward * (1 + 1 / 128) + 4 * (3 * forward - first))
    assert cost.sent_bytes == pytest.approx(28_224 * (1 + 1 / 128) + 10)
    assert cost.fetched_bytes == 4
    # Larger minibatches pass the parameters less often, bfloat16 halves what layers put out.
    larger = arithmetic.step_cost(spec, dataclasses.replace(CONFIG, num_envs=128))
    assert larger.device_bytes < cost.device_bytes
    half = arithmetic.step_cost(spec, dataclasses.replace(CONFIG, compute_dtype="bfloat16"))
    activations = 20 * 20 * 32 + 9 * 9 * 64 + 7 * 7 * 64 + 512 + 7
    assert cost.device_bytes - half.device_bytes == pytest.approx(
        2 * activations * (2 * (1 + 1 / 128) + 4 * 5)
    )
