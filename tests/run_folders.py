"""Run folders for tests, written in a second, with parameters that make every output vary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from flax.traverse_util import unflatten_dict

from fls_jax.config import TrainConfig
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.folder import RunFolder
from tests.oracles import networks as oracle

ACTIONS = {
    "Pong": ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"],
    "Breakout": ["NOOP", "FIRE", "RIGHT", "LEFT"],
    "MsPacman": ["NOOP", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT"],
}


def flax_params(flat: oracle.Parameters) -> dict:
    """The oracle's flat parameters as the tree of float32 arrays that ActorCritic takes."""
    heads = ("policy", "value")
    return unflatten_dict(
        {
            name if name.split("/")[0] in heads else f"extractor/{name}": np.asarray(value, np.float32)
            for name, value in flat.items()
        },
        sep="/",
    )


def write_run(
    path: Path, network: str = "cnn_sparse_fls_pool", game: str = "Pong", seed: int = 0, step: int = 32
) -> oracle.Parameters:
    """Make a run folder at `path` with one checkpoint at `step`; returns the oracle's parameters."""
    parameters = oracle.random_parameters(network, len(ACTIONS[game]), np.random.default_rng(seed))
    path.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(game=game, network=network, seed=seed)
    RunFolder(path).write_config(config, {"action_names": ACTIONS[game], "preprocessing": "envpool"})
    add_checkpoint(path, step, parameters)
    return parameters


def add_checkpoint(path: Path, step: int, parameters: oracle.Parameters) -> None:
    """Save the oracle's parameters as the run's checkpoint at `step`."""
    store = CheckpointStore(path / "checkpoints")
    store.save(step, flax_params(parameters), {"update": np.zeros((), np.int32)})
    store.close()


def edit_config(path: Path, **values: object) -> None:
    """Change or, with None, remove entries of a run's config.json."""
    file = path / "config.json"
    config = json.loads(file.read_text()) | values
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
