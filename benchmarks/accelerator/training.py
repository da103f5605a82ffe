"""A real training in the remaining time; a tar of some megabytes has its record and last parameters."""

from __future__ import annotations

import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from benchmarks.accelerator.journal import Journal
from fls_jax.config import PRESETS, TrainConfig
from fls_jax.ppo.trainer import Trainer
from fls_jax.runs.checkpoints import save_item
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.runs.record import Record

NETWORK = "cnn_patch_fls"
ENDING_SECONDS = 20.0


def action_names(game: str, count: int) -> list[str]:
    """ALE's names of a game's actions; numbers if ale-py is not installed."""
    try:
        from fls_jax.atari.emulator import action_names as names
        from fls_jax.atari.pool import games
    except ModuleNotFoundError:
        return [f"ACTION{number}" for number in range(count)]
    return list(names(games()[game]))


def planned(steps_per_second: float, seconds: float, rollout_length: int | None) -> TrainConfig:
    """Pong with `--preset throughput`, as long as time permits; the learning rate falls to 0 at the end."""
    config = replace(PRESETS["throughput"], game="Pong", network=NETWORK)
    if rollout_length:
        config = replace(config, rollout_length=rollout_length, num_envs=8)
    steps = max(int(steps_per_second * seconds), 2 * config.steps_per_update)
    return replace(config, total_steps=steps).validated()


def train(journal: Journal, steps_per_second: float, rollout_length: int | None = None) -> dict[str, Any]:
    """Train until the end of the plan or of the time. run.tar has the run's folder with its parameters."""
    config = planned(steps_per_second, 0.95 * (journal.left() - ENDING_SECONDS), rollout_length)
    with tempfile.TemporaryDirectory() as home:
        folder = RunFolder(Path(home) / "run")
        folder.path.mkdir()
        trainer = Trainer(config)
        record = Record(folder.record_file)
        began = last = time.perf_counter()
        row: dict[str, Any] = {}
        while trainer.env_step < config.last_step and (not row or journal.left() > ENDING_SECONDS):
            row = trainer.advance()
            now = time.perf_counter()
            row |= {
                "sps": config.steps_per_update / (now - last),
                "sps_overall": trainer.env_step / (now - began),
                "seconds_total": now - began,
            }
            last = now
            record.write(row)
        trainer.close()
        record.close()
        details = {
            "action_names": action_names(config.game, trainer.network.num_actions),
            "preprocessing": "envpool",
            "backend": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
            "versions": versions(),
            "machine": machine(),
            "commit": commit(),
        }
        folder.write_config(config, details)
        save_item(folder.checkpoints, trainer.env_step, "params", trainer.state.params)
        with tarfile.open(journal.out / "run.tar", "w:gz") as tar:
            tar.add(folder.path, arcname="run")
    names = ("update", "env_step", "eprewmean", "episodes", "loss", "entropy", "sps_overall", "seconds_total")
    return {"network": NETWORK, "planned_steps": config.last_step} | {name: row[name] for name in names}
