"""The same command again: resumes, says that it is finished, or refuses another configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fls_jax.runs import contents
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import read_record
from tests.processes import (
    SMALLEST,
    TOTAL,
    UPDATE_STEPS,
    UPDATES,
    Training,
    assert_raises,
    assert_refused,
    read_rows,
    run_training,
)
from tests.train.conftest import log_of


def read_sessions(folder):
    return read_record(folder / "sessions.jsonl")


def test_a_run_has_what_is_promised(finished):
    rows = read_rows(finished)
    assert [row["update"] for row in rows] == list(range(1, UPDATES + 1))
    assert [row["env_step"] for row in rows] == [UPDATE_STEPS * row["update"] for row in rows]
    every = 5 * UPDATE_STEPS
    assert checkpoint_steps(finished / "checkpoints") == [TOTAL - 2 * every, TOTAL - every, TOTAL]
    config = json.loads((finished / "config.json").read_text())
    assert config["game"] == "Pong"
    assert config["total_steps"] == TOTAL
    assert config["action_names"] == ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert {"versions", "commit", "preprocessing", "learning_rate"} <= set(config)
    assert all(set(row) == set(rows[0]) for row in rows)
    seconds = np.diff([0.0] + [row["seconds_total"] for row in rows])
    sps = np.array([row["sps"] for row in rows])
    resumed = [row["env_step"] for row in read_sessions(finished)][1] // UPDATE_STEPS
    # Between two rows of a session there is one update; the first one of a session also waits for its start.
    same_session = np.arange(len(rows)) != resumed
    np.testing.assert_allclose((UPDATE_STEPS / sps)[same_session], seconds[same_session], rtol=0.2, atol=0.02)
    for row in rows:
        assert row["sps_overall"] == pytest.approx(row["env_step"] / row["seconds_total"])
        phases = [value for name, value in row.items() if name.startswith("seconds_") and "total" not in name]
        assert len(phases) == 5
        assert min(phases) >= 0
    saved = {row["update"] for row in rows if row["seconds_checkpoint"] > 0}
    # Of the second session; the row after a checkpoint says what saving it took.
    assert {update for update in saved if update > resumed + 1} == {
        update for update in range(resumed + 2, UPDATES + 1) if update % 5 == 1
    }


def test_each_session_says_what_it_ran_on(interrupted_once, finished_once):
    (first,) = read_sessions(interrupted_once)
    config = json.loads((finished_once / "config.json").read_text())
    assert first == {"env_step": 0, "processes": 1} | {name: config[name] for name in list(first)[2:]}
    assert {"commit", "versions", "machine", "backend"} < set(first)
    again, second = read_sessions(finished_once)
    assert again == first
    assert second == first | {"env_step": read_rows(interrupted_once)[-1]["env_step"]}


def test_a_session_that_left_nothing_is_not_kept(interrupted, tmp_path):
    (first,) = read_sessions(interrupted)
    with (interrupted / "sessions.jsonl").open("a") as file:
        step = read_rows(interrupted)[-1]["env_step"]
        file.writelines(
            json.dumps(first | {"env_step": at, "commit": "lost"}) + "\n"
            for at in (step, step + UPDATE_STEPS)
        )
    with Training(interrupted, tmp_path / "log") as training:
        # The file is first cut, then added to.
        training.wait_until(lambda: len(read_sessions(interrupted)) == 2)
    assert "lost" not in (interrupted / "sessions.jsonl").read_text()
    assert [each["env_step"] for each in read_sessions(interrupted)] == [0, step]


def test_a_run_whose_sessions_are_in_the_former_file_continues_there(interrupted, tmp_path):
    """`sittings.jsonl`, as older versions called it: no session is lost, and they stay in order."""
    former = (interrupted / "sessions.jsonl").rename(interrupted / "sittings.jsonl")
    (first,) = read_record(former)
    step = read_rows(interrupted)[-1]["env_step"]
    with Training(interrupted, tmp_path / "log") as training:
        training.wait_until(lambda: len(read_record(former)) == 2)
    details = json.loads((interrupted / "config.json").read_text())
    sessions = contents.read_sessions(RunFolder(interrupted), details)
    assert sessions == [first, first | {"env_step": step}]
    assert not (interrupted / "sessions.jsonl").exists()


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


def test_a_run_from_before_environments_had_seeds_of_their_own_goes_on(interrupted):
    """The same command, whose default has changed since: the old way of seeding stays, in the file too."""
    config = json.loads((interrupted / "config.json").read_text())
    del config["environment_seeds"], config["attention_cost"]
    (interrupted / "config.json").write_text(json.dumps(config))
    before = len(read_rows(interrupted))
    run = run_training(interrupted)
    assert run.returncode == 0, run.stderr
    assert len(read_rows(interrupted)) == UPDATES > before
    assert json.loads((interrupted / "config.json").read_text()) == config


def test_another_way_of_seeding_is_another_configuration(finished):
    command = ["train", *SMALLEST, f"--run-dir={finished}", "--environment-seeds=consecutive"]
    assert_raises(command, "environment_seeds: spread -> consecutive")


def test_a_wrong_type_in_the_config_is_a_sentence(finished):
    file = finished / "config.json"
    text = file.read_text().replace('"num_envs": 2', '"num_envs": "2"')
    file.write_text(text)
    assert_raises(["train", *SMALLEST, f"--run-dir={finished}"], str(file), "num_envs is '2'", "type int")
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
    # The schedule goes on, the count of games too, and the clock of earlier sessions.
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
