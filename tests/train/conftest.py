"""Trainings that several tests look at; made once, also where the tests run in several processes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Training


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


@pytest.fixture(scope="session")
def interrupted_once(made_once) -> Path:
    """A training that a SIGTERM stopped after its first games, every update saved; beside it `<name>.log`."""

    def make(folder: Path) -> None:
        with Training(folder, log_of(folder), "--checkpoint-every=1", "--keep-checkpoints=5") as training:
            training.wait_for_rows(12)
            training.process.terminate()
            assert training.wait() == 0, training.output()

    return made_once("interrupted", make)


@pytest.fixture(scope="session")
def finished_once(made_once, interrupted_once) -> Path:
    """The same training, after the same command again; beside it `<name>.log`."""

    def make(folder: Path) -> None:
        shutil.copytree(interrupted_once, folder)
        with Training(folder, log_of(folder), "--checkpoint-every=5") as training:
            assert training.wait() == 0, training.output()

    return made_once("finished", make)


@pytest.fixture
def interrupted(interrupted_once, tmp_path) -> Path:
    """A copy of the interrupted training's folder."""
    return Path(shutil.copytree(interrupted_once, tmp_path / "interrupted"))


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    """A copy of the finished training's folder."""
    return Path(shutil.copytree(finished_once, tmp_path / "finished"))


def log_of(folder: Path) -> Path:
    """What the training in a folder of this file printed last."""
    return folder.with_suffix(".log")
