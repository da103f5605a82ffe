"""The restart with glibc's settings, seen at every start of a real interpreter."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from fls_jax.process.allocator import SETTINGS
from tests.processes import run_python

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")

# Python imports this by itself whenever it starts.
SITE = """
import json, os, sys
names = {names!r}
start = [os.getpid(), sys.orig_argv[1:], {{name: os.environ[name] for name in names if name in os.environ}}]
with open({log!r}, "a") as file:
    file.write(json.dumps(start) + "\\n")
"""
BAD_COMMAND = ["train", "--network", "no such network", "--seed", "7"]


class Starts:
    """Runs commands and tells (process, arguments, settings found) of every start of Python in them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "starts.jsonl"
        names = [*SETTINGS, "FLS_ALLOCATOR"]
        (folder / "sitecustomize.py").write_text(SITE.format(names=names, log=str(self._log)))
        for name in names:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    def of(self, arguments: list[str], **environment: str) -> list[tuple[int, list[str], dict[str, str]]]:
        self._log.unlink(missing_ok=True)
        ended = run_python(arguments, check=False, **environment)
        assert ended.returncode == 2
        assert ended.stderr.startswith("fls: There is no network 'no such network'; choose one of: cnn, ")
        return [tuple(json.loads(line)) for line in self._log.read_text().splitlines()]


@pytest.fixture
def starts(tmp_path, monkeypatch) -> Starts:
    return Starts(tmp_path, monkeypatch)


def test_training_restarts_once_as_the_same_process_and_command(starts):
    command = ["-m", "fls_jax", *BAD_COMMAND]
    (process, arguments, before), (same_process, same_arguments, after) = starts.of(command)
    assert process == same_process
    assert arguments == same_arguments == command
    assert before == {}
    assert after == SETTINGS | {"FLS_ALLOCATOR": "tuned"}


def test_the_installed_command_does_so_too_and_the_users_own_settings_stay(starts):
    script = Path(sys.executable).with_name("fls")
    if not script.exists():
        pytest.skip("the project is not installed")
    own = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.check=1"}
    command = [str(script), *BAD_COMMAND]
    (_, arguments, before), (_, same_arguments, after) = starts.of(command, **own)
    assert arguments == same_arguments == command
    assert before == own
    assert after == SETTINGS | own | {"FLS_ALLOCATOR": "tuned"}


def test_it_can_be_turned_off(starts):
    ((_, _, found),) = starts.of(["-m", "fls_jax", *BAD_COMMAND, "--allocator", "default"])
    assert found == {}


def test_a_process_that_inherits_the_settings_does_not_restart(starts):
    ((_, _, found),) = starts.of(["-m", "fls_jax", *BAD_COMMAND], **SETTINGS, FLS_ALLOCATOR="tuned")
    assert found == SETTINGS | {"FLS_ALLOCATOR": "tuned"}


def test_a_run_says_what_it_ran_with():
    script = "from fls_jax.process.allocator import description; print(description())"
    assert run_python(["-c", script], FLS_ALLOCATOR="tuned").stdout == "tuned\n"
