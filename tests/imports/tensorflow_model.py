"""Folders in the format of the authors' released models, written from the oracle's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests.oracles import networks as oracle


def variables(network: str, parameters: oracle.Parameters) -> dict[str, Any]:
    """The oracle's parameters as TensorFlow names and shapes them, with the optimiser's beside them."""
    several = network in ("cnn_sparse_fls_h1", "cnn_sparse_fls_x3")
    scopes = {"dense": "pi/fc1", "policy": "pi", "value": "vf"}
    scopes |= {f"conv{n}": f"pi/c{n}" for n in (1, 2, 3)}
    for n in (1, 2, 3):
        gate = f"pi/h{n}/" if several else "pi/"
        scopes |= {f"attention{n}/hidden": f"{gate}h1", f"attention{n}/score": f"{gate}h2"}
    found: dict[str, Any] = {}
    for key, value in parameters.items():
        layer, kind = key.rsplit("/", 1)
        array = value.astype(np.float32)
        if kind == "bias" and layer not in ("dense", "policy", "value"):
            array = array.reshape(1, -1, 1, 1)
        name = f"ppo2_model/{scopes[layer]}/{'w' if kind == 'kernel' else 'b'}:0"
        found[name] = array
        found[name.replace(":0", "/Adam:0")] = np.zeros_like(array)
    return found | {"beta1_power:0": np.float32(0.9), "beta2_power:0": np.float32(0.999)}


def write_experiment(
    path: Path, network: str, content: object, env_name: str = "BreakoutNoFrameskip-v4", **dump: object
) -> Path:
    """An experiment folder with `content` dumped as its model; returns `path`."""
    path.mkdir(parents=True, exist_ok=True)
    config = {"env_name": env_name, "network": network, "num_env": 8, "nsteps": 128}
    (path / "config.json").write_text(json.dumps(config))
    joblib.dump(content, path / "model.pkl", **dump)
    return path
