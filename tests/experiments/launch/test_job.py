"""A job looks after its commands: passes signals on, starts the killed again, says why others failed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from experiments.launch import job as job_module
from experiments.launch.attempts import attempts_file, last_attempt, log_file
from experiments.launch.job import Job
from experiments.launch.stages import cell_id, command_together
from tests.experiments.launch.grids import PONG, cells, small_grid, write_training

# A job's process knows no JAX. This one may, from other tests, and JAX warns of forks, as commands start.
pytestmark = pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")

SLEEP = "import time; time.sleep(60)"
SAVE_ON_SIGTERM = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({mark!r}).touch(), sys.exit(0)))
print('ready', flush=True)
time.sleep(60)
"""


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Lets Python code stand in for `fls`; a stage is done where `<cell>-<stage>` exists."""
    code: dict[str, list[str]] = {}
    monkeypatch.setattr(
        job_module,
        "commands",
        lambda grid, stage, cell: [[sys.executable, "-c", each] for each in code[cell_id(cell)]],
    )
    monkeypatch.setattr(
        job_module, "is_done", lambda grid, stage, cell: (tmp_path / f"{cell_id(cell)}-{stage}").exists()
    )
    return code


def touch(path):
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()"


def done(tmp_path, cell=PONG, stage="train"):
    return tmp_path / f"{cell_id(cell)}-{stage}"


def lines(grid, cell=PONG):
    return attempts_file(grid.folder(cell)).read_text().count("\n")


def test_commands_run_one_after_the_other(stand_in, tmp_path):
    grid = small_grid(tmp_path)
    stand_in[cell_id(PONG)] = ["print('first')", touch(done(tmp_path)) + "; print('second')"]
    assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "finished"}
    assert log_file(grid.folder(PONG), "train").read_text() == "first\nsecond\n"
    assert last_attempt(grid.folder(PONG), "train").state == "finished"


def test_what_is_done_is_not_run_again(stand_in, tmp_path):
    grid = small_grid(tmp_path)
    done(tmp_path).touch()
    stand_in[cell_id(PONG)] = ["raise SystemExit('run again')"]
    assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "finished"}
    assert not log_file(grid.folder(PONG), "train").exists()


def test_one_failure_stops_nothing_else_and_says_why(stand_in, tmp_path):
    one, two = cells(seeds=(1, 9))
    grid = small_grid(tmp_path, (one, two))
    stand_in[cell_id(one)] = ["import sys; print('fls: no room: make some', file=sys.stderr); sys.exit(2)"]
    stand_in[cell_id(two)] = [touch(done(tmp_path, two))]
    assert Job(grid, "train", (one, two))() == {cell_id(one): "failed", cell_id(two): "finished"}
    assert last_attempt(grid.folder(one), "train").why == "no room: make some"


def test_where_all_failed_the_cluster_sees_it(stand_in, tmp_path):
    stand_in[cell_id(PONG)] = ["raise ValueError('a bug')"]
    with pytest.raises(RuntimeError, match="Pong-cnn-seed1: ValueError: a bug"):
        Job(small_grid(tmp_path), "train", (PONG,))()


def test_no_evaluation_without_its_training(stand_in, tmp_path):
    grid = small_grid(tmp_path)
    stand_in[cell_id(PONG)] = [touch(done(tmp_path, stage="evaluate"))]
    with pytest.raises(RuntimeError, match="training is not finished"):
        Job(grid, "evaluate", (PONG,))()
    assert not attempts_file(grid.folder(PONG)).exists(), "it has not begun, so it has not failed"


def test_a_killed_command_is_started_again_and_goes_on(stand_in, tmp_path):
    grid = small_grid(tmp_path)
    mark = tmp_path / "once"
    stand_in[cell_id(PONG)] = [
        f"import os, pathlib; mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)\n" + touch(done(tmp_path))
    ]
    assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "finished"}


def test_a_command_that_is_killed_every_time_has_failed(stand_in, tmp_path):
    grid = small_grid(tmp_path)
    stand_in[cell_id(PONG)] = ["import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(RuntimeError, match="killed 3 times by SIGKILL"):
        Job(grid, "train", (PONG,))()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_lets_the_command_save_and_stops_the_job(stand_in, tmp_path, number):
    grid, mark = small_grid(tmp_path), tmp_path / "saved"
    stand_in[cell_id(PONG)] = [SAVE_ON_SIGTERM.format(mark=str(mark))]
    before = signal.getsignal(number)

    def send():
        log = log_file(grid.folder(PONG), "train")
        while not (log.exists() and "ready" in log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "stopped"}
    thread.join()
    assert mark.exists()
    assert last_attempt(grid.folder(PONG), "train").state == "stopped"
    assert signal.getsignal(number) == before


def test_under_slurm_a_stopped_job_goes_back_into_the_queue(stand_in, tmp_path, monkeypatch):
    """By submitit's handler of SIGUSR2, which stood before; not where the user has cancelled the job."""
    grid = small_grid(tmp_path)
    stand_in[cell_id(PONG)] = ["raise SystemExit(0)"]  # stopped by a signal of its own
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "JobId=$3 JobState=$STATE Reason=None"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    requeued = []
    before = signal.signal(signal.SIGUSR2, lambda *_: requeued.append(True))
    try:
        for state, times in (("CANCELLED", 0), ("RUNNING", 1)):
            monkeypatch.setenv("STATE", state)
            assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "stopped"}
            assert len(requeued) == times
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_nothing_trains_twice(stand_in, tmp_path):
    """Where another process trains in the folder, the job waits and then finds the cell done."""
    grid = small_grid(tmp_path)
    folder = write_training(grid, PONG, 16)
    stand_in[cell_id(PONG)] = ["raise SystemExit('trained twice')"]
    lock = (folder / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish():
        done(tmp_path).touch()
        lock.close()

    timer = threading.Timer(0.7, finish)
    timer.start()
    assert Job(grid, "train", (PONG,))() == {cell_id(PONG): "finished"}
    assert not log_file(grid.folder(PONG), "train").exists()
    timer.join()


def test_a_command_does_not_outlive_a_killed_job(tmp_path):
    mark = tmp_path / "saved"
    code = (
        "import subprocess, sys; from experiments.launch.job import _end_with_parent\n"
        f"subprocess.run([sys.executable, '-c', {SAVE_ON_SIGTERM.format(mark=str(mark))!r}], "
        "start_new_session=True, preexec_fn=_end_with_parent)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_runs_that_share_a_gpu_share_its_memory(tmp_path):
    two = cells(seeds=(1, 9))
    grid = small_grid(tmp_path, two)
    name = "XLA_PYTHON_CLIENT_MEM_FRACTION"
    job = Job(grid, "train", two, gpus=1)
    assert len(job.processes()) == 2
    assert job.environment(2)[name] == "0.450"
    assert name not in job.environment(1)
    assert name not in Job(grid, "train", two).environment(2)


def test_seeds_train_together_unless_one_is_ahead(tmp_path):
    """In one process where the experiment says so; what is done, or more than a save ahead, by itself."""
    three = cells(seeds=(1, 9, 17))
    grid = small_grid(tmp_path, three)
    together = replace(grid, experiment=replace(grid.experiment, together=True))
    assert Job(grid, "train", three).processes() == [(cell,) for cell in three]
    assert Job(together, "train", three).processes() == [three]
    assert Job(together, "evaluate", three).processes() == [(cell,) for cell in three]
    command = command_together(together, three)
    assert command[command.index("--seeds") + 1] == "1,9,17"
    assert command[command.index("--run-dir") + 1] == str(tmp_path / "Pong" / "cnn")
    write_training(together, three[0])
    assert Job(together, "train", three).processes() == [three[1:], three[:1]]
    saves = replace(together, experiment=replace(together.experiment, total_steps=10_000))
    assert Job(saves, "train", three).processes() == [three], "64 steps are less than a save"
    write_training(saves, three[1], 9_984)
    assert Job(saves, "train", three).processes() == [(cell,) for cell in three]


@pytest.mark.parametrize("code", [0, 2])
def test_of_seeds_together_each_has_its_own_state(stand_in, tmp_path, code, monkeypatch):
    """A process that trains two: one that diverges has failed, the other has finished."""
    one, two = cells(seeds=(1, 9))
    grid = small_grid(tmp_path, (one, two))
    together = replace(grid, experiment=replace(grid.experiment, together=True))
    program = "import sys; " + touch(done(tmp_path, one)) + "; print('fls: Seed 9: diverged'); "
    program += f"sys.exit({code})" if code else touch(done(tmp_path, two))
    monkeypatch.setattr(job_module, "command_together", lambda grid, cells: [sys.executable, "-c", program])
    states = Job(together, "train", (one, two))()
    assert states == {cell_id(one): "finished", cell_id(two): "failed" if code else "finished"}
    assert last_attempt(grid.folder(one), "train").why == ""
    assert last_attempt(grid.folder(two), "train").why == ("Seed 9: diverged" if code else "")
    assert str(log_file(grid.folder(one), "train")) in log_file(grid.folder(two), "train").read_text()
