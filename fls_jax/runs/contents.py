"""Results in a run folder: evaluations, replaced attention, gaze passes, videos."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import read_record

DIFFERENCE = "model - "
"""Prefix of the names of rows that hold differences."""
# Evaluations with replaced attention have other names: they are not scores of the agent.
_EVALUATION = re.compile(r"(\d+)-(standard|greedy|infinite|infinite-greedy)\.json")
_ATTENTION = re.compile(r"(\d+)-([a-z-]+)\.json")
_VIDEO = re.compile(r"(\d+)(-.+)?\.mp4")
_GAZE = re.compile(r"[a-z]+-[a-z]+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = int | float
_SUMMARY = ("games", "mean", "std", "median", "iqm", "mean_steps")


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    environment: the game, or BreakoutInfinite. mode: as in the file's name. summary: statistics over all
    games. games: one dictionary per game, with `return`.
    """

    path: Path
    env_step: int
    mode: str
    environment: str
    protocol: str
    summary: dict[str, Any]
    games: list[dict[str, Any]]

    @property
    def greedy(self) -> bool:
        """Whether actions were the most probable ones, not sampled."""
        return self.mode.endswith("greedy")

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean return; None for a single game."""
        interval = self.summary["interval_95"]["mean"]
        return None if interval is None else (interval[0], interval[1])

    @property
    def returns(self) -> list[float]:
        """The return of every game: first games of all environments, then second games, ..."""
        return [g["return"] for g in sorted(self.games, key=lambda g: (g["game"], g["environment"]))]


@dataclass(frozen=True)
class Video:
    """A video of the agent at a step. variant: the part of the file's name after the step."""

    path: Path
    env_step: int
    variant: str


def last_step(config: dict[str, Any], source: str = "config.json") -> int:
    """The env_step at which a run with this config.json ends. Raises UserError for values of a wrong type."""
    return TrainConfig.from_json(config, source).last_step


def checkpoint_steps(directory: Path) -> list[int]:
    """The env_steps of the complete checkpoints in a run's checkpoints folder, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())


def read_evaluation(path: Path) -> Evaluation:
    """Read a file of `evaluation/`. Raises UserError, naming it, if it is damaged."""
    match = _EVALUATION.fullmatch(path.name)
    assert match, path
    try:
        content = json.loads(path.read_text())
        summary = content["summary"]
        evaluation = Evaluation(
            path,
            int(match[1]),
            match[2],
            str(content["environment"]),
            str(content["protocol"]),
            summary,
            content["games"],
        )
        for name in (evaluation.environment, evaluation.protocol):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of an environment or a protocol")
        numbers = [summary[name] for name in _SUMMARY] + evaluation.returns
        low, high = evaluation.interval or (0.0, 0.0)
        if not evaluation.games or not all(math.isfinite(number) for number in (*numbers, low, high)):
            raise ValueError("it has no games, or numbers that are not finite")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not a result of an evaluation ({reason}): set it aside.") from error
    return evaluation


def read_sessions(folder: RunFolder, details: dict[str, Any]) -> list[dict[str, Any]]:
    """The machine and the code of each session, by step. details: config.json, which describes the first one.

    Runs begun before sessions were recorded have no line for the first. Raises UserError for a machine that
    is not a JSON object.
    """
    sessions = read_record(folder.sessions_file)
    if not sessions or sessions[0]["env_step"]:
        names = ("backend", "allocator", "versions", "machine", "commit")
        sessions.insert(0, {"env_step": 0} | {name: details[name] for name in names if name in details})
    for session in sessions:
        if not isinstance(session.get("machine") or {}, dict):
            raise UserError(
                f"{folder.path} was trained on a machine described as {session['machine']!r}, not by its cpu "
                f"and cores: correct config.json or {folder.sessions_file.name}."
            )
    return sessions


def shipped_sessions(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The sessions in a shipped agent's facts (`pretrained` in config.json); older versions: `sittings`."""
    return facts.get("sessions") or facts.get("sittings") or []


def evaluation_files(folder: RunFolder) -> list[Path]:
    """The results of finished evaluations, by step."""
    return _numbered(folder.path / "evaluation", _EVALUATION)


def attention_tables(folder: RunFolder) -> list[dict[str, Any]]:
    """The contents of `attention/*.json`, by step. Raises UserError, naming the file, if one is damaged."""
    return [_read_attention(path) for path in _numbered(folder.path / "attention", _ATTENTION)]


def _read_attention(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        _expect(content, env_step=int, game=str, network=str, map=dict, replacements=dict)
        for row in content["replacements"].values():
            _expect(row, games=int, mean=_NUMBER, kl=dict, value_change=dict)
            _expect(row, human_normalised=_NUMBER | None)
            if "difference" in row:
                _expect(row, difference=_NUMBER, difference_interval_95=list)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not a table of replaced attention ({reason}): set it aside.") from error
    return content


def gaze_summaries(folder: RunFolder) -> tuple[list[dict[str, Any]], dict[Path, str]]:
    """The contents of the summary.json of complete gaze passes, and the damaged files with the reasons."""
    found, damaged = [], {}
    for path in sorted(folder.path.glob("gaze/*/summary.json")):
        if not _GAZE.fullmatch(path.parent.name):
            continue
        try:
            content = read_gaze_summary(path)
        except UserError as error:
            damaged[path] = str(error)
            continue
        if content["complete"]:
            found.append(content)
    return found, damaged


def read_gaze_summary(path: Path) -> dict[str, Any]:
    """Read the summary.json of a gaze pass. Raises UserError, naming it, if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        _check_gaze(content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not a summary of a gaze pass ({reason}): set it aside.") from error
    return content


def gaze_rows(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of a gaze pass by their names in tables: each map, then `model - <control>`.

    The latter are the model's scores minus the control's on the frames where both have a map.
    """
    rows = dict(summary["scores"])
    for name, scores in summary.get("differences", {}).items():
        if not {"model", name} & set(summary["notes"]):
            rows[f"{DIFFERENCE}{name}"] = scores
    return rows


def _check_gaze(content: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError if a summary lacks a value that is read elsewhere."""
    _expect(
        content, env_step=int, training_seed=int, observations=int, game=str, network=str, protocol=str,
        space=str, complete=bool, trials=dict, intervals=dict, notes=dict, scores=dict,
    )  # fmt: skip
    _expect(content["trials"], scored=list)
    _expect(content["intervals"], observations_in_a_block=int)
    for metrics in (*content["scores"].values(), *content.get("differences", {}).values()):
        for score in metrics.values():
            _expect(score, mean=_NUMBER | None, coverage=_NUMBER, interval_frames=list | None)
            if score["interval_frames"] is not None:
                low, high = score["interval_frames"]
                _expect({"low": low, "high": high}, low=_NUMBER, high=_NUMBER)


def _expect(content: dict[str, Any], **kinds: Any) -> None:
    """Raise KeyError or TypeError if a value is missing or of another type."""
    for name, kind in kinds.items():
        if not isinstance(content[name], kind):
            raise TypeError(f"{name} is {content[name]!r}")


def videos(folder: RunFolder) -> list[Video]:
    """The run's videos, by step."""
    found = []
    for path in _numbered(folder.path / "video", _VIDEO):
        match = _VIDEO.fullmatch(path.name)
        assert match, path
        found.append(Video(path, int(match[1]), (match[2] or "").removeprefix("-")))
    return found


def _numbered(directory: Path, pattern: re.Pattern[str]) -> list[Path]:
    found = [(pattern.fullmatch(path.name), path) for path in directory.glob("*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]
