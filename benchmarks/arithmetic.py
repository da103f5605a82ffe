"""The cost of networks and training steps in operations and bytes, counted only from the specs.

Nothing is run. B samples, T steps of N environments per update; a multiplication and an addition are two
operations. `tests/benchmarks/test_arithmetic.py` compares the counts with XLA's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fls_jax.config import TrainConfig
from fls_jax.networks.geometry import INPUT_SIZE
from fls_jax.networks.modules import FEATURES
from fls_jax.networks.specs import Conv, NetworkSpec

OBSERVATION_BYTES = INPUT_SIZE * INPUT_SIZE * 4
ACTION_BYTES = 4
# Reward, value after a truncation, and the two flags, sent once a rollout.
OUTCOME_BYTES = 4 + 4 + 1 + 1
# Of a layer's outputs: written and read forwards; backwards read again, their gradient written, read twice.
PASSES_FORWARD, PASSES_TRAINED = 2, 5
# Of a parameter: read forwards and backwards; its gradient written, read; it and both moments read, written.
PARAMETER_PASSES = 2 + 2 + 6


class Layer(NamedTuple):
    """A layer's cost for one sample: forward operations, number of outputs, parameters."""

    name: str
    flops: int
    outputs: int
    parameters: int


class StepCost(NamedTuple):
    """The cost of one agent step: operations and bytes on the device, bytes sent and fetched."""

    flops: float
    device_bytes: float
    sent_bytes: float
    fetched_bytes: float


def layers(spec: NetworkSpec, num_actions: int = 6) -> Iterator[Layer]:
    """Every convolution, gate and dense layer of a network, in order; elementwise work is left out."""
    size, channels = INPUT_SIZE + 2 * spec.input_padding, 4
    for number, conv in enumerate(spec.torso, start=1):
        yield (layer := _convolution(f"conv{number}", conv, size, channels))
        size, channels = _output_size(conv, size), conv.features
        assert layer.outputs == size * size * channels
        if spec.attention and number in spec.attention.after:
            gate = spec.attention
            hidden = Conv(gate.hidden, gate.kernel, padding="SAME")
            yield _convolution(f"hidden{number}", hidden, size, channels)
            score = Conv(gate.maps, gate.kernel, padding="SAME")
            yield _convolution(f"score{number}", score, size, gate.hidden)
    inputs = channels if spec.readout == "pool" else size * size * channels
    yield _dense("dense", inputs, FEATURES)
    yield _dense("heads", FEATURES, num_actions + 1)


def _output_size(conv: Conv, size: int) -> int:
    return -(-size // conv.stride) if conv.padding == "SAME" else (size - conv.kernel) // conv.stride + 1


def _convolution(name: str, conv: Conv, size: int, channels: int) -> Layer:
    weights = conv.kernel**2 * channels * conv.features
    positions = _output_size(conv, size) ** 2
    bias = conv.features if conv.bias else 0
    return Layer(name, 2 * positions * weights, positions * conv.features, weights + bias)


def _dense(name: str, inputs: int, outputs: int) -> Layer:
    return Layer(name, 2 * inputs * outputs, outputs, (inputs + 1) * outputs)


def forward_flops(spec: NetworkSpec) -> int:
    """Operations of one sample's forward pass."""
    return sum(layer.flops for layer in layers(spec))


def training_flops(spec: NetworkSpec) -> int:
    """Operations of one sample, forwards and backwards.

    The backward pass takes every layer's forward work twice, for its weights and for its inputs; the first
    layer needs no gradient for its inputs.
    """
    first, *_ = layers(spec)
    return 3 * forward_flops(spec) - first.flops


def parameters(spec: NetworkSpec, num_actions: int = 6) -> int:
    """Parameters of a network, both heads included."""
    return sum(layer.parameters for layer in layers(spec, num_actions))


def outputs(spec: NetworkSpec) -> int:
    """The number of outputs of all layers for one sample."""
    return sum(layer.outputs for layer in layers(spec))


def step_cost(spec: NetworkSpec, config: TrainConfig) -> StepCost:
    """The average cost of an agent step: its policy step and its share of an update.

    Bytes on the device are a lower bound: necessary reads and writes, without temporaries and padding.
    """
    size = 2 if config.compute_dtype == "bfloat16" else 4
    policy_steps = 1 + 1 / config.rollout_length  # the last observation's value too
    optimiser_steps = config.epochs * config.minibatches / config.steps_per_update
    flops = policy_steps * forward_flops(spec) + config.epochs * training_flops(spec)
    activations = size * outputs(spec)
    weights = 4 * parameters(spec)
    device = (
        policy_steps * (OBSERVATION_BYTES + PASSES_FORWARD * activations + weights / config.num_envs)
        + config.epochs * (3 * OBSERVATION_BYTES + PASSES_TRAINED * activations)  # gathered, then read
        + optimiser_steps * PARAMETER_PASSES * weights
    )
    sent = policy_steps * OBSERVATION_BYTES + OUTCOME_BYTES
    return StepCost(flops, device, sent, ACTION_BYTES)
