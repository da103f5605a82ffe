"""Checks before a training begins: the configuration, the machine, and what the folder already holds."""

from __future__ import annotations

import dataclasses

from fls_jax.atari.pool import GAME_BYTES, resolve_game
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.specs import NETWORKS, network_spec
from fls_jax.process.machine import check_machine, check_memory
from fls_jax.runs.checkpoints import load_params
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import read_record


def check_room(config: TrainConfig, runs: int = 1) -> None:
    """Raise UserError if this machine cannot compute, or has too little memory for so many runs at once."""
    check_machine()
    check_memory(
        runs * (config.rollout_bytes + config.num_envs * GAME_BYTES),
        f"{runs * config.num_envs:,} games and {config.rollout_length:,} steps of each",
        "lower --num-envs or --rollout-length",
    )


def resolve(config: TrainConfig) -> TrainConfig:
    """The validated configuration, with the game in EnvPool's spelling."""
    if config.network not in NETWORKS:
        raise UserError(f"There is no network {config.network!r}; choose one of: {', '.join(NETWORKS)}.")
    if config.attention_cost and network_spec(config.network).attention is None:
        raise UserError(
            f"--attention-cost is {config.attention_cost:g}, and {config.network} has no attention: leave it "
            "out, or choose another --network."
        )
    return dataclasses.replace(config, game=resolve_game(config.game)).validated()


def as_begun(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """The configuration to resume with: an older run keeps the values that it was begun with.

    Raises UserError if the folder holds a run of another configuration, or a run without config.json.
    """
    if folder.config_file.exists():
        config = config.going_on(folder.read_config())
        folder.check_same(config)
    elif checkpoint_steps(folder.checkpoints) or read_record(folder.record_file):
        raise UserError(
            f"{folder.path} has checkpoints or a record, but no config.json that describes them: restore "
            "config.json, or choose another --run-dir."
        )
    return config


def is_finished(config: TrainConfig, folder: RunFolder) -> bool:
    """Whether the folder's run is finished; if so, print that it is."""
    end = config.last_step
    finished = checkpoint_steps(folder.checkpoints)[-1:] >= [end] and _is_sound(folder)
    if finished:
        print(
            f"This run is finished: {end:,} steps in {folder.path}. --fresh trains it anew; a longer "
            "training is a run of its own, with another --total-steps and --run-dir."
        )
    return finished


def _is_sound(folder: RunFolder) -> bool:
    """Whether the latest checkpoint can be read; if not, the run resumes from an earlier one."""
    try:
        load_params(folder.checkpoints)
    except UserError:
        return False
    return True
