"""Reads run folders for a report; damaged files are listed and left out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.report.page import shown
from fls_jax.runs.contents import (
    Evaluation,
    attention_tables,
    evaluation_files,
    gaze_summaries,
    read_evaluation,
    read_sessions,
)
from fls_jax.runs.folder import RunFolder, find_runs
from fls_jax.runs.record import Row, read_packed, read_record

SCORES = ("agent", "method", "target", "metric", "value", "low", "high")


@dataclass(frozen=True)
class Source:
    """A run folder's content, without its checkpoints.

    details: all of config.json. history: the rows of metrics.jsonl by env_step. gaze: its summary.json files.
    attention: its tables of replaced attention. saliency: the scores of comparisons of methods, by name.
    """

    path: Path
    config: TrainConfig
    details: dict[str, Any]
    history: list[Row]
    sessions: list[Row]
    evaluations: list[Evaluation]
    gaze: list[dict[str, Any]]
    attention: list[dict[str, Any]] = field(default_factory=list)
    saliency: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def game(self) -> str:
        """As the configuration has it, fit to be shown."""
        return shown(self.config.game)

    @property
    def network(self) -> str:
        """With `-cost<L>` if its attention costs, fit to be shown."""
        return shown(self.config.variant)

    @property
    def env_step(self) -> int:
        """Where the record ends; of a shipped agent, its step."""
        shipped = self.details.get("pretrained") or {}
        return int(shipped.get("env_step") or (self.history[-1]["env_step"] if self.history else 0))


@dataclass
class Sources:
    """Runs by game and network, and unusable files: {path, reason}."""

    runs: list[Source] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)

    def leave_out(self, path: Path, reason: str) -> None:
        """List an unusable file."""
        self.problems.append({"path": shown(path), "reason": shown(reason)})

    @property
    def labels(self) -> list[str]:
        """A unique label for each run: network and seed, and folder and number if these are not unique."""
        labels = [f"{run.network}, seed {run.config.seed}" for run in self.runs]
        keys = list(zip((run.game for run in self.runs), labels, strict=True))
        counts, seen = Counter(keys), Counter[tuple[str, str]]()
        for number, key in enumerate(keys):
            if counts[key] > 1:
                seen[key] += 1
                labels[number] += f" ({shown(self.runs[number].path.name)}, no. {seen[key]})"
        return labels


def read_sources(roots: Iterable[Path], records: Iterable[Path] = ()) -> Sources:
    """Read run folders, or all below folders that hold some; UserError where nothing can be read.

    A damaged config.json or record leaves its run out, a damaged evaluation or gaze summary only itself.
    records: folders that hold run folders; a run without a record gets that of the same configuration there.
    """
    found, seen = Sources(), set()
    for root in roots:
        for path in find_runs(root) or [root]:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                found.runs.append(_read(RunFolder(path), found))
            except UserError as error:
                found.leave_out(path, str(error))
    if not found.runs:
        reasons = "; ".join(problem["reason"] for problem in found.problems) or "no folder was given"
        raise UserError(
            f"There is no run to report ({reasons}): name run folders, or folders that hold run folders."
        )
    found.runs = _with_records(found, list(records))
    found.runs.sort(key=lambda run: (run.game, run.network, run.config.seed, str(run.path)))
    return found


def _with_records(found: Sources, roots: list[Path]) -> list[Source]:
    """The runs, those without a record with what another folder has of the same training."""
    known: dict[TrainConfig, Source] = {}
    for path in (path for root in roots for path in find_runs(root)):
        try:
            config = TrainConfig.from_json(RunFolder(path).read_config(), str(RunFolder(path).config_file))
            if any(run.config == config and not run.history for run in found.runs):
                known.setdefault(config, _read(RunFolder(path), found))
        except UserError as error:
            found.leave_out(path, str(error))
    return [_joined(run, known[run.config]) if run.config in known else run for run in found.runs]


def _joined(run: Source, record: Source) -> Source:
    """A run without a record, with the record and the results of its training that lie elsewhere.

    Evaluations that it was shipped with are not listed twice.
    """
    if run.history:
        return run
    shipped = (run.details.get("pretrained") or {}).get("evaluations", [])
    more = [] if shipped else record.evaluations
    return replace(
        run,
        history=[row for row in record.history if row["env_step"] <= (run.env_step or row["env_step"])],
        sessions=record.sessions,
        evaluations=[*run.evaluations, *more],
        gaze=run.gaze or record.gaze,
        attention=run.attention or record.attention,
        saliency=run.saliency or record.saliency,
    )


def _read(folder: RunFolder, sources: Sources) -> Source:
    details = folder.read_config()
    config = TrainConfig.from_json(details, str(folder.config_file))
    sessions = read_sessions(folder, details)
    history = sorted(read_record(folder.record_file), key=lambda row: row["env_step"])
    gaze, damaged = gaze_summaries(folder)
    for path, reason in damaged.items():
        sources.leave_out(path, reason)
    evaluations = []
    for path in evaluation_files(folder):
        try:
            evaluations.append(read_evaluation(path))
        except UserError as error:
            sources.leave_out(path, str(error))
    attention: list[dict[str, Any]] = []
    try:
        attention = attention_tables(folder)
    except UserError as error:
        sources.leave_out(folder.path / "attention", str(error))
    saliency = _saliency(folder, sources)
    return Source(folder.path, config, details, history, sessions, evaluations, gaze, attention, saliency)


def _saliency(folder: RunFolder, sources: Sources) -> dict[str, pd.DataFrame]:
    """The scores.csv, or in an archive scores.csv.gz, of every comparison of methods, by its name."""
    found = {}
    tables = [*folder.path.glob("saliency/*/scores.csv"), *folder.path.glob("saliency/*/scores.csv.gz")]
    for path in sorted({path.with_name("scores.csv") for path in tables}):
        try:
            table = pd.read_csv(BytesIO(read_packed(path)))
            missing = set(SCORES) - set(table.columns)
            if missing:
                raise ValueError(f"it lacks the columns {', '.join(sorted(missing))}")
            numbers = ["value", "low", "high"]
            table[numbers] = table[numbers].astype(float)
        except (OSError, ValueError) as error:
            sources.leave_out(path, f"{path} is not a table of saliency scores ({error}): set it aside.")
            continue
        table = table.astype(dict.fromkeys(SCORES[:4], str))
        table.attrs["faithful"] = _faithful(path.with_name("summary.json"))
        found[shown(path.parent.name)] = table
    return found


def _faithful(summary: Path) -> int | None:
    """Frames for insertion and deletion in a comparison; None if its summary does not say."""
    try:
        value = json.loads(summary.read_text())["faithful"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, int) else None


def last_number(history: list[Row], name: str) -> float | None:
    """The last finite value of a column."""
    for row in reversed(history):
        value = row.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None
