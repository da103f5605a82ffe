"""Locks of real processes, and of file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fls_jax.runs import files
from fls_jax.runs.files import InUseError, is_locked, open_locked
from fls_jax.runs.folder import open_run


@pytest.fixture(params=["ENOSYS", "ENOLCK", "ENOTSUP"])
def without_locks(request, monkeypatch):
    """A file system that has no locks, for one of the reasons that there are; returns the reason."""
    number = getattr(errno, request.param)

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(files, "_warned", set())
    return os.strerror(number)


def test_where_there_are_no_locks_a_run_goes_on_with_one_warning(tmp_path, without_locks, capsys):
    for _ in range(2):
        with open_run(tmp_path / "run"):
            holder = (tmp_path / "run" / ".lock.holder").read_text()
            assert holder == f"{socket.gethostname()}:{os.getpid()}"
    told = capsys.readouterr().err
    assert told.count("Warning:") == 1
    assert f"{tmp_path / 'run'} has no file locks ({without_locks})" in told
    assert not (tmp_path / "run" / ".lock.holder").exists()
    with open_run(tmp_path / "run", fresh=True):
        assert (tmp_path / "run" / ".lock.holder").exists()


def test_without_locks_another_host_is_told(tmp_path, without_locks):
    (tmp_path / "file.holder").write_text("elsewhere:17")
    with pytest.raises(InUseError, match=r"elsewhere:17, says .*file.holder: delete that file if") as told:
        open_locked(tmp_path / "file")
    assert "elsewhere:17" in told.value.holder
    assert is_locked(tmp_path / "file")


def test_without_locks_a_living_process_holds_and_a_dead_one_does_not(tmp_path, without_locks):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (tmp_path / "file").touch()
    (tmp_path / "file.holder").write_text(f"{socket.gethostname()}:{process.pid}")
    try:
        assert is_locked(tmp_path / "file")
        with pytest.raises(InUseError):
            open_locked(tmp_path / "file")
    finally:
        process.kill()
        process.wait()
    assert not is_locked(tmp_path / "file")
    open_locked(tmp_path / "file").close()


def test_other_errors_of_a_lock_are_errors(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"):
        open_locked(tmp_path / "file")


def test_looking_whether_it_is_locked_keeps_nobody_from_locking(tmp_path):
    """`fls sync` looks into the folder at the moment when a training starts there."""
    path = tmp_path / "file"
    path.touch()
    looking = path.open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, looking.close).start()
    with open_locked(path):
        assert is_locked(path)
    assert not is_locked(path)


def test_a_lock_that_stays_is_told_soon(tmp_path):
    with open_locked(tmp_path / "file"):
        begun = time.monotonic()
        with pytest.raises(InUseError):
            open_locked(tmp_path / "file")
        assert time.monotonic() - begun < 5
