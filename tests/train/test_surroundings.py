"""A training where the surroundings are poor: it trains, and one sentence says what it does without."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fls_jax.runs.contents import checkpoint_steps
from tests.processes import PATIENCE, SMALLEST, UPDATE_STEPS, small_disk
from tests.wandb.wandb_server import wandb_server

KEY = "0123456789abcdef0123456789abcdef01234567"
END = 2 * UPDATE_STEPS


def train(run_dir: Path, unset: tuple[str, ...] = (), **environment: str) -> list[str]:
    """The smallest training, with W&B as it is by default; its lines, once it has trained to the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "XDG"))}
    env = {name: value for name, value in (kept | environment).items() if name not in unset}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "fls_jax", "train", *SMALLEST, "--wandb=auto"),
            *(f"--total-steps={END}", f"--run-dir={run_dir}"),
        ],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert checkpoint_steps(run_dir / "checkpoints") == [END]
    assert run.stdout.splitlines()[-1].startswith(f"Finished at step {END} of {END}")
    return run.stdout.splitlines()


def only(lines: list[str], *words: str) -> str:
    """The one line that is no news of the training; it has all these words."""
    usual = ("Computing on", "Pong ", "  ", " 50%", "100%", "Finished")
    (line,) = [line for line in lines if not line.startswith(usual)]
    for word in words:
        assert word in line
    return line


@contextlib.contextmanager
def full_folder(parent: Path):
    """A folder without room for a file; needs root."""
    with small_disk(parent, "size=64k") as disk:
        with contextlib.suppress(OSError), (disk / "all").open("wb") as file:
            while True:
                file.write(bytes(4096))
        yield disk


@contextlib.contextmanager
def no_folder(parent: Path):
    """A file where a folder should be: nothing can be written there, by nobody."""
    (parent / "file").write_text("")
    yield parent / "file"


def test_a_refused_key(tmp_path):
    with wandb_server(refuses=True) as server:
        lines = train(tmp_path / "run", WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, HOME=str(tmp_path))
    only(lines, "W&B cannot be reached with the key that is set", "offline", f"fls sync {tmp_path / 'run'}")
    assert list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))


def test_no_home(tmp_path):
    lines = train(tmp_path / "run", unset=("HOME",), TMPDIR=str(tmp_path))
    only(lines, "HOME is not set: what libraries keep there goes to ", str(tmp_path))
    assert list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize("bad", [full_folder, no_folder])
def test_a_home_and_a_tmpdir_that_cannot_be_written(tmp_path, bad):
    with bad(tmp_path) as place:
        lines = train(tmp_path / "run", HOME=str(place), TMPDIR=str(place))
    only([line for line in lines if "HOME" not in line], f"TMPDIR is {place}, which cannot be written (")
    only([line for line in lines if "TMPDIR" not in line], f"HOME is {place}, which cannot be written (")
    assert list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))


def test_a_dumb_narrow_terminal_in_the_c_locale(tmp_path):
    ours, theirs = os.openpty()
    run_dir = tmp_path / "d\u00e9j\u00e0"
    plain = {"TERM": "dumb", "COLUMNS": "40", "LANG": "C", "LC_ALL": "C"}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "fls_jax", "train", *SMALLEST),
            *(f"--total-steps={END}", f"--run-dir={run_dir}"),
        ],
        env=os.environ | plain,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
        while part := os.read(ours, 65_536):
            written += part
    os.close(ours)
    assert process.wait(PATIENCE) == 0, written[-3000:]
    assert b"\x1b" not in written
    lines = written.decode().splitlines()
    assert lines[-1].startswith(f"Finished at step {END} of {END}")
