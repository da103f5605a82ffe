"""A grid on this machine: with its figures, with cells that fail or are killed, stopped and taken up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from experiments.data.grid import SMOKE, Resources
from experiments.launch.attempts import attempts_file
from experiments.launch.local import LocalGrid, _outcome
from experiments.launch.planning import make_plan
from fls_jax.errors import UserError
from fls_jax.runs.contents import checkpoint_steps
from tests.experiments.launch.grids import cells, small_grid
from tests.processes import PATIENCE, read_rows

ROOT = Path(__file__).resolve().parents[3]
WITH_RESULT = SimpleNamespace(result_pickle=Path(__file__))
"""Paths of a job that left a result."""
TWO = ("--games", "Pong", "--networks", "cnn_sparse_fls_pool", "--seeds", "1", "9", "--wandb", "off")


def launch(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "experiments.launch", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def wait_until(condition, process):
    """Until the condition holds; fails where the process ends before."""
    while not condition():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def attempts(run):
    return [json.loads(line) for line in (run / "jobs" / "attempts.jsonl").read_text().splitlines()]


def begin(*arguments):
    """A launcher in a session of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.launch", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def process_of(run):
    """The process that trains in a run folder; None if there is none."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().decode().split("\0")
            if "fls_jax" in words and str(run) in words:
                return int(place.parent.name)
    return None


def test_a_failure_and_a_kill_stop_nothing_else_and_the_same_command_takes_up_what_is_left(tmp_path):
    """One seed cannot train, the other is killed once; then both go on to the figures."""
    runs = tmp_path / "Pong" / "cnn_sparse_fls_pool"
    (runs / "seed1").mkdir(parents=True)
    (runs / "seed1" / "checkpoints").write_text("in the way")
    command = ("smoke", *TWO, "--root", str(tmp_path), "--speeds", str(tmp_path))
    with begin(*command, "--stage", "train,evaluate") as process:
        wait_until(lambda: checkpoint_steps(runs / "seed9" / "checkpoints"), process)
        os.kill(process_of(runs / "seed9"), signal.SIGKILL)
        said = process.stdout.read()
    assert process.returncode == 2, said
    assert "launch: Not all of the grid is done" in said
    assert "Traceback" not in said
    assert "failed   train Pong-cnn_sparse_fls_pool-seed1: The checkpoint" in said
    assert list((runs / "seed9" / "evaluation").glob("*.json"))
    assert [row["state"] for row in attempts(runs / "seed1")] == ["running", "failed"]
    assert [row["state"] for row in attempts(runs / "seed9")] == ["running", "finished"] * 2
    assert len((runs / "seed9" / "sessions.jsonl").read_text().splitlines()) == 2, "it went on"
    steps = [row["env_step"] for row in read_rows(runs / "seed9")]
    assert steps == sorted(set(steps)), "no update was trained twice"

    (runs / "seed1" / "checkpoints").unlink()
    before = attempts(runs / "seed9")
    again = launch(*command, "--stage", "train,evaluate,saliency,figures")
    assert again.returncode == 0, again.stdout + again.stderr
    for run in (runs / "seed1", runs / "seed9"):
        assert list((run / "evaluation").glob("*.json"))
        assert list((run / "saliency").glob("*/summary.json"))
    done = [row for row in attempts(runs / "seed9") if row["stage"] != "saliency"]
    assert done == before, "what is done is not done again"
    assert (tmp_path / "figures" / "own" / "README.md").exists()


def test_ctrl_c_stops_all_with_their_checkpoints_and_the_same_command_goes_on(tmp_path):
    command = ("smoke", *TWO, "--root", str(tmp_path), "--stage", "train", "--speeds", str(tmp_path))
    runs = [tmp_path / "Pong" / "cnn_sparse_fls_pool" / f"seed{seed}" for seed in (1, 9)]
    with begin(*command) as process:
        for line in process.stdout:
            if line.startswith("started"):
                break
        # As a terminal does: to the launcher, the jobs and all that is not in a session of its own.
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 2, said
    assert "Traceback" not in said
    for run in runs:
        states = [row["state"] for row in attempts(run)] if (run / "jobs").exists() else []
        assert states in ([], ["running", "stopped"])
        assert not (run / "checkpoints" / str(SMOKE.total_steps)).exists()
    again = launch(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert all((run / "checkpoints" / str(SMOKE.total_steps)).exists() for run in runs)


def test_jobs_keep_to_the_cores(tmp_path, monkeypatch):
    """Never more jobs than cores hold, no two on one core; evaluation begins when its training has ended."""

    class FakeJob:
        paths = WITH_RESULT

        def __init__(self, number):
            self.job_id, self.left = str(number), 2

        def done(self):
            self.left -= 1
            return self.left < 0

        def result(self):
            return states[self.job_id]

    grid = small_grid(tmp_path, cells(networks=("cnn", "cnn_daqn"), seeds=(1, 9, 17)))
    plan = make_plan(grid, ("train", "evaluate"), 1, frozenset(), ())
    said, states, order = [], {}, []
    local = LocalGrid(plan, {"train": Resources(cores=2), "evaluate": Resources(cores=1)}, said.append)
    local.cores, local.machine = {0, 1, 2, 3, 4}, 5
    busiest = 0

    def submit(job):
        nonlocal busiest
        assert all(not (job.cores & each.cores) for each in local.running)
        busiest = max(busiest, sum(len(each.cores) for each in local.running) + len(job.cores))
        order.append((job.stage, job.cells[0]))
        number = 1000 + len(order)
        failed = job.cells[0] == grid.experiment.cells[0]
        states[str(number)] = {
            f"{c.game}-{c.network}-seed{c.seed}": "failed" if failed else "finished" for c in job.cells
        }
        return FakeJob(number)

    monkeypatch.setattr(local.executor, "submit", submit)
    monkeypatch.setattr("experiments.launch.local._POLL", 0.0)
    assert local.run() is False
    assert 4 <= busiest <= 5
    trained = [cell for stage, cell in order if stage == "train"]
    evaluated = [cell for stage, cell in order if stage == "evaluate"]
    assert sorted(trained, key=str) == sorted(grid.experiment.cells, key=str)
    assert set(evaluated) == set(grid.experiment.cells[1:]), "an agent that failed is not evaluated"
    for cell in evaluated:
        assert order.index(("train", cell)) < order.index(("evaluate", cell))
    assert local.cores == {0, 1, 2, 3, 4}


DEAF_AT_FIRST = """
import signal, time
def hear(*_):
    global heard
    heard += 1
heard = 0
signal.signal(signal.SIGTERM, hear)
print("ready", flush=True)
deadline = time.monotonic() + 20
while heard < 2:
    assert time.monotonic() < deadline
    time.sleep(0.01)
"""


def test_a_job_that_does_not_hear_the_first_request_to_stop_is_asked_again(tmp_path, monkeypatch):
    """As one that is still starting, whose SIGTERM submitit drops."""
    plan = make_plan(
        small_grid(tmp_path, cells(networks=("cnn",), seeds=(1,))), ("train",), 1, frozenset(), ()
    )
    local = LocalGrid(plan, {"train": Resources(cores=1)}, lambda _: None)
    process = subprocess.Popen([sys.executable, "-c", DEAF_AT_FIRST], stdout=subprocess.PIPE, text=True)

    class DeafJob:
        job_id, paths = str(process.pid), WITH_RESULT

        def done(self):
            return process.poll() is not None

        def result(self):
            return {}

    def submit(_):
        assert process.stdout.readline() == "ready\n"
        signal.raise_signal(signal.SIGINT)
        return DeafJob()

    monkeypatch.setattr(local.executor, "submit", submit)
    monkeypatch.setattr("experiments.launch.local._ASK_AGAIN", 0.2)
    with process:
        try:
            assert local.run() is True
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_killed_job_is_not_waited_for(tmp_path):
    """While it is, nobody asks the others to stop."""
    job = submitit.LocalExecutor(tmp_path).submit(time.sleep, 3)
    os.kill(int(job.job_id), signal.SIGKILL)
    while not job.done():
        time.sleep(0.05)
    began = time.monotonic()
    assert _outcome(job) == {}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--stage", "train,test"], "no stage 'test'"),
        (["--stage", "gaze"], "--atari-head DIR"),
        (["--games", "pongg"], "no game 'pongg'"),
        (["--pack", "0"], "--pack is 0"),
        (["--hours", "-1"], "--hours is -1"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options, words, monkeypatch, capsys, tmp_path):
    from experiments.launch import __main__ as command

    monkeypatch.setattr(sys, "argv", ["launch", "smoke", "--root", str(tmp_path), *options])
    assert command.main() == 2
    assert words in capsys.readouterr().err


def test_a_dry_run_starts_and_writes_nothing(monkeypatch, capsys, tmp_path):
    from experiments.launch import __main__ as command

    monkeypatch.setattr(sys, "argv", ["launch", "pilot", "--root", str(tmp_path / "new"), "--dry-run"])
    assert command.main() == 0
    said = capsys.readouterr().out
    assert "Pong cnn seed 1: train, evaluate, saliency; training, h: " in said
    assert "Speeds, medians of the runs at hand" in said
    assert not (tmp_path / "new").exists()


def test_without_slurm_it_is_said(monkeypatch, capsys, tmp_path):
    from experiments.launch import __main__ as command

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["launch", "smoke", "--root", str(tmp_path), "--where", "slurm"])
    assert command.main() == 2
    assert "There is no Slurm here" in capsys.readouterr().err


def test_an_experiment_as_figures(tmp_path):
    """Nothing is left of a grid whose runs are done but to draw it."""
    source = ROOT / "experiments" / "results" / "pilot" / "Pong" / "cnn"
    shutil.copytree(source, tmp_path / "runs" / "Pong" / "cnn")
    done = launch(
        "pilot", "--games", "Pong", "--networks", "cnn", "--seeds", "1", "--root", str(tmp_path / "runs"),
        "--stage", "evaluate,figures", "--wandb", "off",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "curves.svg" in done.stdout
    assert not attempts_file(small_grid(tmp_path / "runs").folder(cells()[0])).exists()


def test_more_gpus_than_there_are(tmp_path, monkeypatch):
    from experiments.launch import local

    monkeypatch.setattr(local, "visible_gpus", lambda: frozenset({0}))
    plan = make_plan(small_grid(tmp_path), ("train",), 1, frozenset(), ())
    with pytest.raises(UserError, match="asks for 2 GPUs and there are 1 here"):
        local.check_room(plan, {"train": Resources(gpus=2)})
