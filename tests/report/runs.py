"""Run folders for reports: agents that play, with a record and evaluations."""

from __future__ import annotations

from pathlib import Path

from fls_jax.runs.record import Record
from tests.experiments.folders import row, write_evaluation, write_gaze
from tests.run_folders import add_checkpoint, write_run

STEP = 64
NETWORKS = ("cnn", "cnn_sparse_fls_pool")


def write_agent(
    path: Path, network: str, returns: list[float], seed: int = 3, game: str = "Breakout"
) -> Path:
    """A run of a short record, an undecided policy and an evaluation of these returns."""
    parameters = write_run(path, network, game, seed=seed)
    add_checkpoint(path, STEP, parameters | {"policy/kernel": 0.02 * parameters["policy/kernel"]})
    record = Record(path / "metrics.jsonl")
    for update in range(1, 40):
        record.write(row(update, None if update < 5 else float(update + seed)))
    record.close()
    write_evaluation(path, returns, STEP, game=game)
    return path


def write_pair(root: Path) -> list[Path]:
    """A baseline and an attention agent of Breakout, the latter with human gaze."""
    paths = [
        write_agent(root / "cnn", "cnn", [1, 2, 3, 2]),
        write_agent(root / "fls", "cnn_sparse_fls_pool", [10, 11, 12, 10]),
    ]
    scores = {"model": {"nss": 0.5, "kl": 3.4}, "uniform": {"nss": 0.9, "kl": None}}
    write_gaze(paths[1], scores, STEP)
    return paths
