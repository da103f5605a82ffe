"""Small networks of other hands than ours: what the methods are given."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SHAPE = (20, 24, 3)
ACTIONS = 4


class SmallNetwork(nn.Module):
    """Two convolutions, a dense layer and two heads; frames on any scale."""

    actions: int = ACTIONS

    @nn.compact
    def __call__(self, frames):
        x = frames.astype(jnp.float32) / 255
        x = nn.relu(nn.Conv(6, (4, 4), strides=2, name="first")(x))
        x = nn.relu(nn.Conv(5, (3, 3), padding="VALID", name="second")(x))
        x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(self.actions)(x) * 3, nn.Dense(1)(x)[:, 0] * 2


NETWORK = SmallNetwork()


def small(params, frames):
    """The small network as `apply`."""
    return NETWORK.apply({"params": params}, frames)


def small_params(seed=0):
    return NETWORK.init(jax.random.key(seed), jnp.zeros((1, *SHAPE), jnp.uint8))["params"]


def linear(params, frames):
    """Logits and value as weighted sums of the frames: params = float [H, W, C, A + 1]."""
    outputs = jnp.einsum("bhwc,hwca->ba", frames.astype(jnp.float32), params, precision="highest")
    return outputs[:, :-1], outputs[:, -1]


def linear_params(rng, shape=SHAPE, scale=1e-3):
    return rng.normal(size=(*shape, ACTIONS + 1)).astype(np.float32) * np.float32(scale)


def frames(rng, batch=3, shape=SHAPE):
    """Smooth frames with some contrast."""
    return rng.integers(0, 256, (batch, *shape), dtype=np.uint8)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
