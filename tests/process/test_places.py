"""Folders in place of a HOME or TMPDIR that takes no files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from fls_jax.process.places import usable_places


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(HOME, TMPDIR), both good, and no other setting of where caches are."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for name, folder in (("HOME", home), ("TMPDIR", temporary)):
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    for name in ("XDG_CACHE_HOME", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)
    return home, temporary


def test_good_places_are_left_alone(places):
    before = dict(os.environ)
    assert usable_places() == []
    assert dict(os.environ) == before
    assert [list(place.iterdir()) for place in places] == [[], []]


def test_a_home_that_is_no_folder_stays_and_its_caches_go_elsewhere(places):
    home, temporary = places
    home.rmdir()
    (said,) = usable_places()
    assert said.startswith(f"HOME is {home}, which cannot be written (No such file or directory): ")
    assert os.environ["HOME"] == str(home)
    assert Path(os.environ["WANDB_CACHE_DIR"]).parent == temporary


def test_a_cache_that_was_chosen_stays(places, monkeypatch):
    places[0].rmdir()
    monkeypatch.setenv("XDG_CACHE_HOME", "/chosen")
    assert len(usable_places()) == 1
    assert os.environ["XDG_CACHE_HOME"] == "/chosen"


def test_no_home_gets_one(places, monkeypatch):
    monkeypatch.delenv("HOME")
    (said,) = usable_places()
    assert said == f"HOME is not set: what libraries keep there goes to {os.environ['HOME']}."
    assert Path(os.environ["HOME"]).parent == places[1]


def test_a_tmpdir_that_is_no_folder_is_replaced(places):
    places[1].rmdir()
    (said,) = usable_places()
    assert said.startswith(f"TMPDIR is {places[1]}, which cannot be written (No such file or directory): ")
    assert os.environ["TMPDIR"] == tempfile.gettempdir() != str(places[1])
