"""kill -9 at any moment, also within a save: the latest complete checkpoint is where it goes on."""

from __future__ import annotations

import re
import signal
import time

from fls_jax.runs.checkpoints import load_params
from fls_jax.runs.contents import checkpoint_steps
from tests.processes import TOTAL, UPDATE_STEPS, UPDATES, Training, read_rows, run_training

EVERY = 2


def is_saving(run_dir):
    return any((run_dir / "checkpoints").glob("*.orbax-checkpoint-tmp"))


def within_a_save(training):
    """Stop the process with a checkpoint half written."""
    while True:
        training.wait_until(lambda: is_saving(training.run_dir))
        training.process.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        if is_saving(training.run_dir):
            return
        training.process.send_signal(signal.SIGCONT)


def start_and_kill(run_dir, log, wait_for_moment):
    """Start, train some updates more, wait for the moment, kill; what it printed."""
    rows = len(read_rows(run_dir))
    with Training(run_dir, log, f"--checkpoint-every={EVERY}") as training:
        if rows:
            training.wait_for_text("Resuming")
        resumed = checkpoint_steps(run_dir / "checkpoints")
        training.wait_until(lambda: checkpoint_steps(run_dir / "checkpoints")[-1:] > resumed[-1:])
        wait_for_moment(training)
        training.kill()
        assert training.process.returncode == -signal.SIGKILL
        return training.output()


def assert_resumed_at(output, steps):
    found = re.search(r"Resuming .* at step ([\d,]+);", output)
    assert found
    assert int(found[1].replace(",", "")) == steps[-1]


def assert_sound(run_dir, before):
    """Rows without a gap, those up to the checkpoint that was resumed as they were."""
    rows = read_rows(run_dir)
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["env_step"] for row in rows] == [UPDATE_STEPS * row["update"] for row in rows]
    assert rows[: len(before)] == before


def test_killed_again_and_again_it_ends_with_every_update_once(tmp_path, rng):
    run_dir = tmp_path / "run"

    def sometime(_):
        time.sleep(rng.uniform(0, 0.2))

    steps, kept = [], []
    for number, moment in enumerate([within_a_save, sometime]):
        output = start_and_kill(run_dir, tmp_path / f"log{number}", moment)
        if steps:
            assert_resumed_at(output, steps)
        assert_sound(run_dir, kept)
        assert is_saving(run_dir) or moment is sometime
        steps = checkpoint_steps(run_dir / "checkpoints")
        kept = [row for row in read_rows(run_dir) if row["env_step"] <= steps[-1]]
        # Every update that a checkpoint holds is in the record already.
        assert kept[-1]["env_step"] == steps[-1]
    run = run_training(run_dir, f"--checkpoint-every={EVERY}")
    assert run.returncode == 0, run.stderr
    assert_resumed_at(run.stdout, steps)
    assert_sound(run_dir, kept)
    assert len(read_rows(run_dir)) == UPDATES
    assert not is_saving(run_dir)


def test_a_finished_run_whose_end_is_damaged_is_finished_again(finished):
    end = finished / "checkpoints" / str(TOTAL)
    biggest = max((p for p in (end / "params").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    biggest.write_bytes(biggest.read_bytes()[: biggest.stat().st_size // 2])
    run = run_training(finished)
    assert run.returncode == 0, run.stderr
    assert f"Warning: the checkpoint at step {TOTAL:,} is damaged (" in run.stdout
    assert f"Finished at step {TOTAL:,} of {TOTAL:,}." in run.stdout
    assert load_params(finished / "checkpoints")[0] == TOTAL
    assert [row["update"] for row in read_rows(finished)] == list(range(1, UPDATES + 1))


def test_a_truncated_checkpoint_falls_back_to_the_one_before(interrupted, tmp_path):
    *_, before, latest = checkpoint_steps(interrupted / "checkpoints")
    rows = read_rows(interrupted)
    damaged = interrupted / "checkpoints" / str(latest)
    files = [p for p in damaged.rglob("*") if p.is_file()]
    biggest = max(files, key=lambda p: p.stat().st_size)
    biggest.write_bytes(biggest.read_bytes()[: biggest.stat().st_size // 2])
    # A row that was being written when the disk went.
    with (interrupted / "metrics.jsonl").open("a") as record:
        record.write('{"update": 9, "env_st')
    with Training(interrupted, tmp_path / "log", "--checkpoint-every=1") as training:
        training.wait_for_text("Resuming")
        training.wait_until(lambda: checkpoint_steps(interrupted / "checkpoints")[-1] > latest)
    assert f"Warning: the checkpoint at step {latest:,} is damaged (" in training.output()
    assert_resumed_at(training.output(), [before])
    assert "Traceback" not in training.output()
    aside = interrupted / "damaged-checkpoints" / f"{latest}-1"
    assert sorted(p.name for p in aside.rglob("*") if p.is_file()) == sorted(p.name for p in files)
    assert_sound(interrupted, [row for row in rows if row["env_step"] <= before])
