"""Names of games, and ``meta_data.csv`` of both Atari-HEAD releases."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Literal

from fls_jax.atari_head.text import from_header, separator_of

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
    """EnvPool's spelling of a game of Atari-HEAD given in any spelling; None for other games.

    >>> canonical_game("Mspacman"), canonical_game("ms_pacman_highscore"), canonical_game("Pong")
    ('MsPacman', 'MsPacman', None)
    """
    return _BY_LETTERS.get(_letters(name).removesuffix("highscore"))


@dataclass(frozen=True)
class Recording:
    """How a trial was recorded, from v4's ``meta_data.csv`` (described in its README); None if not given.

    Attributes:
        frame_averaging: whether each picture is the average of two consecutive frames. No agent was trained
            on such pictures.
        load_trial: the trial that this one continues; 0 if it starts at the game's beginning.
        avg_error, max_error: errors in the eye tracker's validation, in degrees of visual angle.
        low_sample_rate: share of frames with few gaze samples.
    """

    frame_averaging: bool | None = None
    load_trial: int | None = None
    avg_error: float | None = None
    max_error: float | None = None
    low_sample_rate: float | None = None


NOTHING_KNOWN = Recording()


@dataclass(frozen=True)
class TrialFilter:
    """Selects trials by how they were recorded; the defaults keep all of them.

    A trial is also left out if the data set lacks the value that a filter needs.
    """

    no_averaged: bool = False
    """Leave out trials whose pictures are averages of two frames (meta_data.csv: frame_averaging)."""
    no_continued: bool = False
    """Leave out trials that continue another trial (load_trial)."""
    avg_error: float | None = None
    """Leave out trials with a larger average error of the eye tracker, in degrees (avg_error)."""
    max_error: float | None = None
    """Leave out trials with a larger maximum error of the eye tracker, in degrees (max_error)."""
    low_sample_rate: float | None = None
    """Leave out trials with a larger share of frames with few gaze samples, from 0 to 1 (low_sample_rate)."""

    def reason(self, how: Recording) -> str | None:
        """Why a trial is left out; None if it is kept."""
        if self.no_averaged and how.frame_averaging is not False:
            return "averaged frames" if how.frame_averaging else "frame_averaging unknown"
        if self.no_continued and how.load_trial != 0:
            return "load_trial unknown" if how.load_trial is None else f"continues trial {how.load_trial}"
        for name in ("avg_error", "max_error", "low_sample_rate"):
            limit, value = getattr(self, name), getattr(how, name)
            if limit is not None and (value is None or value > limit):
                return f"{name} {'unknown' if value is None else format(value, 'g')}"
        return None


ALL_TRIALS = TrialFilter()


@dataclass(frozen=True)
class MetadataRow:
    """The row of one trial in ``meta_data.csv``.

    Attributes:
        trial: the trial's number.
        game: EnvPool's spelling, or the file's own for a game that is not known to be in Atari-HEAD.
        highscore: whether it belongs to the highscore part (v4 only).
        frames: frames of the whole trial, None if the field is not a number.
        recording: how it was recorded (v4 only).
    """

    trial: int
    game: str
    highscore: bool
    frames: int | None
    recording: Recording = NOTHING_KNOWN


@dataclass(frozen=True)
class Metadata:
    """A parsed ``meta_data.csv``: rows by trial number, and its problems."""

    release: Release
    rows: dict[int, MetadataRow]
    problems: tuple[str, ...]


def parse_metadata(text: str) -> Metadata:
    """Parse ``meta_data.csv`` of either release; blank rows are skipped, unreadable ones become problems.

    Columns may be separated by commas, semicolons or tabs.

    Raises:
        ValueError: the header has neither release's columns.
    """
    lines = text.removeprefix("\ufeff").replace("\0", "")
    header_line = next(from_header(io.StringIO(lines)), "")
    skipped = lines[: lines.find(header_line)].count("\n")
    try:
        rows_of_text = csv.reader(from_header(io.StringIO(lines)), delimiter=separator_of(header_line))
        table = list(rows_of_text)
    except csv.Error as error:
        raise ValueError(f"meta_data.csv is not a CSV file: {error}") from error
    header = [name.strip().lower() for name in table[0]] if table else []
    release = next((name for name, columns in _COLUMNS.items() if set(columns) <= set(header)), None)
    if release is None:
        expected = " nor ".join(", ".join(columns) for columns in _COLUMNS.values())
        raise ValueError(f"meta_data.csv has the columns {', '.join(header)[:200]!r}: neither {expected}")
    rows: dict[int, MetadataRow] = {}
    problems = []
    for line, fields in enumerate(table[1:], start=skipped + 2):
        if not any(field.strip() for field in fields):
            continue
        values = dict(zip(header, (field.strip() for field in fields), strict=False))
        trial, game, frames = (values.get(column, "") for column in _COLUMNS[release])
        number = _integer(trial)
        if number is None or not game:
            problems.append(f"meta_data.csv, line {line}: no trial number or no game, left out")
        elif number in rows:
            problems.append(f"meta_data.csv, line {line}: trial {number} again; the first row is used")
        else:
            highscore = _letters(game).endswith("highscore")
            name = canonical_game(game) or game
            rows[number] = MetadataRow(number, name, highscore, _integer(frames), _recording(values))
    return Metadata(release, rows, tuple(problems))


def _recording(values: dict[str, str]) -> Recording:
    averaging = values.get("frame_averaging", "").lower()
    share = values.get("low_sample_rate", "")
    percent = _number(share.removesuffix("%"))
    return Recording(
        {"true": True, "1": True, "false": False, "0": False}.get(averaging),
        _integer(values.get("load_trial", "")),
        _number(values.get("avg_error", "")),
        _number(values.get("max_error", "")),
        percent / 100 if percent is not None and share.endswith("%") else percent,
    )


def _number(text: str) -> float | None:
    """A number that is finite and not negative; None for anything else."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _integer(text: str) -> int | None:
    match = re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text.replace(",", ""))
    return int(match[1]) if match else None
