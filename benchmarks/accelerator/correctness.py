"""Compares the accelerator's results with a CPU's: networks, updates, repeats, checkpoints.

All in float32 at precision `highest`. Without an accelerator the CPU is compared with itself, which only
shows that the benchmark runs. `reference` names the device of the reference.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fls_jax.config import TrainConfig
from fls_jax.networks.modules import ActorCritic, initial_params
from fls_jax.networks.specs import network_spec
from fls_jax.ppo.fleet import build_network, network_apply
from fls_jax.ppo.trainer import Trainer
from fls_jax.ppo.update import make_update
from fls_jax.runs.checkpoints import CheckpointStore, load_params

SMALL = TrainConfig(network="cnn_sparse_fls", num_envs=4, rollout_length=8, total_steps=32 * 100)
ACTIONS = 6


def cpu() -> Any:
    """The device of the reference."""
    return jax.devices("cpu")[0]


def network_error(name: str, batch: int = 2) -> dict[str, float]:
    """Largest difference of logits, values and attention to the CPU's, divided by the CPU's largest value."""
    network = ActorCritic(network_spec(name), ACTIONS, precision="highest")
    generator = np.random.default_rng(0)
    observations = generator.integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8)

    def forward(device: Any) -> list[np.ndarray]:
        with jax.default_device(device):
            params = jax.device_put(start, device)
            output = jax.jit(network.apply)({"params": params}, jax.device_put(observations, device))
            return [np.asarray(column, np.float64) for column in jax.device_get(output)]

    with jax.default_device(cpu()):
        start = jax.device_get(initial_params(network, jax.random.key(0)))
    ours, theirs = forward(jax.devices()[0]), forward(cpu())
    errors = [np.abs(a - b).max() / max(np.abs(b).max(), 1e-12) for a, b in zip(ours, theirs, strict=True)]
    return {name: float(e) for name, e in zip(("logits", "value", "attention"), errors, strict=True)}


def update_errors(updates: int = 2) -> dict[str, Any]:
    """A trainer's updates on the accelerator against the same updates of the same rollouts on a CPU.

    Returns the distance of the parameters after each update, divided by the distance that they moved.
    """
    trainer = Trainer(SMALL)
    update = make_update(network_apply(build_network(SMALL, ACTIONS)), SMALL, scanned=True)
    reference = _on_cpu(trainer.state)
    start = ravel_pytree(reference.params)[0]
    errors = []
    lanes_update = trainer.lanes.update
    for _ in range(updates):
        seen: list[Any] = []

        def watched(states: Any, trajectory: Any, keys: Any, seen: list[Any] = seen) -> Any:
            seen += [_on_cpu(trajectory), _on_cpu(jax.random.key_data(keys))]
            return lanes_update(states, trajectory, keys)

        trainer.lanes.update = watched  # ty: ignore[invalid-assignment]
        trainer.advance()
        trajectory, key_data = seen
        with jax.default_device(cpu()):
            reference, _ = update(reference, trajectory, jax.random.wrap_key_data(key_data)[0])
            theirs = ravel_pytree(reference.params)[0]
            ours = ravel_pytree(_on_cpu(trainer.state.params))[0]
            errors.append(float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs - start)))
    trainer.close()
    return {"relative_distance": errors, "updates": updates}


def _on_cpu(tree: Any) -> Any:
    """Copy the tree's arrays to the CPU, into new memory."""
    return jax.tree.map(lambda x: jax.device_put(np.array(x), cpu()), jax.device_get(tree))


def repeat_error(updates: int = 2) -> dict[str, Any]:
    """The largest difference of the parameters of two runs of the same seed; 0: equal bits."""
    ends = []
    for _ in range(2):
        trainer = Trainer(SMALL)
        for _ in range(updates):
            trainer.advance()
        trainer.close()
        ends.append(np.asarray(ravel_pytree(jax.device_get(trainer.state.params))[0]))
    return {"largest_difference": float(np.abs(ends[0] - ends[1]).max()), "updates": updates}


def checkpoint_error() -> dict[str, float]:
    """A checkpoint of the accelerator loaded on the CPU: differences of the parameters and of logits."""
    trainer = Trainer(replace(SMALL, seed=9))
    trainer.advance()
    trainer.close()
    params, learner = trainer.checkpoint()
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        store.save(trainer.env_step, params, learner)
        store.close()
        _, loaded = load_params(Path(folder))
    there = jax.device_get(trainer.state.params)
    differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), there, loaded)
    observations = np.random.default_rng(1).integers(0, 256, (2, 84, 84, 4), dtype=np.uint8)
    network = ActorCritic(network_spec(SMALL.network), ACTIONS, precision="highest")
    with jax.default_device(cpu()):
        logits = jax.jit(network.apply)({"params": loaded}, observations).logits
    own = jax.jit(network.apply)({"params": trainer.state.params}, observations).logits
    error = float(np.abs(np.asarray(own) - np.asarray(logits)).max() / np.abs(np.asarray(logits)).max())
    return {"parameters": max(jax.tree.leaves(differences)), "logits": error}
