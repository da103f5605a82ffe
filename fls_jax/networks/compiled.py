"""A network with its compiled functions, built once and shared by all agents with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fls_jax.networks.chunking import default_chunk_size
from fls_jax.networks.modules import ActorCritic, initial_params
from fls_jax.networks.replacement import Replacement, gate_maps, replaced
from fls_jax.networks.specs import NetworkSpec
from fls_jax.types import NetworkOutput, Params

Weights = tuple[Params, Replacement]


class CompiledNetwork(NamedTuple):
    """A network and its compiled functions.

    forward: of parameters and a replacement of the attention, and observations [B, 84, 84, 4].
    gates: the maps of all gates, by name, of parameters and observations. initialise: parameters from a key.
    """

    module: ActorCritic
    forward: Callable[[Weights, Any], NetworkOutput]
    gates: Callable[[Params, Any], dict[str, jax.Array]]
    initialise: Callable[[jax.Array], Params]

    def mismatch(self, params: Params) -> str | None:
        """The first parameter that is missing, unknown or of another shape, in words; None if all fit."""
        expected = _shapes(jax.eval_shape(self.initialise, jax.random.key(0)))
        found = _shapes(params)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                return f"{name} should be {expected.get(name, 'absent')} and is {found.get(name, 'absent')}"
        return None


@cache
def compiled_network(spec: NetworkSpec, num_actions: int, dtype: str, precision: str) -> CompiledNetwork:
    """The network of a spec. dtype: of its computations; precision: of its products."""
    module = ActorCritic(
        spec,
        num_actions,
        dtype=jnp.dtype(dtype),
        chunk_size=default_chunk_size(),
        takes_float=True,  # saliency methods differentiate and blur; a call takes uint8 only
        precision=precision,
    )

    def apply(params: Params, observations: jax.Array) -> Any:
        return module.apply({"params": params}, observations)

    def forward(weights: Weights, observations: jax.Array) -> NetworkOutput:
        params, replacement = weights
        with replaced(replacement):
            return apply(params, observations)

    def gates(params: Params, observations: jax.Array) -> dict[str, jax.Array]:
        return gate_maps(apply, params, observations)

    return CompiledNetwork(module, jax.jit(forward), jax.jit(gates), jax.jit(partial(initial_params, module)))


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}
