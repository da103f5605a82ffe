"""Fixtures of several files here."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.atari_head.synthetic import make_trial, write_v1
from tests.gaze.passes import NETWORK
from tests.run_folders import write_run


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Two unpacked trials of two players, and an agent of their game with the oracle's parameters."""
    home = tmp_path_factory.mktemp("gaze_pass")
    trials = [make_trial(7, 45), make_trial(9, 62, subject="KM")]
    write_v1(home / "data", trials, unpacked=True)
    parameters = write_run(home / "run", NETWORK, "MsPacman")
    return SimpleNamespace(data=home / "data", run=home / "run", parameters=parameters, trials=trials)


@pytest.fixture
def run(home, tmp_path):
    """A run folder of the test's own."""
    return Path(shutil.copytree(home.run, tmp_path / "run", ignore=shutil.ignore_patterns("gaze")))
