"""The JSONL record of a run, which is the source of truth."""

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
_MOST_BYTES = 2**30  # of a record: about a million updates


def read_record(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl, none where there is no file; a last line cut short is left out.

    An archived run has metrics.jsonl.gz instead, which is read where the other is not there. Raises UserError
    for a file that cannot be read and, with its number, for any other damaged line.
    """
    try:
        lines = _content(path).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, EOFError, zlib.error) as error:
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
    """Where an archive keeps the record that a run has at `path`."""
    return path.with_name(f"{path.name}.gz")


def pack(path: Path, target: Path) -> None:
    """Write the record at `path` compressed to `target`: the same bytes for the same record."""
    write_whole(target, gzip.compress(_content(path), mtime=0))


def _content(path: Path) -> bytes:
    """The bytes of a record, packed or not; OSError for one that unpacks without end."""
    if path.exists() or not packed(path).exists():
        return path.read_bytes()
    with gzip.open(packed(path)) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"it unpacks to more than {_MOST_BYTES:,} bytes")
    return content


class Record:
    """metrics.jsonl, one line an update, flushed at once.

    Opening it drops the rows after `last_step` (updates that no checkpoint holds) and a last line cut
    short.
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
        """Append one row; UserError where the disk is full or gone."""
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Wait until every row is on the disk itself; UserError where that fails."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not for this file system
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file; rows are on disk since they were written, or `write` has said why not."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"The record {self._path} cannot be written ({error.strerror}): make room or rights, then run "
            "the same command again: it goes on from the last complete checkpoint."
        )


def _line(row: Row) -> str:
    return json.dumps({key: _plain(value) for key, value in row.items()}, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Numbers that do not exist are null: JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
