"""Signals: the update is finished, saved, and told; one that comes later ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fls_jax.process.interruption import AS_ONE_SECONDS
from fls_jax.runs.checkpoints import checkpoint_steps
from tests.processes import PATIENCE, SMALLEST, TOTAL, Training, assert_refused, read_rows, run_training

ROOT = Path(__file__).resolve().parents[2]


def assert_stopped_and_saved(training):
    step = read_rows(training.run_dir)[-1]["env_step"]
    checkpoint = training.run_dir / "checkpoints" / str(step)
    assert f"Stopped at step {step:,} of {TOTAL:,}. Checkpoint: {checkpoint}" in training.output()
    assert "The same command resumes from there." in training.output()
    assert checkpoint_steps(checkpoint.parent)[-1] == step
    assert "Traceback" not in training.output()


def test_ctrl_c_saves_and_a_second_training_is_refused_meanwhile(tmp_path):
    """With W&B on: the signal reaches its process too."""
    run_dir = tmp_path / "run"
    with Training(run_dir, tmp_path / "log", "--checkpoint-every=1000", "--wandb=offline") as training:
        training.wait_for_rows(3)
        training.process.send_signal(signal.SIGSTOP)  # it stays while the other tries
        second = run_training(run_dir)
        training.process.send_signal(signal.SIGCONT)
        assert_refused(second, str(run_dir), f"process {training.process.pid} on", "--run-dir")
        training.interrupt()
        assert training.wait() == 0, training.output()
        assert_stopped_and_saved(training)


def test_sigterm_while_compiling_finishes_one_update(tmp_path):
    with Training(tmp_path / "run", tmp_path / "log") as training:
        training.wait_for_text("compiling")
        training.process.terminate()
        training.wait_for_text("Stopping after this update")
        assert training.wait() == 0, training.output()
        assert_stopped_and_saved(training)
        assert len(read_rows(training.run_dir)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_process_and_to_its_group_is_one(tmp_path, number):
    with Training(tmp_path / "run", tmp_path / "log", "--checkpoint-every=1000") as training:
        training.wait_for_rows(2)
        training.process.send_signal(number)
        os.killpg(training.process.pid, number)
        assert training.wait() == 0, training.output()
        assert_stopped_and_saved(training)


def test_a_later_signal_ends_at_once(tmp_path):
    """Even inside a compilation, which holds back Python's own signal handlers."""
    # No stored program, and optimised as for users, so that there is something to compile.
    slow = {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_FLAGS": ""}
    with Training(tmp_path / "run", tmp_path / "log", **slow) as training:
        training.wait_for_text("compiling")
        training.process.terminate()
        training.wait_for_text("Stopping after this update")
        time.sleep(AS_ONE_SECONDS)
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 128 + signal.SIGTERM
        assert "Stopped at once" in training.output()
        assert read_rows(training.run_dir) == []
        assert "Traceback" not in training.output()


def test_make_train_is_saved_by_a_signal_to_its_group(tmp_path):
    """make passes the signal on too; it ends with the signal's own code once the training is saved."""
    options = f"ARGS={' '.join([*SMALLEST, '--checkpoint-every=1000'])}"
    command = ["make", "-o", "setup", "train", f"BIN={Path(sys.executable).parent}"]
    run_dir, log = tmp_path / "run", tmp_path / "log"
    with log.open("wb") as output:
        make = subprocess.Popen(
            [*command, f"RUN_DIR={run_dir}", options],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while len(read_rows(run_dir)) < 2:
            assert make.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(make.pid, signal.SIGTERM)
        assert make.wait(PATIENCE) == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(make.pid, signal.SIGKILL)
    assert checkpoint_steps(run_dir / "checkpoints") == [read_rows(run_dir)[-1]["env_step"]]
    assert log.read_text().count("Stopping after this update") == 1
    assert "The same command resumes from there." in log.read_text()
