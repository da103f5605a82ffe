"""What the job refuses before it trains, what it tells, and what it writes first."""

from __future__ import annotations

import dataclasses
import os

import jax.numpy as jnp
import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.trainer import Trainer
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.folder import RunFolder
from fls_jax.train.job import Tracking, train
from fls_jax.train.preparation import resolve
from tests.processes import read_rows
from tests.run_folders import ACTIONS, write_run

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
    with pytest.raises(UserError, match=r"but no config.json.*restore config.json, or .*--run-dir"):
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


def test_attention_that_dies_is_warned_of_once(tmp_path, capsys):
    """A large negative bias before the softplus, as high learning rates leave it, in a checkpoint."""
    config = dataclasses.replace(TINY, total_steps=64, learning_rate=0.0)
    trainer = Trainer(resolve(config))
    params, learner = trainer.checkpoint()
    trainer.close()
    params["extractor"]["attention3"]["score"]["bias"] = jnp.full(1, -300.0)
    store = CheckpointStore(tmp_path / "dead" / "checkpoints")
    store.save(16, params, learner | {"update": jnp.ones((), jnp.int32)})
    store.close()
    RunFolder(tmp_path / "dead").write_config(resolve(config), {"action_names": ["NOOP"]})
    capsys.readouterr()
    train(config, tmp_path / "dead", tracking=OFF)
    told = capsys.readouterr().out
    assert told.count("Warning: the attention has died (mean ") == 1
    assert "at step 32" in told


@pytest.mark.parametrize(
    ("game", "sticky", "words"),
    [
        ("ALE/Pong-v5", 0.0, ["ALE/Pong-v5 is another environment", "--sticky-actions 0.25"]),
        ("ALE/Pong-v5", 0.25, []),
        ("pong-ram-v0", 0.0, ["memory; here they are screens", "--sticky-actions 0.25"]),
        ("PongNoFrameskip-v4", 0.0, []),
        ("Pong-v5", 0.0, []),
    ],
)
def test_a_name_that_means_another_environment_elsewhere_is_told(tmp_path, capsys, game, sticky, words):
    finished = dataclasses.replace(TINY, total_steps=32, sticky_actions=sticky)
    write_run(tmp_path, step=32)
    RunFolder(tmp_path).write_config(finished, {"action_names": ACTIONS["Pong"]})
    train(dataclasses.replace(finished, game=game), tmp_path, tracking=OFF)
    told = capsys.readouterr().out
    assert told.count("Note: in other libraries") == bool(words)
    assert all(word in told for word in words)
    assert "a longer training is a run of its own" in told
