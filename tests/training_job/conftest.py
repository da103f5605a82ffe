"""Trainings that several tests look at; made once, also where the tests run in several processes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Training, run_training


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """made_once(name, make): the folder `name` that `make` wrote, in whichever process came first."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder = base / name
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                make(folder)
        return folder

    return get


@pytest.fixture
def finished(made_once, tmp_path) -> Path:
    """A copy of the folder of a training that ran to its end."""

    def make(folder: Path) -> None:
        run = run_training(folder, "--checkpoint-every=10")
        assert run.returncode == 0, run.stderr

    return Path(shutil.copytree(made_once("finished", make), tmp_path / "finished"))


@pytest.fixture
def interrupted(made_once, tmp_path) -> Path:
    """A copy of the folder of a training that a SIGTERM stopped after a few updates, each saved."""

    def make(folder: Path) -> None:
        log = folder.with_suffix(".log")
        with Training(folder, log, "--checkpoint-every=1", "--keep-checkpoints=5") as training:
            training.wait_for_rows(8)
            training.process.terminate()
            assert training.wait() == 0, training.output()

    return Path(shutil.copytree(made_once("interrupted", make), tmp_path / "interrupted"))
