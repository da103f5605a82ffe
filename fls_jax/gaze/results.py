"""The files of a gaze pass: RUN/gaze/<protocol>-<space>/{frames.csv,frames.parquet,trials.json,summary.json}.

They are written to a folder `<protocol>-<space>.part`, one whole trial at a time, and renamed at the end,
also after a pass that was stopped. Earlier results are kept as `<name>.old-<n>`, unless the new results
contain all of them. Trials scored before under the same settings are not scored again, in whichever folder
they are. Results that `fresh` replaces are marked as superseded and no longer used.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fls_jax.errors import UserError
from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.trial_pass import TrialScores
from fls_jax.runs.files import InUseError, open_locked, write_whole
from fls_jax.runs.folder import set_aside

FRAMES, TRIALS, SUMMARY = "frames.csv", "trials.json", "summary.json"
PARQUET = "frames.parquet"
_KEYS = ("trial", "frame", "map")
_FILES = {FRAMES, PARQUET, TRIALS, SUMMARY}
_SUPERSEDED = "superseded"
_SCHEMA = pa.schema(
    [("trial", pa.int64()), ("frame", pa.int64()), ("map", pa.string())]
    + [(metric, pa.float32()) for metric in METRICS]
)


class Scored(NamedTuple):
    """A trial's entry in trials.json and its scores."""

    entry: dict[str, Any]
    scores: TrialScores


def to_rows(trial: int, scores: TrialScores, maps: Sequence[str]) -> pd.DataFrame:
    """One row per frame and map, in that order; columns `trial, frame, map` and METRICS."""
    n, m, _ = scores.values.shape
    keys = {
        "trial": np.full(n * m, trial, np.int64),
        "frame": np.repeat(scores.frames, m),
        "map": np.tile(np.array(maps, object), n),
    }
    return pd.DataFrame(keys | dict(zip(METRICS, scores.values.reshape(n * m, -1).T, strict=True)))


def to_scores(rows: pd.DataFrame, maps: Sequence[str]) -> TrialScores:
    """The inverse of `to_rows`. Raises ValueError if rows are missing or out of order."""
    values = rows[list(METRICS)].to_numpy(np.float32)
    frames = rows["frame"].to_numpy(np.int64)[:: len(maps)]
    if rows["map"].tolist() != list(maps) * len(frames):
        raise ValueError("rows are missing")
    return TrialScores(frames, values.reshape(len(frames), len(maps), len(METRICS)))


def read_scored(folder: Path, identity: dict[str, Any]) -> dict[int, Scored]:
    """The trials scored under these settings in a folder of results, finished or not; else none."""
    if (folder / _SUPERSEDED).exists() or not _is_under(folder, identity):
        return {}
    try:
        entries = {entry["trial"]: entry for entry in read_json(folder / TRIALS) if entry["scored"]}
        written = (folder / FRAMES).read_bytes()
        lines = io.BytesIO(
            written[: written.rfind(b"\n") + 1]
        )  # a killed pass may have left a truncated last line
        table = pd.read_csv(lines, dtype=dict.fromkeys(METRICS, np.float32))
        rows = dict(list(table.groupby("trial")))
        return {
            number: Scored(entry, to_scores(rows[number], identity["maps"]))
            for number, entry in entries.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _is_under(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a folder holds results of these settings."""
    try:
        summary = read_json(folder / SUMMARY)
        return {name: summary[name] for name in identity} == identity
    except (OSError, ValueError, LookupError, TypeError):
        return False


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises OSError and ValueError."""
    return json.loads(path.read_text())


class ResultsWriter:
    """Writes the results of one pass. A context manager, which locks the folder.

    Args:
        folder: the final folder of the results.
        identity: the settings; results of the same settings are the same.
        fresh: do not use trials scored before, now or later, and remove no earlier results.

    Attributes:
        kept: trials scored before under these settings, by number.
        standing: those of them that are in `folder` itself.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], fresh: bool = False) -> None:
        self.folder = folder
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))  # as it is read back
        self.kept: dict[int, Scored] = {}
        self.standing: set[int] = set()
        self._part = folder.with_name(f"{folder.name}.part")
        self._fresh = fresh
        self._trials: list[dict[str, Any]] = []

    def __enter__(self) -> ResultsWriter:
        with self._telling_of_the_disk(), contextlib.ExitStack() as files:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            files.enter_context(_locked(self.folder.with_name(f".{self.folder.name}.lock")))
            # A killed pass leaves its trials; they are removed only when new results contain them.
            self._leftovers = set_aside(self._part, self.folder.name)
            for former in [] if self._fresh else self._former():
                scored = read_scored(former, self.identity)
                self.standing = set(scored) if former == self.folder else set()
                self.kept |= scored
            self._part.mkdir()
            self._csv: IO[str] = files.enter_context((self._part / FRAMES).open("w", newline=""))
            self._csv.write(",".join([*_KEYS, *METRICS]) + "\n")
            self._csv.flush()
            self._parquet = files.enter_context(pq.ParquetWriter(self._part / PARQUET, _SCHEMA))
            self._write_json(TRIALS, [])
            self._write_json(SUMMARY, {**self.identity, "complete": False})
            self._files = files.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._telling_of_the_disk():
            self._files.close()
            if not self._scored() and self._part.exists():
                shutil.rmtree(self._part)

    def add(self, entry: dict[str, Any], scores: TrialScores | None = None) -> None:
        """Write one trial: its entry in trials.json, and its scores if it has any."""
        with self._telling_of_the_disk():
            if scores is not None:
                rows = to_rows(entry["trial"], scores, self.identity["maps"])
                rows.to_csv(self._csv, header=False, index=False, float_format="%.9g", na_rep="NaN")
                self._csv.flush()
                self._parquet.write_table(pa.Table.from_pandas(rows, _SCHEMA, preserve_index=False))
            self._trials.append(entry)
            self._trials.sort(key=lambda entry: entry["trial"])
            self._write_json(TRIALS, self._trials)

    def publish(self, summary: dict[str, Any]) -> list[Path]:
        """Rename the results to their final folder. Returns the folders of earlier results that are kept.

        summary: the content of summary.json, including the identity.
        """
        with self._telling_of_the_disk():
            self._write_json(SUMMARY, summary)
            self._parquet.close()
            self._csv.close()
            replaced = set_aside(self.folder, self.folder.name)
            self._part.rename(self.folder)
            for path in self._former():
                if path != self.folder and _is_under(path, self.identity):
                    self._replace(path)
            return [path for path in (replaced, self._leftovers) if path is not None and path.exists()]

    def discard(self) -> None:
        """Write nothing: the existing results contain these trials and more."""
        self._trials = []

    def _former(self) -> list[Path]:
        """Folders of results of this name, oldest first, the current one last."""
        aside = re.compile(re.escape(self.folder.name) + r"\.old-([0-9]+)")
        found = [(aside.fullmatch(path.name), path) for path in self.folder.parent.iterdir() if path.is_dir()]
        older = [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]
        return [*older, self.folder] if self.folder.is_dir() else older

    def _scored(self) -> set[int]:
        return {entry["trial"] for entry in self._trials if entry["scored"]}

    def _replace(self, former: Path) -> None:
        """Remove earlier results if the new ones contain all of them; mark those that `fresh` replaces."""
        if self._fresh:
            (former / _SUPERSEDED).touch()
            return
        files = {path.name.removesuffix(".part") for path in former.iterdir()}
        try:
            theirs = {entry["trial"] for entry in read_json(former / TRIALS) if entry["scored"]}
        except (OSError, ValueError, LookupError, TypeError):
            return
        if theirs <= self._scored() and files <= _FILES:
            shutil.rmtree(former)

    def _write_json(self, name: str, value: Any) -> None:
        write_whole(self._part / name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    @contextlib.contextmanager
    def _telling_of_the_disk(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The results in {self.folder.parent} cannot be written ({error.strerror or error}): free "
                "space or fix permissions, then run the same command again: trials that are written are kept."
            ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    try:
        file = open_locked(path)
    except InUseError as error:
        raise UserError(f"Another gaze pass is writing these results ({error}).") from error
    with file:
        yield
