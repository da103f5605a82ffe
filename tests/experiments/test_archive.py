"""Records for the repository: nothing lost, no path of this machine in them; training goes on from them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil

import chex
import jax
import numpy as np
import pytest

from experiments.analysis.runs import load_runs
from experiments.commands.archive import Settings, archive, main
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.checkpoints import checkpoint_steps, load_item
from fls_jax.runs.folder import open_run
from fls_jax.runs.record import Record, read_record
from fls_jax.train.job import Tracking, train
from tests.experiments.agents import write_agent
from tests.experiments.folders import row
from tests.run_folders import edit_config

TINY = TrainConfig(
    game="Pong", network="cnn_sparse_fls_pool", num_envs=2, rollout_length=4, minibatches=1, epochs=1,
    total_steps=16,
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A finished run, with what the jobs leave in its folder."""
    run = write_agent(tmp_path / "run")
    for name in (
        "attention/2048-standard.json",
        "gaze/paper-screen/frames.csv",
        "gaze/paper-screen/trials.json",
        "saliency/2048-48-1000/scores.csv",
        "saliency/2048-48-1000/maps/gradient.npz",
        "video/2048.mp4",
        "wandb/x",
        "wandb/train-run-id",
        "sessions.jsonl",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"content of {name}")
    summary = {
        "run": str(run),
        "dataset": {"path": str(tmp_path / "data"), "release": "v1"},
        "complete": False,
    }
    (run / "gaze" / "paper-screen" / "summary.json").write_text(json.dumps(summary))
    return run


def test_a_finished_run_is_kept_without_its_checkpoint(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["archive", str(run), "--out", str(tmp_path / "kept")])
    assert main() == 0
    kept = tmp_path / "kept" / "Breakout" / "cnn_sparse_fls_pool" / "seed3"
    assert capsys.readouterr().out.startswith(f"{kept}: ")
    assert {path.name for path in kept.iterdir()} == {
        "config.json", "metrics.jsonl.gz", "sessions.jsonl", "evaluation", "attention", "gaze", "saliency",
        "wandb",
    }  # fmt: skip
    assert [path.name for path in kept.rglob("saliency/*/*")] == ["scores.csv.gz"]
    for name in (
        "config.json", "sessions.jsonl", "attention/2048-standard.json", "gaze/paper-screen/trials.json",
        "wandb/train-run-id",
    ):  # fmt: skip
        assert (kept / name).read_bytes() == (run / name).read_bytes()
    scores = "saliency/2048-48-1000/scores.csv"
    assert gzip.decompress((kept / f"{scores}.gz").read_bytes()) == (run / scores).read_bytes()
    assert read_record(kept / "metrics.jsonl") == read_record(run / "metrics.jsonl")
    assert [path.name for path in (kept / "wandb").iterdir()] == ["train-run-id"]
    summary = json.loads((kept / "gaze" / "paper-screen" / "summary.json").read_text())
    assert (summary["run"], summary["dataset"]) == ("run", {"path": "data", "release": "v1"})
    shutil.rmtree(kept / "attention")  # a text of this test, no table
    (found,) = load_runs([tmp_path / "kept"]).runs
    assert len(found.evaluations) == 1
    everything = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in everything


def test_training_goes_on_from_what_was_kept_of_an_unfinished_run(tmp_path):
    train(TINY, tmp_path / "run", tracking=Tracking("off"))
    longer = dataclasses.replace(TINY, total_steps=32)
    edit_config(tmp_path / "run", total_steps=32)  # as if it had been stopped half-way
    kept = archive(Settings(tmp_path / "run", out=tmp_path / "kept"))
    rows = read_record(kept / "metrics.jsonl")
    assert [each["env_step"] for each in rows] == [8, 16]
    (step,) = checkpoint_steps(kept / "checkpoints")
    before, after = (
        {item: load_item(folder / "checkpoints", step, item) for item in ("params", "learner")}
        for folder in (tmp_path / "run", kept)
    )
    after["params"] = jax.tree.map(lambda x: x.astype(np.float32), after["params"])
    chex.assert_trees_all_close(before["params"], after["params"], rtol=2**-11, atol=2**-25)
    moments = [
        jax.tree.map(lambda x: x.astype(np.float32), each["learner"]["optimiser"]) for each in (before, after)
    ]
    chex.assert_trees_all_close(*moments, rtol=2**-8)
    assert before["learner"]["statistics"].keys() == after["learner"]["statistics"].keys()
    record_alone = archive(Settings(tmp_path / "run", out=tmp_path / "records", checkpoint=False))
    assert not (record_alone / "checkpoints").exists()
    assert read_record(record_alone / "metrics.jsonl") == rows
    shutil.copytree(kept, tmp_path / "elsewhere")
    train(longer, tmp_path / "elsewhere", tracking=Tracking("off"))
    resumed = read_record(tmp_path / "elsewhere" / "metrics.jsonl")
    assert resumed[:2] == rows
    assert [each["env_step"] for each in resumed] == [8, 16, 24, 32]

    assert archive(Settings(tmp_path / "elsewhere", out=tmp_path / "kept")) == kept
    assert not (kept / "checkpoints").exists()
    assert read_record(kept / "metrics.jsonl") == resumed
    with pytest.raises(UserError, match="later state of this one: give --replace"):
        archive(Settings(tmp_path / "run", out=tmp_path / "kept"))
    assert read_record(kept / "metrics.jsonl") == resumed


def test_what_a_killed_run_had_after_its_checkpoint_may_change(run, tmp_path):
    kept = archive(Settings(run, out=tmp_path / "kept"))
    with gzip.open(kept / "metrics.jsonl.gz", "at") as record:
        record.write(json.dumps(row(3, 5.0)) + "\n")
    archive(Settings(run, out=tmp_path / "kept"))
    assert read_record(kept / "metrics.jsonl") == read_record(run / "metrics.jsonl")


def test_beside_the_pilot_only_the_pilot_is_kept(run, tmp_path, monkeypatch):
    home = tmp_path / "pilot"
    monkeypatch.setattr("experiments.commands.archive.HOME", home)
    with pytest.raises(UserError, match=r"is not a run of the pilot \(there is no Cell\(game='Breakout'"):
        archive(Settings(run, out=home))
    edit_config(run, network="cnn", seed=1)
    with pytest.raises(
        UserError,
        match=r"a run of the pilot \(total_steps: 2000000 -> 2048\)",
    ):
        archive(Settings(run, out=home))
    assert not home.exists()


def test_another_runs_record_is_replaced_only_when_asked(run, tmp_path):
    kept = archive(Settings(run, out=tmp_path / "kept"))
    (run / "metrics.jsonl").unlink()
    record = Record(run / "metrics.jsonl")
    record.write(row(1, 77.0))
    record.close()
    before = read_record(kept / "metrics.jsonl")
    with pytest.raises(UserError, match="holds another run"):
        archive(Settings(run, out=tmp_path / "kept"))
    assert read_record(kept / "metrics.jsonl") == before
    archive(Settings(run, out=tmp_path / "kept", replace=True))
    assert read_record(kept / "metrics.jsonl") == read_record(run / "metrics.jsonl") != before
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize("name", ["game", "network"])
def test_a_config_cannot_name_a_place_outside(run, tmp_path, name):
    edit_config(run, **{name: "../../elsewhere"})
    with pytest.raises(UserError, match=r"There is no (game|network) '../../elsewhere'"):
        archive(Settings(run, out=tmp_path / "a" / "b" / "kept"))
    assert not list(tmp_path.rglob("elsewhere"))


def test_what_cannot_be_kept_is_said(run, tmp_path, monkeypatch, capsys):
    with open_run(run), pytest.raises(UserError, match="is being trained: stop it"):
        archive(Settings(run, out=tmp_path / "kept"))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint: train it first"):
        archive(Settings(run, out=tmp_path / "kept"))
    monkeypatch.setattr("sys.argv", ["archive", str(tmp_path / "nothing")])
    assert main() == 2
    assert capsys.readouterr().err.startswith("archive: ")
    assert not (tmp_path / "kept").exists()
