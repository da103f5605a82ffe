"""The JSONL record of a run, from which figures, tables and W&B are made; compressed files of an archive."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

from fls_jax.errors import UserError
from fls_jax.runs.files import write_whole

Row = dict[str, Any]
_MOST_BYTES = 2**30  # a record of about a million updates


def read_record(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; none if there is no file. A truncated last line is left out.

    An archived run has metrics.jsonl.gz instead, which is read if the other is missing. Raises UserError for
    a file that cannot be read and for any other damaged line, with its number.
    """
    try:
        lines = read_packed(path).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"The record {path} cannot be read ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if type(row["env_step"]) is not int:
                raise ValueError("env_step is no integer")
            rows.append(row)
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number}, is not a row of a record: remove or correct it, or start anew with "
                "--fresh."
            ) from error
    return rows


def packed(path: Path) -> Path:
    """The path of a file's compressed form in an archive; `path`: of the file in a run."""
    return path.with_name(f"{path.name}.gz")


def pack(path: Path, target: Path) -> None:
    """Compress the file at `path` to `target`. The same content gives the same bytes."""
    write_whole(target, gzip.compress(read_packed(path), mtime=0))


def read_packed(path: Path) -> bytes:
    """The bytes of the file at `path` or, if it is missing, of its compressed form.

    Raises OSError if neither can be read, for a damaged one and for one that unpacks to more than a limit.
    """
    if path.exists() or not packed(path).exists():
        return path.read_bytes()
    try:
        with gzip.open(packed(path)) as file:
            content = file.read(_MOST_BYTES + 1)
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error
    if len(content) > _MOST_BYTES:
        raise OSError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
    return content


class Record:
    """metrics.jsonl, one line per update, flushed at once.

    Opening it drops the rows after `last_step` (updates that are in no checkpoint) and a truncated last
    line.
    """

    def __init__(self, path: Path, last_step: int = 0) -> None:
        kept = [row for row in read_record(path) if row["env_step"] <= last_step]
        self._path = path
        try:
            write_whole(path, "".join(_line(row) for row in kept))
            self._file = path.open("a")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: Row) -> None:
        """Append one row. Raises UserError if the disk is full or gone."""
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Wait until every row is on the disk itself (fsync). Raises UserError if that fails."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system has no fsync
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file. `write` has already flushed the rows, or raised."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"The record {self._path} cannot be written ({error.strerror}): free space or fix permissions, "
            "then run the same command again: it resumes from the last complete checkpoint."
        )


def _line(row: Row) -> str:
    return json.dumps({key: _plain(value) for key, value in row.items()}, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """NaN and infinity become null, because JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
