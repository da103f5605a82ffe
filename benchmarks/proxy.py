"""A network of almost no cost, to measure the training loop around it; for benchmarks only.

Mean over 12x12 blocks of every input channel, dense 16, heads: every byte of every observation is read,
and next to nothing is computed.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fls_jax.types import NetworkOutput

BLOCK = 12


class BlockMeanNetwork(nn.Module):
    """ActorCritic's call on 7 x 7 x 4 block means: uint8 [B, 84, 84, 4] -> NetworkOutput."""

    num_actions: int

    @nn.compact
    def __call__(self, observations: Array) -> NetworkOutput:
        """Logits [B, A], value [B] and a map of one zero [B, 1, 1]."""
        side = 84 // BLOCK
        # Sums of 144 bytes fit in 16 bits. Row by row, since additions of whole rows are vectorised.
        rows = observations.reshape(-1, side, BLOCK, 84, 4).astype(jnp.uint16)
        bands = reduce(add, (rows[:, :, number] for number in range(BLOCK)))
        sums = jnp.sum(bands.reshape(-1, side, side, BLOCK, 4), axis=3, dtype=jnp.uint16)
        means = sums.reshape(-1, side * side * 4).astype(jnp.float32) / (255.0 * BLOCK**2)
        hidden = nn.relu(nn.Dense(16)(means))
        value = nn.Dense(1)(hidden)[:, 0]
        return NetworkOutput(nn.Dense(self.num_actions)(hidden), value, jnp.zeros((value.shape[0], 1, 1)))
