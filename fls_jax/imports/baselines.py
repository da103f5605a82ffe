"""The authors' released models as run folders.

They were trained with OpenAI Baselines: a folder `<Game>.<network>/<seed>` with `config.json` (its
`env_name` and `network`) and `model.pkl`, a joblib dump of a dict from TensorFlow variable to array.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.atari.emulator import action_names
from fls_jax.atari.pool import games, resolve_game
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.imports.pickled_arrays import UnsafePickleError, load_arrays
from fls_jax.networks.modules import ActorCritic
from fls_jax.networks.specs import NETWORKS, NetworkSpec
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.files import replacing
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.provenance import commit, versions
from fls_jax.types import Params


def import_baselines(experiment_dir: Path, run_dir: Path) -> RunFolder:
    """Write the authors' model in `experiment_dir` as a new run folder with a checkpoint at step 0.

    The run's `preprocessing` is `baselines`. The folder is written atomically. Raises UserError if the files
    are missing, damaged, unsafe or of another shape, or if run_dir exists.
    """
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UserError(f"{run_dir} exists already: choose another RUN_DIR, or remove it.")
    game, network = _read_config(experiment_dir / "config.json")
    actions = action_names(games()[game])
    model = experiment_dir / "model.pkl"
    params = tensorflow_params(_read_model(model), NETWORKS[network], len(actions), str(model))
    name = experiment_dir.resolve().name
    seed = int(name) if name.isdecimal() and int(name) < 2**31 else 0
    details = {
        "action_names": list(actions),
        "preprocessing": "baselines",
        "step": 0,
        "imported": {"from": str(experiment_dir), "sha256": hashlib.sha256(model.read_bytes()).hexdigest()},
        "versions": versions(),
        "commit": commit(),
    }
    _write_run(run_dir, TrainConfig(game=game, network=network, seed=seed), details, params)
    return RunFolder(run_dir)


def tensorflow_params(
    variables: dict[str, np.ndarray], spec: NetworkSpec, num_actions: int, source: str
) -> Params:
    """Convert a network's TensorFlow variables to ActorCritic's float32 parameters; others are ignored.

    Kernels have the same layout in both, [height, width, in, out] and [in, out]; TensorFlow's biases of
    convolutions are [1, out, 1, 1]. Raises UserError, naming `source` and the variable, if one is missing, of
    another shape, or not finite.
    """
    network = ActorCritic(spec, num_actions)
    example = jax.ShapeDtypeStruct((1, 84, 84, 4), jnp.uint8)
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]

    def take(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        *layer, kind = (key.key for key in path)
        name = f"ppo2_model/{_scope(layer, spec)}/{'w' if kind == 'kernel' else 'b'}:0"
        is_conv_bias = kind == "bias" and layer[-1] not in ("dense", "policy", "value")
        expected = (1, leaf.shape[0], 1, 1) if is_conv_bias else leaf.shape
        if name not in variables:
            raise UserError(f"{source} has no variable {name} (shape {list(expected)} in {spec.name}).")
        array = variables[name]
        if array.shape != expected or array.dtype.kind != "f":
            raise UserError(
                f"{source}: {name} is {array.dtype} {list(array.shape)}; in {spec.name} for {num_actions} "
                f"actions it must be float {list(expected)}."
            )
        if not np.isfinite(array).all():
            raise UserError(f"{source}: {name} has values that are not finite; the model is damaged.")
        return array.astype(np.float32).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(take, shapes)


def _scope(layer: list[str], spec: NetworkSpec) -> str:
    """TensorFlow scope of one of our layers: ['extractor', 'attention3', 'hidden'] -> 'pi/h1'."""
    match layer:
        case ["policy"]:
            return "pi"
        case ["value"]:
            return "vf"
        case ["extractor", "dense"]:
            return "pi/fc1"
        case ["extractor", conv]:
            return f"pi/c{conv.removeprefix('conv')}"
    _, gate, part = layer
    convolution = {"hidden": "h1", "score": "h2"}[part]
    if spec.attention and spec.attention.after == (3,):
        return f"pi/{convolution}"
    return f"pi/h{gate.removeprefix('attention')}/{convolution}"


def _read_config(file: Path) -> tuple[str, str]:
    """(game in EnvPool's spelling, network) of the authors' config.json."""
    try:
        values = json.loads(file.read_text())
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}): EXPERIMENT_DIR must be one of the authors' folders, "
            "<Game>.<network>/<seed>, with config.json and model.pkl."
        ) from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}).") from error
    values = values if isinstance(values, dict) else {}
    for key in ("env_name", "network"):
        if not isinstance(values.get(key), str):
            raise UserError(f"{file}: {key} is {values.get(key)!r}; it must be a name.")
    if values["network"] not in NETWORKS:
        raise UserError(f"{file} names the network {values['network']!r}; known are: {', '.join(NETWORKS)}.")
    return resolve_game(values["env_name"]), values["network"]


def _read_model(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_arrays(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from error
    except UnsafePickleError as error:
        raise UserError(f"{file} was not loaded: {error}. Nothing in it was run.") from error
    except ValueError as error:
        raise UserError(f"{file} cannot be read: {error}.") from error


def _write_run(run_dir: Path, config: TrainConfig, details: dict[str, Any], params: Params) -> None:
    with replacing(run_dir) as part:
        part.mkdir()
        RunFolder(part).write_config(config, details)
        store = CheckpointStore(part / "checkpoints")
        # An imported model has no optimiser; its learner holds only the number of updates, 0.
        store.save(0, params, {"update": np.zeros((), np.int32)})
        store.close()
