"""What the job refuses before it trains, what it tells, and what it writes first."""

from __future__ import annotations

import dataclasses
import os

import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.train.job import Tracking, train
from tests.processes import read_rows
from tests.run_folders import write_run

OFF = Tracking("off")
TINY = TrainConfig(
    network="cnn_sparse_fls_pool", total_steps=32, num_envs=2, rollout_length=8, minibatches=1, epochs=1
)


@pytest.mark.parametrize("left", ["checkpoints", "metrics.jsonl"])
def test_a_folder_without_a_configuration_is_not_trained_over(tmp_path, left):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    if left == "metrics.jsonl":
        (tmp_path / "run" / "checkpoints").rename(tmp_path / "elsewhere")
        (tmp_path / "run" / left).write_text('{"env_step": 16}\n')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"and no config.json.*put config.json back, or .*--run-dir"):
        train(TINY, tmp_path / "run", tracking=OFF)
    assert {*tmp_path.rglob("*")} - {tmp_path / "run" / ".lock"} == {*before}


def test_the_record_is_on_the_disk_before_its_checkpoint(tmp_path, monkeypatch):
    order: list[tuple[str, int]] = []
    fsync, save = os.fsync, CheckpointStore.save

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "run" / "metrics.jsonl")):
            order.append(("record", read_rows(tmp_path / "run")[-1]["env_step"]))

    def saved(store: CheckpointStore, step: int, *items: dict) -> None:
        order.append(("checkpoint", step))
        save(store, step, *items)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(CheckpointStore, "save", saved)
    train(dataclasses.replace(TINY, checkpoint_every=1), tmp_path / "run", tracking=OFF)
    assert order == [(what, step) for step in (16, 32) for what in ("record", "checkpoint")]
