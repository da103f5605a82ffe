"""The files of an evaluation: finished rounds while it runs, one JSON at its end; and the summary."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fls_jax.errors import UserError
from fls_jax.evaluation.play import Game
from fls_jax.runs.files import InUseError, open_locked, write_whole
from fls_jax.runs.folder import set_aside
from fls_jax.statistics import bootstrap_intervals, human_normalised, iqm, mean, median

STATISTICS = {"mean": mean, "median": median, "iqm": iqm}


def summarise(games: list[Game], game: str | None) -> dict[str, Any]:
    """Mean, population std, median, IQM of the returns, 95% intervals, lengths, human-normalised score.

    The intervals come from 2,000 bootstrap resamples of the games, which are independent of each other. They
    are null for a single game. game: for the human-normalised mean, median and IQM, which are null for None
    and for games without published scores.
    """
    ordered = sorted(games, key=lambda g: (g.number, g.environment))
    returns = np.array([g.score for g in ordered])[:, None]
    values = {name: float(statistic(returns)) for name, statistic in STATISTICS.items()}
    intervals = bootstrap_intervals(returns, STATISTICS) if len(games) > 1 else {}
    normalised = {name: human_normalised(value, game) for name, value in values.items()} if game else {}
    return {
        "games": len(games),
        **values,
        "std": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
        "interval_95": {name: list(intervals[name]) if intervals else None for name in STATISTICS},
        "human_normalised": None if None in normalised.values() or not normalised else normalised,
        "mean_steps": float(np.mean([g.steps for g in games])),
        "games_cut": sum(g.cut for g in games),
    }


@dataclass
class PartFile:
    """Finished rounds of an unfinished evaluation, one line each, flushed to disk.

    The first line identifies the evaluation. A line `session` (older versions: `sitting`) names the code and
    the machine of the rounds after it. Locked for this process until `close`.
    """

    path: Path
    games: list[Game] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def open(self, identity: dict[str, Any], session: dict[str, Any], fresh: bool = False) -> None:
        """Lock and read the file. Raises UserError if it is in use or belongs to another evaluation.

        fresh: rename an existing file instead.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = open_locked(self.path, "a+b")
        except InUseError as error:
            raise UserError(f"Another process is running this evaluation ({error}).") from error
        try:
            if fresh and os.fstat(self._file.fileno()).st_size:
                set_aside(self.path)
                self._file.close()
                self._file = open_locked(self.path, "a+b")
            self._read(identity)
            self._add({"session": session})
        except BaseException:
            self._file.close()
            raise

    def add_round(self, games: list[Game], seconds: float) -> None:
        """Add a finished round."""
        self._add({"round": self.rounds, "seconds": seconds, "games": [game.to_json() for game in games]})

    def close(self, delete: bool = False) -> None:
        """Unlock the file, and delete it if the result is written."""
        if delete:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self, identity: dict[str, Any]) -> None:
        """Read the file. A last line that a killed process left incomplete is removed."""
        self._file.seek(0)
        whole = self._file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        if not whole:
            self._write({"evaluation": identity})
            return
        try:
            first, *rest = [json.loads(line) for line in whole.splitlines()]
            check_same(self.path, first["evaluation"], identity)
            for line in rest:
                self._take(line)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path} is damaged: set it aside with --fresh.") from error

    def _add(self, line: dict[str, Any]) -> None:
        self._write(line)
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        session = line.get("session") or line.get("sitting")
        if session:
            self.sessions.append(session)
            return
        self.games += [Game.from_json(values) for values in line["games"]]
        self.rounds += 1
        self.seconds += line["seconds"]

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_result(path: Path) -> dict[str, Any] | None:
    """The content of a result file; None if there is none. Raises UserError if it is damaged."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or not isinstance(content.get("summary"), dict):
            raise ValueError("it has no summary")
        return content
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}): set it aside with --fresh.") from error


def check_same(path: Path, stored: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise UserError with the differences if a file belongs to another evaluation.

    For older results without a fingerprint of the parameters, the parameters are not compared.
    """
    ours = {name: value for name, value in ours.items() if name != "parameters" or name in stored}
    different = [f"{k}: {stored.get(k)} -> {v}" for k, v in ours.items() if stored.get(k) != v]
    if different:
        raise UserError(
            f"{path} holds an evaluation with other settings ({'; '.join(different)}): give the same "
            "options, or --fresh to set it aside."
        )


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result atomically, with one game per line."""
    games = result.pop("games")
    head = json.dumps(result, indent=2)
    rows = ",\n    ".join(json.dumps(game) for game in games)
    write_whole(path, f'{head[:-2]},\n  "games": [\n    {rows}\n  ]\n}}\n')
