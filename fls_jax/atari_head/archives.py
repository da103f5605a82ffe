"""The encoded pictures of one trial, streamed from an archive or a folder in bounded memory.

The data are untrusted. Nothing is written, and no name is used as a path: a picture is identified only by the
number at the end of its name. So names with ``..``, absolute names, links and devices do no harm.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple

import numpy as np

MAX_FRAMES = 200_000
"""Higher frame numbers are ignored; the longest trial of the release has 25,377 frames."""
MAX_PNG_BYTES = 1 << 20
"""A larger picture is not read: 160x210 RGB is 100,800 bytes before compression."""
MAX_TRIAL_BYTES = 1 << 30
"""A trial whose archive, compressed or not, is larger cannot be read."""
_MAX_NAME_BYTES = 1 << 16
_BLOCK = 512

DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    struct.error,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""Errors of the standard library for damaged, encrypted or unsupported archives."""

FRAME_NAME = re.compile(r"(?P<run>.+)_(?P<number>[0-9]{1,9})(?:\.png)?", re.IGNORECASE)
"""``<run id>_<frame number from 1>``, with ``.png`` for pictures and without for rows of the gaze file."""


class TrialError(Exception):
    """One trial cannot be read; the message gives the reason. Other trials are unaffected."""


@dataclass(frozen=True)
class Source:
    """A file or folder on disk or, with `member`, inside a zip on disk."""

    kind: Literal["tar", "folder", "text"]
    path: Path
    member: str | None = None
    run: str | None = None
    """For a folder with pictures of several runs: the id of the run to read."""

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @contextlib.contextmanager
    def open(self, limit: int = MAX_TRIAL_BYTES) -> Generator[Bounded]:
        """Open for reading at most `limit` bytes. Raises the errors of the file system and of zipfile."""
        with contextlib.ExitStack() as stack:
            raw: IO[bytes]
            if self.member is None:
                if not stat.S_ISREG(self.path.stat().st_mode):
                    raise TrialError(f"{self} is not a regular file")
                raw = stack.enter_context(self.path.open("rb"))
            else:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                raw = stack.enter_context(_open_member(archive, archive.getinfo(self.member)))
            yield Bounded(raw, limit, str(self))


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """Open a member of a zip. Raises TrialError for a compression that zipfile unpacks without a limit."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise TrialError(
            f"{archive.filename}:{info.filename} is compressed with method {info.compress_type}: only stored "
            "and deflated members are read"
        )
    return archive.open(info)


class Bounded(io.RawIOBase):
    """A stream that raises TrialError instead of giving more than `limit` bytes."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream = stream
        self._limit = self._left = limit
        self._name = name

    def readable(self) -> bool:
        """Always true: the stream can only be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the stream."""
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise TrialError(f"{self._name} is larger than {self._limit >> 20} MiB: no trial is that large")
        buffer[: len(data)] = data
        return len(data)


class _Member(NamedTuple):
    name: str  # last part only; empty for what is not a regular file
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class EncodedFrames:
    """The pictures of one trial, still encoded.

    Attributes:
        run: the run id that every picture's name starts with.
        numbers: int64 [F], ascending: the one-based numbers of the frames that are present.
        png: encoded pictures by number, of the wanted numbers only.
        repeated: pictures left out because an earlier picture has the same number.
        ignored: archive members that are not pictures of this run (links, devices, other names and runs).
    """

    run: str
    numbers: np.ndarray
    png: dict[int, bytes]
    repeated: int
    ignored: int

    @property
    def length(self) -> int:
        """The trial's number of frames, n: the highest frame number, even if some below it are missing."""
        return int(self.numbers[-1])


def read_frames(
    source: Source, run: str | None = None, wanted: Callable[[int], bool] | None = None
) -> EncodedFrames:
    """Read a trial's pictures by number.

    Args:
        source: a ``.tar.bz2`` or a folder of PNGs.
        run: the run id to read. By default the source's own, or that of the first picture.
        wanted: selects the one-based numbers whose pictures to keep; others are only listed. Default: all.

    Raises:
        TrialError: the archive is damaged or too large, or has no pictures.
    """
    png: dict[int, bytes] = {}
    numbers: set[int] = set()
    repeated = ignored = held = 0
    run = run or source.run
    try:
        for member in _members(source):
            match = None if member.name.startswith(".") else FRAME_NAME.fullmatch(member.name)
            number = int(match["number"]) if match and member.name.lower().endswith(".png") else 0
            if match is None or not 1 <= number <= MAX_FRAMES or match["run"] != (run := run or match["run"]):
                ignored += 1
            elif number in numbers:
                repeated += 1
            else:
                numbers.add(number)
                if wanted is None or wanted(number):
                    # An oversized picture is kept as an empty one: present, but it will not decode.
                    png[number] = member.read() if member.size <= MAX_PNG_BYTES else b""
                    held += len(png[number])
                    if held > MAX_TRIAL_BYTES:
                        raise TrialError(f"{source} holds more than {MAX_TRIAL_BYTES >> 20} MiB of pictures")
    except DAMAGE as error:
        raise TrialError(f"{source} cannot be read: {_reason(error)}") from error
    if not numbers:
        raise TrialError(f"{source} holds no pictures named <run id>_<number>.png ({ignored} other members)")
    return EncodedFrames(run or "", np.array(sorted(numbers), np.int64), png, repeated, ignored)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _members(source: Source) -> Iterator[_Member]:
    if source.kind == "tar":
        return _tar_members(source)
    return _folder_members(source.path) if source.member is None else _zip_members(source.path, source.member)


def _folder_members(folder: Path) -> Iterator[_Member]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                continue
            regular = entry.is_file()  # follows links; a device, a pipe or a dangling link is not a file
            size = entry.stat().st_size if regular else 0
            yield _Member(entry.name if regular else "", size, partial(_read_file, entry.path))


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_PNG_BYTES)


def _zip_members(path: Path, folder: str) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            parent, _, name = info.filename.rpartition("/")
            if parent == folder and name:
                yield _Member(name, info.file_size, partial(_read_member, archive, info))


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read at most the size limit of a picture; the size in the archive's header is not trusted."""
    with _open_member(archive, info) as file:
        return file.read(MAX_PNG_BYTES)


def _tar_members(source: Source) -> Iterator[_Member]:
    """Members of a ``.tar.bz2``, in the archive's order.

    This function walks the blocks itself and uses the standard library only for headers. ``tarfile`` would
    allocate whatever size a hostile extension header or sparse map gives, and it takes damage between members
    for the end of the archive.
    """
    with source.open() as raw, bz2.BZ2File(raw) as unpacked:
        stream = io.BufferedReader(Bounded(unpacked, MAX_TRIAL_BYTES, f"{source}, unpacked,"), 1 << 18)
        name_of_next = ""
        while header := _exactly(stream, _BLOCK, may_end=True):
            if not any(header):
                return
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if info.size < 0:
                raise TrialError(f"{source} is damaged: a member has the size {info.size}")
            left = _Countdown(stream, info.size if info.isreg() or not _bodiless(info) else 0)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name_of_next = os.fsdecode(left.read(_MAX_NAME_BYTES).rstrip(b"\0"))
            elif info.type == tarfile.XHDTYPE:
                name_of_next = _pax_path(left.read(_MAX_NAME_BYTES))
            elif info.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, tarfile.DIRTYPE):
                plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                name = PurePosixPath(name_of_next or info.name).name if plain else ""
                name_of_next = ""
                yield _Member(name, info.size, partial(left.read, MAX_PNG_BYTES))
            left.skip()


def _bodiless(info: tarfile.TarInfo) -> bool:
    """Links, devices and folders have no data after their header, whatever size the header gives."""
    return info.islnk() or info.issym() or info.isdev() or info.isdir()


class _Countdown:
    """The data of one tar member, read and skipped up to its size, padded to whole blocks."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._size = size
        self._padding = -size % _BLOCK

    def read(self, most: int) -> bytes:
        data = _exactly(self._stream, min(self._size, most))
        self._size -= len(data)
        return data

    def skip(self) -> None:
        left = self._size + self._padding
        while left:
            left -= len(_exactly(self._stream, min(left, 1 << 18)))


def _exactly(stream: IO[bytes], size: int, *, may_end: bool = False) -> bytes:
    data = stream.read(size)
    if len(data) != size and not (may_end and not data):
        raise EOFError("the archive ends in the middle of a member")
    return data


def _pax_path(records: bytes) -> str:
    """The ``path`` of a pax extended header: records are ``<length> <keyword>=<value>\\n``."""
    while match := re.match(rb"([0-9]{1,6}) ", records):
        length = int(match[1])
        keyword, _, value = records[match.end() : length - 1].partition(b"=")
        if keyword == b"path":
            return os.fsdecode(value)
        if length <= match.end():
            break
        records = records[length:]
    return ""
