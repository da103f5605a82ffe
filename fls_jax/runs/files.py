"""Files written whole or not at all, folders put in place, and files locked for one process."""

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
_warned: set[int | None] = set()  # reasons that this process has told


class InUseError(Exception):
    """Another process holds the lock; `holder` is what it wrote of itself into the file, if anything."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is locked ({holder})" if holder else f"{path} is locked")
        self.path, self.holder = path, holder


@contextlib.contextmanager
def part_of(path: Path) -> Generator[Path]:
    """A file `<name>.part` beside `path` to be written, which takes its place at the end of the block.

    It is made before the block, so that a folder that cannot be written is told before any work. Where
    the block fails it is removed, and `path` is what it was. Raises OSError.
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
    """A folder, not made yet, that takes the place of `target` at the end of the block, or leaves it alone.

    Raises UserError where a file or folder cannot be read or written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            part = Path(temporary) / target.name
            yield part
            _put_in_place(part, target, Path(temporary) / "before")
    except OSError as error:
        raise UserError(
            f"{error.filename or target} cannot be read or written ({error.strerror}): make room or rights, "
            "or choose another folder."
        ) from error


def _put_in_place(part: Path, target: Path, before: Path) -> None:
    """Rename `part` to `target`; what was there goes to `before`, and back where that fails."""
    if target.exists():
        target.rename(before)
    try:
        part.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise


def open_locked(path: Path, mode: str = "a+") -> IO[Any]:
    """Open a file, made if missing, and lock it for this process until it is closed.

    A dead process holds no lock. On a file system without locks a file `<name>.holder` with `host:pid` stands
    in for it, and a warning says so. Raises InUseError where another process holds it, OSError where the file
    cannot be opened.
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
    """Whether a living process holds the lock of a file; False where there is no such file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in _NO_LOCKS and _living_holder(_holder_file(path)) is not None
    return False


def _lock(file: IO[Any]) -> None:
    """Lock it; BlockingIOError where another holds it for longer than `is_locked` needs to look."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _hold(path: Path, reason: OSError) -> Path:
    """Make the file that stands in for a lock, and warn; InUseError where a living process has made it."""
    holder = _holder_file(path)
    if (other := _living_holder(holder)) is not None:
        raise InUseError(path, f"{other}, says {holder}: delete that file if this process is gone")
    holder.unlink(missing_ok=True)
    with holder.open("x") as file:
        file.write(f"{socket.gethostname()}:{os.getpid()}")
    if reason.errno not in _warned:
        _warned.add(reason.errno)
        print(
            f"Warning: {path.parent} has no file locks ({reason.strerror}); {holder.name} stands in for one. "
            "Start one job at a time there.",
            file=sys.stderr,
        )
    return holder


def _let_go(holder: Path, inode: int) -> None:
    """Remove the file that stands in for a lock, unless it has been renamed and another is there."""
    with contextlib.suppress(OSError):
        if holder.stat().st_ino == inode:
            holder.unlink()


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _living_holder(holder: Path) -> str | None:
    """`host:pid` of another process that holds the file and is not known to be dead."""
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
