"""Files written whole or not at all, folders put in place, and files locked for one process."""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

from fls_jax.errors import UserError


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
    path.parent.mkdir(parents=True, exist_ok=True)
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

    A dead process holds no lock. Raises InUseError where another process holds it, OSError where it cannot be
    opened or locked.
    """
    file = path.open(mode)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            holder = ""
            if "b" not in mode and "+" in mode:
                file.seek(0)
                holder = file.read(200).strip()
        raise InUseError(path, holder) from error
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
    except OSError:
        return False
    return False
