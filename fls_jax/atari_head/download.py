"""Fetches one game of Atari-HEAD from its Zenodo record."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from fls_jax.atari_head.metadata import GAMES, Release, canonical_game, parse_metadata
from fls_jax.atari_head.zenodo import RemoteFile, Zenodo, md5_of
from fls_jax.errors import UserError

RECORDS: dict[Release, str] = {"v1": "2603190", "v4": "3451402"}
"""Zenodo records of the releases."""
LICENCE = "CC-BY-4.0"
CITATION = (
    "R. Zhang, C. Walshe, Z. Liu, L. Guan, K. S. Muller, J. A. Whritner, L. Zhang, M. M. Hayhoe and "
    "D. H. Ballard. Atari-HEAD: Atari Human Eye-Tracking and Demonstration Dataset. AAAI 2020. "
    "arXiv 1903.06754, doi 10.5281/zenodo.{record}"
)
_METADATA = "meta_data.csv"
_SPARE_BYTES = 1 << 26


def download(
    game: str,
    directory: str | os.PathLike[str],
    *,
    release: Release = "v4",
    server: Zenodo | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Fetch the files of one game, and ``meta_data.csv``, into `directory`, as `open_dataset` reads them.

    Existing files with the right checksum are kept, and partial downloads are continued. A file of the same
    name with other content is never overwritten.

    Args:
        game: any spelling of a game of Atari-HEAD.
        directory: created if missing.
        release: ``v4`` (one zip per game) or ``v1`` (one archive and one text file per trial; the paper's).
        server: Zenodo, or a server with the same interface.
        console: for progress, licence and citation; standard error by default.

    Returns:
        The files, ``meta_data.csv`` first.

    Raises:
        UserError: unknown game or release, no connection, not enough disk space, a checksum that stays wrong,
            or another file of the same name.
    """
    server = server or Zenodo()
    console = console or Console(stderr=True)
    if release not in RECORDS:
        raise UserError(f"no release {release!r} of Atari-HEAD: choose one of {', '.join(RECORDS)}")
    name = canonical_game(game)
    if name is None:
        raise UserError(f"Atari-HEAD has no game {game!r}; it has {', '.join(GAMES)}")
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made a folder: {error.strerror}") from error
    record = RECORDS[release]
    _say(console, f"Atari-HEAD {release}, Zenodo record {record}, licence {LICENCE}. Cite it as:")
    _say(console, f"  {CITATION.format(record=record)}")
    files = server.list_files(record)
    wanted = [file for file in files if file.name == _METADATA]
    if release == "v1":
        _fetch_all(server, wanted, folder, console)
        wanted += _trials_of(name, files, folder)
    else:
        wanted += _zips_of(name, files)
    _fetch_all(server, wanted, folder, console)
    return [folder / file.name for file in wanted]


def _say(console: Console, text: str) -> None:
    # File names come from the listing: no markup in them.
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _zips_of(game: str, files: list[RemoteFile]) -> list[RemoteFile]:
    games = {
        file: canonical_game(file.name.removesuffix(".zip")) for file in files if file.name.endswith(".zip")
    }
    return [file for file, found in games.items() if found == game] or _no_files(game, games.values())


def _trials_of(game: str, files: list[RemoteFile], folder: Path) -> list[RemoteFile]:
    """In v1 only the metadata assigns trials to games."""
    path = folder / _METADATA
    try:
        rows = parse_metadata(path.read_text("utf-8", errors="replace")).rows
    except (OSError, ValueError) as error:
        raise UserError(f"{path}, which assigns trials to games, cannot be used: {error}") from error
    games: dict[RemoteFile, str] = {}
    for file in files:
        match = re.fullmatch(r"([0-9]{1,9})_.+(\.tar\.bz2|\.txt)", file.name)
        if match and int(match[1]) in rows:
            games[file] = rows[int(match[1])].game
    return [file for file, found in games.items() if found == game] or _no_files(game, games.values())


def _no_files(game: str, found: Iterable[str | None]) -> list[RemoteFile]:
    names = ", ".join(sorted({name for name in found if name})) or "no game"
    raise UserError(f"the record has no files of {game}; it has {names}")


def _fetch_all(server: Zenodo, files: list[RemoteFile], folder: Path, console: Console) -> None:
    missing = list(_missing(files, folder))
    _require_space(missing, folder)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        for file in missing:
            task = progress.add_task(file.name, total=file.size)
            server.fetch(
                file, folder / file.name, lambda there, task=task: progress.update(task, completed=there)
            )
            progress.remove_task(task)
            _say(console, f"{folder / file.name}: {file.size:,} bytes, checksum right")


def _missing(files: list[RemoteFile], folder: Path) -> Iterator[RemoteFile]:
    for file in files:
        path = folder / file.name
        if not path.exists():
            yield file
        elif not path.is_file() or path.stat().st_size != file.size or md5_of(path) != file.md5:
            raise UserError(
                f"{path} exists, but is not the record's file: move it away or choose another folder"
            )


def _require_space(files: list[RemoteFile], folder: Path) -> None:
    parts = [folder / f"{file.name}.part" for file in files]
    needed = sum(file.size for file in files) - sum(part.stat().st_size for part in parts if part.exists())
    free = shutil.disk_usage(folder).free
    if needed > 0 and needed + _SPARE_BYTES > free:
        raise UserError(
            f"{folder} has {free / 1e9:,.2f} GB free, but {needed / 1e9:,.2f} GB are to be downloaded "
            f"(and {_SPARE_BYTES / 1e9:,.2f} GB left over): free space or choose another folder"
        )
