"""Reads run folders into tidy tables. Damaged files are listed and left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fls_jax.benchmark.results import read_comparison
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.contents import (
    Evaluation,
    attention_tables,
    evaluation_files,
    gaze_summaries,
    last_step,
    read_evaluation,
    read_sessions,
)
from fls_jax.runs.folder import RunFolder, find_runs
from fls_jax.runs.record import read_record

RUN_COLUMNS = ("game", "network", "seed", "total_steps")


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    sessions: machine, commit, ... of each session, at least one.
    history: the rows of metrics.jsonl, one per env_step, as floats; missing values are NaN.
    evaluations: by step. gaze: the contents of its summary.json files.
    """

    path: Path
    config: TrainConfig
    details: dict[str, Any]
    """All of config.json."""
    sessions: tuple[dict[str, Any], ...]
    history: pd.DataFrame
    evaluations: tuple[Evaluation, ...]
    gaze: tuple[dict[str, Any], ...]
    attention: tuple[dict[str, Any], ...] = ()
    """The contents of its tables of replaced attention."""
    saliency: tuple[tuple[dict[str, Any], pd.DataFrame], ...] = ()
    """Summary and scores of its complete comparisons of saliency methods."""

    @property
    def env_step(self) -> int:
        """The last step of the record."""
        return int(self.history["env_step"].iloc[-1]) if len(self.history) else 0

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return self.env_step >= last_step(self.details)

    @property
    def key(self) -> dict[str, Any]:
        """RUN_COLUMNS and their values."""
        return {name: getattr(self.config, name) for name in RUN_COLUMNS}

    @property
    def steps_per_second(self) -> float:
        """Median over the updates, everything included; NaN without updates."""
        if "sps" not in self.history:
            return float("nan")
        return float(self.history["sps"].median())

    @property
    def final_evaluations(self) -> tuple[Evaluation, ...]:
        """Evaluations of a finished run's last step with sampled actions, one per environment."""
        if not self.finished:
            return ()
        return tuple(e for e in self.evaluations if e.env_step == self.env_step and not e.greedy)


@dataclass(frozen=True)
class Problem:
    """A folder or file that could not be used, or only partly."""

    path: Path
    reason: str


@dataclass
class Runs:
    """All runs below some folders, and the problems of others."""

    runs: list[Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def load_runs(roots: Iterable[Path]) -> Runs:
    """Read every run folder at and below the roots; a missing root counts as empty.

    A run with a damaged config.json or record is left out; a damaged evaluation or gaze summary only itself.
    """
    found = Runs()
    paths = [path for root in roots if root.exists() for path in find_runs(root)]
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            found.runs.append(_read_run(RunFolder(path), found.problems))
        except UserError as error:
            found.problems.append(Problem(path, str(error)))
    return found


def _read_run(folder: RunFolder, problems: list[Problem]) -> Run:
    details = folder.read_config()
    config = TrainConfig.from_json(details, str(folder.config_file))
    evaluations = []
    for path in evaluation_files(folder):
        try:
            evaluations.append(read_evaluation(path))
        except UserError as error:
            problems.append(Problem(path, str(error)))
    gaze, damaged = gaze_summaries(folder)
    problems += [Problem(path, reason) for path, reason in damaged.items()]
    try:
        attention = tuple(attention_tables(folder))
    except UserError as error:
        attention = ()
        problems.append(Problem(folder.path / "attention", str(error)))
    sessions = tuple(read_sessions(folder, details))
    history = _history(folder.record_file)
    saliency = tuple(_comparisons(folder, problems))
    return Run(
        folder.path, config, details, sessions, history, tuple(evaluations), tuple(gaze), attention, saliency
    )


def _comparisons(folder: RunFolder, problems: list[Problem]) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    """The complete comparisons of saliency methods in a run; damaged ones become problems."""
    for path in sorted(folder.path.glob("saliency/*/summary.json")):
        try:
            summary, table = read_comparison(path.parent)
        except UserError as error:
            problems.append(Problem(path.parent, str(error)))
        else:
            if summary.get("complete"):
                yield summary, table


def _history(path: Path) -> pd.DataFrame:
    """A record as numbers. Raises UserError if a value is not a number."""
    table = pd.DataFrame(read_record(path), dtype=object)
    if table.empty:
        return pd.DataFrame({"env_step": np.array([], np.int64)})
    try:
        table = table.astype(float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} has a value that is not a number ({error}): correct it.") from error
    table = table.drop_duplicates("env_step", keep="last").sort_values("env_step")
    return table.astype({"env_step": np.int64}).reset_index(drop=True)
