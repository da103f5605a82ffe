"""Several seeds in one process, each in a folder of its own, as single runs leave them."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.fleet import Fleet
from fls_jax.runs.checkpoints import load_params
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.train.job import Tracking, train
from fls_jax.train.seeds import SET_BACK, parse_seeds, train_seeds
from tests.processes import SMALLEST, assert_raises, read_rows, run_fls

CONFIG = TrainConfig(
    game="Pong",
    network="cnn_sparse_fls_pool",
    total_steps=16 * 4,
    num_envs=2,
    rollout_length=8,
    minibatches=1,
    epochs=1,
    max_episode_steps=12,
    checkpoint_every=2,
)
SEEDS = (1, 9)
OFF = Tracking("off")


@pytest.fixture(scope="module")
def together_once(tmp_path_factory):
    """Two seeds trained at once, in seed1 and seed9."""
    home = tmp_path_factory.mktemp("together")
    train_seeds(CONFIG, SEEDS, home, tracking=OFF)
    return home


@pytest.fixture
def together(together_once, tmp_path):
    return shutil.copytree(together_once, tmp_path / "together")


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*"))


def test_each_folder_is_as_a_single_run_leaves_it(together_once, tmp_path):
    alone = tmp_path / "alone"
    train(dataclasses.replace(CONFIG, seed=9), alone, tracking=OFF)
    folder = together_once / "seed9"
    assert contents(folder) == contents(alone)
    ours, theirs = (json.loads((each / "config.json").read_text()) for each in (folder, alone))
    assert ours == theirs
    assert ours["seed"] == 9
    assert checkpoint_steps(folder / "checkpoints") == checkpoint_steps(alone / "checkpoints") == [32, 64]
    rows, rows_alone = read_rows(folder), read_rows(alone)
    assert [row["env_step"] for row in rows] == [16, 32, 48, 64]
    for row, expected in zip(rows, rows_alone, strict=True):
        assert list(row) == list(expected)
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-2, abs=1e-4)
        assert (row["eprewmean"], row["episodes"]) == (expected["eprewmean"], expected["episodes"])
        assert row["sps"] > 0
    (_, params), (_, expected) = (load_params(each / "checkpoints") for each in (folder, alone))
    for name in ("policy", "value"):
        np.testing.assert_allclose(params[name]["kernel"], expected[name]["kernel"], atol=1e-5)


def test_finished_runs_are_left_alone_and_the_others_go_on(together, capsys):
    """Seed 9 lacks its last checkpoint; seed 1 is finished, and no file of it is touched."""
    shutil.rmtree(together / "seed9" / "checkpoints" / "64")
    finished = together / "seed1"
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    train_seeds(CONFIG, SEEDS, together, tracking=OFF)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert [row["env_step"] for row in read_rows(together / "seed9")] == [16, 32, 48, 64]
    assert "finished" in capsys.readouterr().out


def test_runs_that_ended_between_two_saves_go_on_from_the_step_that_both_have(together, capsys):
    longer = dataclasses.replace(CONFIG, total_steps=16 * 6)
    for seed in SEEDS:
        file = together / f"seed{seed}" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"total_steps": 16 * 6}))
    shutil.rmtree(together / "seed9" / "checkpoints" / "64")
    train_seeds(longer, SEEDS, together, tracking=OFF)
    assert (together / "seed1" / SET_BACK / "64-1").is_dir()
    for seed in SEEDS:
        folder = together / f"seed{seed}"
        assert [row["env_step"] for row in read_rows(folder)] == [16, 32, 48, 64, 80, 96]
        assert checkpoint_steps(folder / "checkpoints") == [32, 64, 96]
    assert "which not all runs have" in capsys.readouterr().out


def test_runs_that_are_far_apart_are_refused(together, tmp_path):
    longer = dataclasses.replace(CONFIG, total_steps=16 * 6)
    file = together / "seed1" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"total_steps": 16 * 6}))
    shutil.rmtree(together / "seed9")
    with pytest.raises(UserError, match=r"too far apart.*seed1 at 64.*seed9 at 0.*--seeds"):
        train_seeds(longer, SEEDS, together, tracking=OFF)
    assert checkpoint_steps(together / "seed1" / "checkpoints") == [32, 64]


def test_one_run_that_diverges_ends_and_the_others_go_on(monkeypatch, tmp_path):
    advance = Fleet.advance_all

    def spoilt(self):
        rows = advance(self)
        if self.updates == 3:
            rows[0]["loss"] = float("nan")
        return rows

    monkeypatch.setattr(Fleet, "advance_all", spoilt)
    with pytest.raises(UserError, match=r"Seed 1: Training diverged: loss not finite at update 3"):
        train_seeds(CONFIG, SEEDS, tmp_path, tracking=OFF)
    assert checkpoint_steps(tmp_path / "seed1" / "checkpoints") == [32]
    assert len(read_rows(tmp_path / "seed1")) == 2
    assert checkpoint_steps(tmp_path / "seed9" / "checkpoints") == [32, 64]
    assert len(read_rows(tmp_path / "seed9")) == 4


def test_each_run_is_a_run_of_its_own_to_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    short = dataclasses.replace(CONFIG, total_steps=16)
    train_seeds(short, SEEDS, tmp_path, tracking=Tracking("offline"))
    ids = [(tmp_path / f"seed{seed}" / "wandb" / "train-run-id").read_text() for seed in SEEDS]
    assert len(set(ids)) == 2
    for seed, identity in zip(SEEDS, ids, strict=True):
        (log,) = (tmp_path / f"seed{seed}" / "wandb").glob(f"offline-run-*/run-{identity}.wandb")
        assert log.stat().st_size > 0


def test_the_command_line_trains_several_and_refuses_what_is_no_list(tmp_path):
    run = run_fls("train", *SMALLEST, f"--run-dir={tmp_path}", "--seeds=3,5", "--total-steps=32")
    assert run.returncode == 0, run.stderr
    assert "Finished at step 32 of 32, 2 runs." in run.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed3", "seed5"]
    assert parse_seeds("1,9, 17") == (1, 9, 17)
    for text in ("", "1,", "1,1", "a,b"):
        with pytest.raises(UserError, match=f"--seeds is '{text}'"):
            parse_seeds(text)
    assert_raises(["train", *SMALLEST, "--seeds=1;2"], "--seeds is '1;2'", "separated by commas")
