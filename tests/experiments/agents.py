"""Runs with a checkpoint, a record and an evaluation, in a second: what agents are shipped from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.commands.ship import Settings, ship
from fls_jax.runs.record import Record
from tests import run_folders
from tests.experiments.folders import PROVENANCE, row, write_evaluation

STEP = 2048


def write_agent(
    path: Path,
    network: str = "cnn_sparse_fls_pool",
    game: str = "Breakout",
    returns: Sequence[float] = (1, 4),
    seed: int = 3,
) -> Path:
    """A finished run of two updates."""
    run_folders.write_run(path, network, game, seed=seed, step=STEP)
    details = {name: PROVENANCE[name] for name in ("backend", "machine", "commit")}
    run_folders.edit_config(path, total_steps=STEP, versions={"python": "3.11.9", "jax": "0.10.2"}, **details)
    record = Record(path / "metrics.jsonl")
    for update in (1, 2):
        record.write(row(update, 1.25 * update, sps=0.25))
    record.close()
    write_evaluation(path, returns, step=STEP, game=game)
    return path


def shipped(path: Path, out: Path, **options: object) -> Path:
    """A run of `write_agent`, shipped."""
    return ship(Settings(write_agent(path, **options), out=out))
