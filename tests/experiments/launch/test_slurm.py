"""A real Slurm of one node on loopback: the smoke grid with jobs requeued, and the tasks of a step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from experiments.data.grid import SMOKE
from tests.experiments.launch.test_local import ROOT, attempts, launch
from tests.processes import PATIENCE, SMALLEST, UPDATE_STEPS, read_rows

SCRIPT = ROOT / "scripts" / "slurm_loopback.sh"
MINUTES = 20
NETWORK = "cnn_sparse_fls_pool"


@pytest.fixture(scope="module")
def slurm():
    """Slurm for these tests alone; its folder is open to munge's user, as pytest's own are not."""
    if os.geteuid() != 0 or not shutil.which("slurmctld"):
        if "FLS_NEEDS_SLURM" in os.environ:
            pytest.fail("Slurm is to be tested here, and there is none")
        pytest.skip("Slurm is not installed here, or this is not root: apt install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            subprocess.run(["bash", str(SCRIPT), "start", str(folder)], check=True)
            yield
        finally:
            subprocess.run(["bash", str(SCRIPT), "stop", str(folder)], check=True)
            shutil.rmtree(folder)


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def queue(state="all"):
    return ask("squeue", "--noheader", "--array", "--format=%i", f"--states={state}").split()


def wait_for(condition, what):
    """What the condition gives, once it is something."""
    deadline = time.monotonic() + 60 * MINUTES
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: {ask('squeue', '--array')}"
        time.sleep(0.1)
    return found


def at_work(root):
    """A run whose training has made an update and goes on, and its job; None where there is none yet."""
    for record in root.rglob("metrics.jsonl"):
        last = attempts(record.parent)[-1]
        if record.read_text() and (last["stage"], last["state"]) == ("train", "running"):
            return record.parent, last["job"]
    return None


def training(run):
    return [row["state"] for row in attempts(run) if row["stage"] == "train"]


def test_the_smoke_grid_goes_through_slurm_with_jobs_signalled_and_requeued(slurm, tmp_path):
    """Both games and both seeds; of the networks one, as another makes twice the jobs and no others."""
    command = ("smoke", "--networks", NETWORK, "--root", str(tmp_path), "--where", "slurm", "--wandb", "off")
    command += ("--pack", "2", "--speeds", str(tmp_path))  # no other runs need to be read
    submitted = launch(*command)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "train, 2 jobs" in submitted.stdout
    assert "evaluate, 2 jobs, after" in submitted.stdout
    assert "Nothing is left to submit" in launch(*command).stdout, "what waits or runs is not submitted again"

    run, job = wait_for(lambda: at_work(tmp_path), "no training came to an update")
    # Where the job is gone before it hears the answer, scancel asks again, up to when the job runs once more.
    with subprocess.Popen(["scancel", "--signal=USR1", job], stderr=subprocess.DEVNULL) as asking:
        wait_for(lambda: len(training(run)) > 1, "it has not ended")
        asking.kill()
    assert training(run)[:2] == ["running", "stopped"]
    # Another is taken away and put back by Slurm itself, as where a machine is lost.
    others = wait_for(lambda: [each for each in queue("running") if each != job], "no other job runs")
    ask("scontrol", "requeue", others[0])

    wait_for(lambda: not queue("pending,running,completing"), "the queue does not empty")
    status = launch(*command, "--status").stdout
    cells = [cell for cell in SMOKE.cells if cell.network == NETWORK]
    assert len(cells) == 4
    for cell in cells:
        folder = tmp_path / cell.game / cell.network / f"seed{cell.seed}"
        assert (folder / "checkpoints" / str(SMOKE.total_steps)).is_dir(), status
        assert (folder / "evaluation" / f"{SMOKE.total_steps}-standard.json").exists(), status
        assert list((folder / "saliency").glob("*/summary.json")), status
        steps = [json.loads(line)["env_step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps)), "no update was trained twice"
    assert training(run) == ["running", "stopped", "running", "finished"]
    assert len((run / "sessions.jsonl").read_text().splitlines()) == 2, "it went on, it did not start anew"
    assert (tmp_path / "figures" / "own" / "README.md").exists()
    assert not any(line.startswith(("failed", "stopped")) for line in status.splitlines()), status


def test_the_tasks_that_srun_starts_train_together_with_nothing_given(slurm, tmp_path):
    """They find each other by what Slurm sets for them."""
    arguments = ["train", *SMALLEST, f"--total-steps={2 * UPDATE_STEPS}", f"--run-dir={tmp_path / 'run'}"]
    step = subprocess.run(
        ["srun", "--ntasks=2", "--label", sys.executable, "-m", "fls_jax", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert step.returncode == 0, step.stdout + step.stderr
    assert "0: 2 processes train together" in step.stdout
    assert f"0: Finished at step {2 * UPDATE_STEPS}" in step.stdout
    assert "1: Finished" not in step.stdout, "process 0 alone prints"
    assert [row["env_step"] for row in read_rows(tmp_path / "run")] == [UPDATE_STEPS, 2 * UPDATE_STEPS]
