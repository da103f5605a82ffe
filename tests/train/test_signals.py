"""SIGINT and SIGTERM: the update is finished, saved, and told; a second signal ends at once."""

from __future__ import annotations

import signal

from fls_jax.runs.checkpoints import checkpoint_steps
from tests.processes import TOTAL, Training, assert_refused, read_rows, run_training


def assert_stopped_and_saved(training):
    step = read_rows(training.run_dir)[-1]["env_step"]
    checkpoint = training.run_dir / "checkpoints" / str(step)
    assert f"Stopped at step {step:,} of {TOTAL:,}. Checkpoint: {checkpoint}" in training.output()
    assert "The same command goes on from there." in training.output()
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


def test_a_second_signal_ends_at_once(tmp_path):
    """Even inside a compilation, which holds back Python's own signal handlers."""
    # No stored program, so that there is something to compile.
    with Training(tmp_path / "run", tmp_path / "log", JAX_ENABLE_COMPILATION_CACHE="false") as training:
        training.wait_for_text("compiling")
        training.process.terminate()
        training.wait_for_text("Stopping after this update")
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 128 + signal.SIGTERM
        assert "Stopped at once" in training.output()
        assert read_rows(training.run_dir) == []
        assert "Traceback" not in training.output()
