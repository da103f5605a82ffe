"""The same command again: resumes, says that it is finished, or refuses another configuration."""

from __future__ import annotations

import json

import pytest

from fls_jax.checkpoints import checkpoint_steps
from tests.processes import (
    TOTAL,
    UPDATE_STEPS,
    UPDATES,
    Training,
    assert_refused,
    read_rows,
    run_training,
)
from tests.training_job.conftest import log_of


def test_a_run_has_what_is_promised(finished):
    rows = read_rows(finished)
    assert [row["update"] for row in rows] == list(range(1, UPDATES + 1))
    assert [row["env_step"] for row in rows] == [UPDATE_STEPS * row["update"] for row in rows]
    assert checkpoint_steps(finished / "checkpoints") == [TOTAL - 320, TOTAL - 160, TOTAL]
    config = json.loads((finished / "config.json").read_text())
    assert config["game"] == "Pong"
    assert config["total_steps"] == TOTAL
    assert config["action_names"] == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert {"versions", "commit", "preprocessing", "learning_rate"} <= set(config)
    assert all(set(row) == set(rows[0]) for row in rows)


def test_a_finished_run_says_so(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    # How a run is executed may change; only what it computes may not.
    run = run_training(finished, "--checkpoint-every=7")
    assert run.returncode == 0, run.stderr
    assert "finished" in run.stdout
    assert f"{TOTAL:,} steps" in run.stdout
    assert str(finished) in run.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_changed_configuration_is_refused_with_the_difference(finished):
    run = run_training(finished, "--learning-rate=1e-3", "--seed=2")
    assert_refused(run, "seed: 1 -> 2", "learning_rate: 0.00025 -> 0.001", "--fresh", str(finished))
    assert len(read_rows(finished)) == UPDATES


def test_a_wrong_type_in_the_config_is_a_sentence(finished):
    file = finished / "config.json"
    text = file.read_text().replace('"num_envs": 2', '"num_envs": "2"')
    file.write_text(text)
    assert_refused(run_training(finished), str(file), "num_envs is '2'", "type int")
    assert file.read_text() == text


def test_the_same_command_resumes(interrupted_once, finished_once):
    """From the last update to the end: no row twice or missing, the earlier ones as they were."""
    rows_before, rows = read_rows(interrupted_once), read_rows(finished_once)
    step = rows_before[-1]["env_step"]
    checkpoint = finished_once / "checkpoints" / str(TOTAL)
    output = log_of(finished_once).read_text()
    assert f"Resuming {finished_once} at step {step}; the games start anew." in output
    assert f"Finished at step {TOTAL:,} of {TOTAL:,}. Checkpoint: {checkpoint}" in output
    before = (interrupted_once / "metrics.jsonl").read_bytes()
    assert (finished_once / "metrics.jsonl").read_bytes().startswith(before)
    assert [row["update"] for row in rows] == list(range(1, UPDATES + 1))
    first, last = rows[len(rows_before)], rows_before[-1]
    # The schedule goes on, the count of games too, and the clock of earlier sittings.
    assert first["learning_rate"] == pytest.approx(2.5e-4 * (1 - len(rows_before) / UPDATES))
    assert rows[-1]["episodes"] == last["episodes"] + (TOTAL - step) // 2 // 40 * 2
    assert first["seconds_total"] > last["seconds_total"]
    # A game finished before is still in the mean.
    assert last["eprewmean"] is not None
    assert first["eprewmean"] is not None


def test_fresh_sets_the_old_folder_aside(finished, tmp_path):
    def content(folder):
        files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
        return {p.relative_to(folder): p.read_bytes() for p in files}

    before = content(finished)
    aside = finished.with_name("finished.old-1")
    with Training(finished, tmp_path / "log", "--fresh", "--seed=2") as training:
        training.wait_until(lambda: aside.exists() and (finished / "config.json").exists())
    assert content(aside) == before
    assert checkpoint_steps(finished / "checkpoints") == []
    assert json.loads((finished / "config.json").read_text())["seed"] == 2
