"""Names of games, and ``meta_data.csv`` of both Atari-HEAD releases."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Literal

Release = Literal["v1", "v4"]

GAMES = (
    "Alien", "Asterix", "BankHeist", "Berzerk", "Breakout", "Centipede", "DemonAttack", "Enduro", "Freeway",
    "Frostbite", "Hero", "MontezumaRevenge", "MsPacman", "NameThisGame", "Phoenix", "Riverraid", "RoadRunner",
    "Seaquest", "SpaceInvaders", "Venture",
)  # fmt: skip
"""The games of Atari-HEAD as EnvPool spells them (Zhang et al., arXiv 1903.06754)."""

_COLUMNS: dict[Release, tuple[str, str, str]] = {
    "v1": ("trialnumber", "game", "numberofframes"),
    "v4": ("trial_id", "gamename", "total_frame"),
}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_LETTERS = {_letters(game): game for game in GAMES}


def canonical_game(name: str) -> str | None:
    """EnvPool's spelling of a game of Atari-HEAD, however it is spelt; None for other games.

    >>> canonical_game("Mspacman"), canonical_game("ms_pacman_highscore"), canonical_game("Pong")
    ('MsPacman', 'MsPacman', None)
    """
    return _BY_LETTERS.get(_letters(name).removesuffix("highscore"))


@dataclass(frozen=True)
class MetadataRow:
    """What ``meta_data.csv`` says of one trial.

    Attributes:
        trial: the trial's number.
        game: EnvPool's spelling, or the file's own for a game that Atari-HEAD is not known to have.
        highscore: whether it belongs to the highscore part (v4 only).
        frames: frames of the whole trial, None where the field is not a number.
    """

    trial: int
    game: str
    highscore: bool
    frames: int | None


@dataclass(frozen=True)
class Metadata:
    """A parsed ``meta_data.csv``: rows by trial number, and what was wrong with it."""

    release: Release
    rows: dict[int, MetadataRow]
    problems: tuple[str, ...]


def parse_metadata(text: str) -> Metadata:
    """Parse ``meta_data.csv`` of either release; blank rows are skipped, unreadable ones become problems.

    Raises:
        ValueError: the header has neither release's columns.
    """
    try:
        table = list(csv.reader(io.StringIO(text.removeprefix("\ufeff").replace("\0", ""))))
    except csv.Error as error:
        raise ValueError(f"meta_data.csv is not a CSV file: {error}") from error
    header = [name.strip().lower() for name in table[0]] if table else []
    release = next((name for name, columns in _COLUMNS.items() if set(columns) <= set(header)), None)
    if release is None:
        expected = " nor ".join(", ".join(columns) for columns in _COLUMNS.values())
        raise ValueError(f"meta_data.csv has the columns {', '.join(header)[:200]!r}: neither {expected}")
    rows: dict[int, MetadataRow] = {}
    problems = []
    for line, fields in enumerate(table[1:], start=2):
        if not any(field.strip() for field in fields):
            continue
        values = dict(zip(header, (field.strip() for field in fields), strict=False))
        trial, game, frames = (values.get(column, "") for column in _COLUMNS[release])
        number = _integer(trial)
        if number is None or not game:
            problems.append(f"meta_data.csv, line {line}: no trial number or no game, left out")
        elif number in rows:
            problems.append(f"meta_data.csv, line {line}: trial {number} again, the first row counts")
        else:
            highscore = _letters(game).endswith("highscore")
            rows[number] = MetadataRow(number, canonical_game(game) or game, highscore, _integer(frames))
    return Metadata(release, rows, tuple(problems))


def _integer(text: str) -> int | None:
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text.replace(",", ""))
    return int(match[1]) if match else None
