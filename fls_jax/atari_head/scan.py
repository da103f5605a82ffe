"""Finds archives, gaze files and folders of pictures by their names, in folders and in zips."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fls_jax.atari_head.archives import DAMAGE, FRAME_NAME, Source

_ARCHIVE = ".tar.bz2"
STEM = re.compile(r"(?P<trial>[0-9]{1,9})_.+")


class Found(NamedTuple):
    """An archive, gaze file or folder of PNGs that is not yet assigned to a trial."""

    source: Source
    folders: tuple[str, ...]  # names of its folders (and of the zip) below the root
    stem: str  # file name without suffix; for a folder of PNGs the run id


def scan_folder(folder: Path, inside: tuple[str, ...], problems: list[str], depth: int) -> Iterator[Found]:
    """Everything in a folder that may belong to a trial, in order of names.

    inside: names of the folders above it, below the root. problems: filled with sentences on what cannot be
    read. depth: levels of folders to enter below this one.
    """
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{folder} cannot be read: {error.strerror}")
        return
    runs = set()
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        if name.lower().endswith(".png"):
            if match := FRAME_NAME.fullmatch(name):
                runs.add(match["run"])
        elif name.endswith(_ARCHIVE) or name.endswith(".txt"):
            if found := _classify(name, inside, Path(entry.path)):
                yield found
        elif entry.is_dir():
            if depth:
                yield from scan_folder(Path(entry.path), (*inside, name), problems, depth - 1)
        elif name.lower().endswith(".zip"):
            yield from scan_zip(Path(entry.path), (*inside, name[:-4]), problems)
    yield from (Found(Source("folder", folder, run=run), inside, run) for run in sorted(runs))


def scan_zip(path: Path, inside: tuple[str, ...], problems: list[str]) -> Iterator[Found]:
    """Everything in a zip that may belong to a trial; as `scan_folder`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except DAMAGE as error:
        problems.append(f"{path} cannot be read, nor the trials in it: {error}")
        return
    runs = set()
    for member in sorted(members):
        *folders, name = member.split("/")
        if name.startswith(".") or "__MACOSX" in folders:
            continue
        if name.lower().endswith(".png"):
            if match := FRAME_NAME.fullmatch(name):
                runs.add(("/".join(folders), match["run"]))
        elif found := _classify(name, (*inside, *folders), path, member):
            yield found
        elif name.lower().endswith(".zip"):
            problems.append(f"{path}: {member!r} is a zip inside a zip and is not read; unpack the outer one")
    for folder, run in sorted(runs):
        yield Found(Source("folder", path, folder, run), (*inside, *folder.split("/")), run)


def _classify(name: str, inside: tuple[str, ...], path: Path, member: str | None = None) -> Found | None:
    if name.endswith(_ARCHIVE) and STEM.fullmatch(name.removesuffix(_ARCHIVE)):
        return Found(Source("tar", path, member), inside, name.removesuffix(_ARCHIVE))
    if name.endswith(".txt") and STEM.fullmatch(name.removesuffix(".txt")):
        return Found(Source("text", path, member), inside, name.removesuffix(".txt"))
    return None
