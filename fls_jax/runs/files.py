"""Atomic writes of files and folders, and locks of files for one process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

from fls_jax.errors import UserError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_LOOK_SECONDS = 0.5
_warned: set[int | None] = set()  # reasons that this process has already printed


class InUseError(Exception):
    """Another process holds the lock; `holder`: its own description in the file, if any."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked ({holder})" if holder else f"{path} is locked")
        self.path, self.holder = path, holder


@contextlib.contextmanager
def part_of(path: Path) -> Generator[Path]:
    """A file `<name>.part` beside `path` to write to, which replaces `path` at the end of the block.

    It is created before the block, so that a folder that cannot be written is found before any work. If the
    block fails, the part is removed and `path` is unchanged. Raises OSError.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(b"")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all. Raises OSError."""
    with part_of(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(target: Path) -> Generator[Path]:
    """The path of a new folder that replaces `target` at the end of the block, unless the block fails.

    The block creates the folder. Raises UserError if a file or folder cannot be read or written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            part = Path(temporary) / target.name
            yield part
            _put_in_place(part, target, Path(temporary) / "before")
    except OSError as error:
        raise UserError(
            f"{error.filename or target} cannot be read or written ({error.strerror}): free space or fix "
            "permissions, or choose another folder."
        ) from error


def _put_in_place(part: Path, target: Path, before: Path) -> None:
    """Rename `part` to `target`. An existing `target` is moved to `before`, and back if renaming fails."""
    if target.exists():
        target.rename(before)
    try:
        part.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise


def open_locked(path: Path, mode: str = "a+") -> IO[Any]:
    """Open a file, created if missing, and lock it for this process until it is closed.

    A lock ends with its process. On a file system without locks, a file `<name>.holder` with `host:pid`
    serves as the lock, and a warning is printed. Raises InUseError if another process holds the lock, OSError
    if the file cannot be opened.
    """
    file = path.open(mode)
    try:
        _lock(file)
    except BlockingIOError as error:
        with file:
            holder = ""
            if "b" not in mode and "+" in mode:
                file.seek(0)
                holder = file.read(200).strip()
        raise InUseError(path, holder) from error
    except OSError as error:
        try:
            if error.errno not in _NO_LOCKS:
                raise
            holder = _hold(path, error)
            weakref.finalize(file, _let_go, holder, holder.stat().st_ino)
        except BaseException:
            file.close()
            raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of a file; False if there is no such file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in _NO_LOCKS and _living_holder(_holder_file(path)) is not None
    return False


def _lock(file: IO[Any]) -> None:
    """Lock the file. Raises BlockingIOError if another process holds it for longer than `is_locked` does."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _hold(path: Path, reason: OSError) -> Path:
    """Create the file that serves as a lock, and warn. Raises InUseError if a living process has it."""
    holder = _holder_file(path)
    if (other := _living_holder(holder)) is not None:
        raise InUseError(path, f"{other}, says {holder}: delete that file if this process is gone")
    holder.unlink(missing_ok=True)
    with holder.open("x") as file:
        file.write(f"{socket.gethostname()}:{os.getpid()}")
    if reason.errno not in _warned:
        _warned.add(reason.errno)
        print(
            f"Warning: {path.parent} has no file locks ({reason.strerror}); {holder.name} serves as one. "
            "Start one job at a time there.",
            file=sys.stderr,
        )
    return holder


def _let_go(holder: Path, inode: int) -> None:
    """Remove the file that serves as a lock, unless it was renamed and replaced by another."""
    with contextlib.suppress(OSError):
        if holder.stat().st_ino == inode:
            holder.unlink()


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _living_holder(holder: Path) -> str | None:
    """`host:pid` of another process that holds the file and may be alive, else None."""
    try:
        host, _, number = holder.read_text().rpartition(":")
    except FileNotFoundError:
        return None
    if host == socket.gethostname() and number.isdecimal():
        if int(number) == os.getpid():
            return None
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
    return f"{host}:{number}"
