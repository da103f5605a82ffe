"""Replaces the attention of a network with other maps, to measure whether the network uses it.

Every `AttentionGate` gets the map that multiplies the features from its method `attend`. Flax's method
interception replaces the result; parameters and code of the network are unchanged. All gates of a network are
replaced. This works for any network with such gates.

    apply = lambda params, x: network.apply({"params": params}, x)
    gates = gate_maps(apply, params, observations)
    with replaced(make_replacement("mean", gates)):
        output = apply(params, observations)

Under `jax.jit` the `with` must be inside the traced function.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from fls_jax.networks.modules import AttentionGate, Extractor

TRAINED = "trained"
REPLACEMENTS = (TRAINED, "mean", "uniform", "shuffled", "other")
"""The names of replacements. `constant:V` with a number V is another."""
_CONSTANT = "constant:"
_OF_A_REFERENCE = ("mean", "uniform", "other")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Replacement:
    """The map that multiplies the features instead of the learnt one.

    kind: `trained` (the learnt map), `maps` (one of `maps`) or `shuffled` (its own values, permuted).
    maps: by the path of a gate, float32 [R, h, w] (or 1 for h and w); if R > 1, one is drawn per sample.
    constant: for gates that are not in `maps`. seed: uint32, for random choices.
    """

    kind: str = field(metadata={"static": True})
    maps: dict[str, Any]
    constant: Any
    seed: Any


def check_name(name: str) -> str:
    """Return `name` if it names a replacement; else raise ValueError with the known names."""
    if name not in REPLACEMENTS and not math.isfinite(_value(name)):
        raise ValueError(
            f"There is no replacement {name!r} for attention; choose one of: {', '.join(REPLACEMENTS)}, "
            "constant:V with a finite number V."
        )
    return name


def needs_reference(name: str) -> bool:
    """Whether the replacement is made from maps of other moments."""
    return check_name(name) in _OF_A_REFERENCE


def make_replacement(name: str, gates: Mapping[str, ArrayLike] | None = None, seed: int = 0) -> Replacement:
    """The replacement called `name`:

    - `trained`: no replacement, the learnt map.
    - `mean`: at every position the mean over the reference's moments.
    - `uniform`: one value everywhere, the mean over the reference's moments and positions.
    - `shuffled`: the map's own values; the positions are permuted separately for each observation.
    - `other`: the map of one moment of the reference, drawn separately for each observation.
    - `constant:V`: V everywhere.

    gates: the reference's maps by gate, float32 [R, h, w] (`gate_maps`); needed for mean, uniform, other.
    seed: for random choices, which depend on it and the observation, but not on the rest of the batch.
    Raises ValueError for another name, or if a needed reference is missing.
    """
    gates = {path: jnp.asarray(maps) for path, maps in (gates or {}).items()}
    if needs_reference(name) and not (gates and all(len(maps) for maps in gates.values())):
        raise ValueError(f"The replacement {name!r} is made from maps of other moments: give a reference.")
    maps: dict[str, Array] = {}
    if name == "mean":
        maps = {path: jnp.mean(each, axis=0, keepdims=True) for path, each in gates.items()}
    elif name == "uniform":
        maps = {path: jnp.mean(each, keepdims=True) for path, each in gates.items()}
    elif name == "other":
        maps = gates
    kind = name if name in (TRAINED, "shuffled") else "maps"
    constant = _value(name) if name.startswith(_CONSTANT) else math.nan
    return Replacement(kind, maps, jnp.float32(constant), jnp.uint32(seed))


@contextmanager
def replaced(replacement: Replacement) -> Generator[None]:
    """In this block, gates multiply by the replacement and return it as their map."""
    if replacement.kind == TRAINED:
        yield
        return

    def instead(path: str, attention: Array, sample: Array) -> Array:
        keys = _keys(sample, replacement.seed)
        if replacement.kind == "shuffled":
            return _permuted(attention, keys, zlib.crc32(path.encode()))
        maps = replacement.maps.get(path, replacement.constant[None, None, None])
        if len(maps) > 1:
            # The key does not depend on the gate, so every gate gets the same moment.
            chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(maps)))(keys)
            maps = maps[chosen]
        return jnp.broadcast_to(maps, attention.shape)

    with _intercepted(instead):
        yield


def gate_maps(apply: Callable[..., Any], *args: Any) -> dict[str, Array]:
    """The map of every gate by its path in the network, float32 [B, h, w], while apply(*args) computes."""
    seen: dict[str, list[Array]] = {}

    def keep(path: str, attention: Array, _: Array) -> Array:
        seen.setdefault(path, []).append(attention)
        return attention

    with _intercepted(keep):
        apply(*args)
    return {path: jnp.concatenate(parts) for path, parts in seen.items()}  # a batch may come in slices


@contextmanager
def _intercepted(function: Callable[[str, Array, Array], Array]) -> Generator[None]:
    """Gates return function(path, attention [B, h, w], input samples [B, ...])."""
    observations: list[Array] = []

    def interceptor(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module, method = context.module, context.method_name
        if isinstance(module, Extractor) and method == "look":
            observations[:] = args
        result = call(*args, **kwargs)
        if isinstance(module, AttentionGate) and method == "attend":
            return function("/".join(module.path), result, *(observations or args))
        return result

    with nn.intercept_methods(interceptor):
        yield


def _value(name: str) -> float:
    """V of `constant:V`, NaN for anything else."""
    try:
        return float(name.removeprefix(_CONSTANT)) if name.startswith(_CONSTANT) else math.nan
    except ValueError:
        return math.nan


def _keys(sample: Array, seed: Array) -> Array:
    """A key for each of B samples [B, ...], computed from the sample's own bits."""
    flat = sample.reshape(len(sample), -1)
    if jnp.issubdtype(flat.dtype, jnp.floating):
        flat = jax.lax.bitcast_convert_type(flat.astype(jnp.float32), jnp.uint32)
    # Odd multipliers keep all bits of a value and make its position count (Knuth's, modulo 2^32).
    weights = 2 * jnp.arange(flat.shape[1], dtype=jnp.uint32) * jnp.uint32(2654435761) + jnp.uint32(1)
    bits = jnp.sum(flat.astype(jnp.uint32) * weights[None], axis=1, dtype=jnp.uint32)
    return jax.vmap(lambda each: jax.random.fold_in(jax.random.key(seed), each))(bits)


def _permuted(attention: Array, keys: Array, gate: int) -> Array:
    flat = attention.reshape(len(attention), -1)
    keys = jax.vmap(lambda key: jax.random.fold_in(key, gate))(keys)
    return jax.vmap(jax.random.permutation)(keys, flat).reshape(attention.shape)
