"""Nobody reads what is printed any more: the job goes on and ends as it would have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fls_jax.runs.checkpoints import checkpoint_steps
from tests.processes import PATIENCE, SMALLEST, TOTAL
from tests.run_folders import write_run

ROOT = Path(__file__).resolve().parents[2]


def run_without_reader(*command: str, lines: int = 0, cwd: Path = ROOT) -> tuple[int, str]:
    """As `command | head -<lines>`: the exit code and what came on stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    error = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, error


def test_a_training_goes_on_and_saves(tmp_path):
    code, error = run_without_reader("fls_jax", "train", *SMALLEST, f"--run-dir={tmp_path / 'run'}", lines=1)
    assert (code, error) == (0, "")
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[-1] == TOTAL


def test_an_evaluation_a_film_and_figures_are_made(tmp_path):
    write_run(tmp_path / "run", "cnn_sparse_fls_pool", step=32)
    one = ("--num-envs=1", "--games-per-env=1")
    assert run_without_reader("fls_jax", "evaluate", str(tmp_path / "run"), *one) == (0, "")
    result = json.loads((tmp_path / "run" / "evaluation" / "32-standard.json").read_text())
    assert result["summary"]["games"] == 1
    assert run_without_reader("fls_jax", "video", str(tmp_path / "run"), "--steps=5") == (0, "")
    assert (tmp_path / "run" / "video" / "32.mp4").stat().st_size > 1_000
    figures = ("--experiment=own", f"--roots={tmp_path}", f"--out={tmp_path / 'figures'}")
    assert run_without_reader("experiments.commands.figures", *figures) == (0, "")
    assert (tmp_path / "figures" / "own" / "README.md").exists()


def test_a_terminal_that_is_gone_ends_nothing(tmp_path):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [
            *("sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-m", "fls_jax", "train"),
            *(*SMALLEST, f"--run-dir={tmp_path / 'run'}"),
        ],
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.read(ours, 100)
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[-1] == TOTAL


def test_closed_descriptors_are_no_place_for_a_file(tmp_path):
    code = (
        "import os, sys; from fls_jax.process.output import outlast_readers; outlast_readers();"
        "print('lost'); print('lost', file=sys.stderr); assert os.open(sys.argv[1], os.O_CREAT) > 2"
    )
    process = subprocess.run(
        ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(tmp_path / "file")],
        cwd=ROOT,
        check=False,
    )
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_a_full_disk_did_not_take_is_said():
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "fls_jax", "games"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == (
        "fls: the command has ended, but part of its output could not be written (No space left on device).\n"
    )


def test_what_is_printed_arrives_whole(tmp_path):
    """Also through a pipe that another process has made non-blocking, and letters the encoding has not."""
    code = (
        "from fls_jax.process.output import outlast_readers; outlast_readers();"
        "print('x' * 300_000 + '\\u00e9', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "import os; os.set_blocking(1, False);" + code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.communicate(timeout=60)[0] == "x" * 300_000 + "\\xe9\n"
