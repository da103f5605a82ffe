"""Full disks, read-only folders, numbers that run away: one sentence, exit code 2, nothing lost."""

from __future__ import annotations

import subprocess

import jax
import numpy as np

from fls_jax.runs.checkpoints import checkpoint_steps, load_params
from tests.processes import (
    SMALLEST,
    UPDATE_STEPS,
    Training,
    assert_refused,
    read_rows,
    run_training,
    run_without_root,
    small_disk,
)


def assert_all_readable(run_dir):
    """Every checkpoint whole and finite; returns their steps."""
    steps = checkpoint_steps(run_dir / "checkpoints")
    for step in steps:
        params = load_params(run_dir / "checkpoints", step)[1]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    return steps


def test_a_full_disk_ends_with_a_sentence_and_room_lets_it_go_on(tmp_path):
    with small_disk(tmp_path, "size=5m") as disk:
        run_dir = disk / "run"
        options = ("--checkpoint-every=2", "--keep-checkpoints=100")
        full = run_training(run_dir, *options)
        assert_refused(full, "disk is full", "same command again", str(run_dir))
        steps = assert_all_readable(run_dir)
        assert steps == list(range(2 * UPDATE_STEPS, steps[-1] + 1, 2 * UPDATE_STEPS))
        before = [row for row in read_rows(run_dir) if row["env_step"] <= steps[-1]]
        assert before[-1]["env_step"] == steps[-1]

        subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
        with Training(run_dir, tmp_path / "log") as training:
            training.wait_for_text(f"Resuming {run_dir} at step {steps[-1]}")
            training.wait_until(lambda: len(read_rows(run_dir)) > len(before))
        rows = read_rows(run_dir)
        assert rows[: len(before)] == before
        assert [row["update"] for row in rows] == list(range(1, len(rows) + 1))


def test_a_read_only_folder_is_a_sentence(tmp_path):
    with small_disk(tmp_path, "size=1m,ro") as disk:
        assert_refused(run_training(disk / "run"), f"{disk / 'run'} cannot be written", "--run-dir")


def test_a_run_without_rights_to_its_folder_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    refused = run_without_root("train", *SMALLEST, f"--run-dir={tmp_path / 'run'}")
    assert_refused(refused, "cannot be written", "--run-dir")


def test_a_loss_that_runs_away_stops_with_the_last_good_checkpoint_named(tmp_path):
    run = run_training(tmp_path / "run", "--learning-rate=1e30", "--checkpoint-every=1")
    steps = assert_all_readable(tmp_path / "run")
    update = steps[-1] // UPDATE_STEPS + 1
    assert_refused(
        run,
        "not finite",
        f"at update {update} (step {UPDATE_STEPS * update})",
        f"the last good checkpoint is {tmp_path / 'run' / 'checkpoints' / str(steps[-1])}",
        "--learning-rate",
    )
