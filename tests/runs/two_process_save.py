"""One of two processes that save a checkpoint together: PORT PROCESS RUN_DIR. Started by test_agent.py."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fls_jax.runs.checkpoints import CheckpointStore
from tests.oracles import networks as oracle
from tests.run_folders import flax_params

NETWORK, ACTIONS, STEP = "cnn_sparse_fls_pool", 6, 96


def parameters() -> oracle.Parameters:
    return oracle.random_parameters(NETWORK, ACTIONS, np.random.default_rng(7))


def main(port: str, process: str, run_dir: str) -> None:
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def spread(x: np.ndarray) -> jax.Array:
        # Each process holds half of the large matrices and a copy of the rest.
        halves = x.ndim == 2 and x.shape[0] % 2 == 0
        sharding = NamedSharding(mesh, PartitionSpec("data") if halves else PartitionSpec())
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    params = jax.tree.map(spread, flax_params(parameters()))
    assert not params["extractor"]["dense"]["kernel"].is_fully_addressable
    store = CheckpointStore(Path(run_dir) / "checkpoints")
    store.save(STEP, params, {"update": spread(np.zeros((), np.int32))})
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
