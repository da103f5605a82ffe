"""Updates of one rollout on one and on four devices, in float64, float32 and bfloat16: run with four devices.

XLA_FLAGS=--xla_force_host_platform_device_count=4 JAX_ENABLE_X64=1 python -m tests.ppo.mesh_updates FILE
"""

from __future__ import annotations

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fls_jax.config import TrainConfig
from fls_jax.networks.modules import initial_params
from fls_jax.ppo.fleet import build_network, network_apply
from fls_jax.ppo.update import init_train_state, make_update
from fls_jax.types import Trajectory

FLOAT32 = jnp.float32
T, N, ACTIONS = 4, 4, 6
CONFIG = TrainConfig(
    network="cnn_sparse_fls_pool",
    num_envs=N,
    rollout_length=T,
    minibatches=2,
    epochs=2,
    total_steps=T * N * 10,
)
# Of each variant: the compute type, how many devices, one program or several, microbatch.
VARIANTS = {
    "float64": ("float64", 1, False, 0),
    "float64-mesh": ("float64", 4, False, 0),
    "float64-mesh-scanned-micro": ("float64", 4, True, 4),
    "float32": ("float32", 1, False, 0),
    "float32-mesh": ("float32", 4, False, 0),
    "float32-mesh-scanned": ("float32", 4, True, 0),
    "bfloat16": ("bfloat16", 1, False, 0),
    "bfloat16-mesh-scanned-micro": ("bfloat16", 4, True, 4),
}


def rollout() -> Trajectory:
    """A rollout of noise, with games that end."""
    draw = np.random.default_rng(0)
    return Trajectory(
        draw.integers(0, 256, (T, N, 4, 84, 84), dtype=np.uint8),
        draw.integers(0, ACTIONS, (T, N), dtype=np.int32),
        np.full((T, N), -np.log(ACTIONS), np.float32),
        draw.normal(0, 0.1, (T, N)).astype(np.float32),
        draw.integers(-1, 2, (T, N)).astype(np.float32),
        draw.random((T, N)) < 0.1,
        np.zeros((T, N), bool),
        np.zeros((T, N), np.float32),
        draw.normal(0, 0.1, N).astype(np.float32),
    )


def updated(dtype: str, devices: int, scanned: bool, microbatch: int) -> np.ndarray:
    """All parameters after one update (four optimiser steps), as float64."""
    jnp.float32 = jnp.float64 if dtype == "float64" else FLOAT32  # heads, scores and optimiser too
    config = dataclasses.replace(CONFIG, compute_dtype=dtype, microbatch=microbatch)
    network = build_network(config, ACTIONS, devices)
    mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:devices])
    params = initial_params(network, jax.random.key(0))
    wide = jnp.float64 if dtype == "float64" else FLOAT32
    params = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), wide), params)
    state = jax.device_put(init_train_state(params, config), NamedSharding(mesh, PartitionSpec()))
    columns = [x.astype(wide) if x.dtype == np.float32 else x for x in rollout()]
    placed = [
        jax.device_put(x, NamedSharding(mesh, PartitionSpec(*[None] * (x.ndim > 1), "data"))) for x in columns
    ]
    update = make_update(network_apply(network), config, mesh if devices > 1 else None, scanned)
    key = jax.device_put(jax.random.key(1), NamedSharding(mesh, PartitionSpec()))
    state, _ = update(state, Trajectory(*placed), key)
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(state)} == {devices}
    return np.asarray(ravel_pytree(state.params)[0], np.float64)


def main(file: str) -> None:
    """Every variant's parameters, and those before, into an .npz file."""
    assert len(jax.devices()) == 4
    network = build_network(CONFIG, ACTIONS)
    start = np.asarray(ravel_pytree(initial_params(network, jax.random.key(0)))[0], np.float64)
    np.savez(file, start=start, **{name: updated(*variant) for name, variant in VARIANTS.items()})


if __name__ == "__main__":
    main(sys.argv[1])
