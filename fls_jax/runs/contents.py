"""What the jobs after training have left in a run folder: evaluations, gaze passes, videos."""

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
"""What the name of a row of differences begins with."""
# Evaluations with the attention replaced have another ending; they are no scores of the agent's.
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

    environment: the game, or BreakoutInfinite. mode: as in the file's name. summary: numbers over all
    games. games: one dictionary a game, with `return`.
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
        """Whether the most probable actions were taken instead of sampled ones."""
        return self.mode.endswith("greedy")

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean return; a single game has none."""
        interval = self.summary["interval_95"]["mean"]
        return None if interval is None else (interval[0], interval[1])

    @property
    def returns(self) -> list[float]:
        """Of every game: the environments' first ones, their second ones, ..."""
        return [g["return"] for g in sorted(self.games, key=lambda g: (g["game"], g["environment"]))]


@dataclass(frozen=True)
class Video:
    """A video of the agent at a step; variant: what stands after the step in the file's name."""

    path: Path
    env_step: int
    variant: str


def last_step(config: dict[str, Any], source: str = "config.json") -> int:
    """The env_step at which a run with this config.json is finished; UserError for values of a wrong type."""
    return TrainConfig.from_json(config, source).last_step


def checkpoint_steps(directory: Path) -> list[int]:
    """The env_steps of the complete checkpoints in a run's checkpoints folder, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())


def read_evaluation(path: Path) -> Evaluation:
    """One file of `evaluation/`; UserError, naming it, where it is damaged."""
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
                raise ValueError(f"{name!r} names no environment and no protocol")
        numbers = [summary[name] for name in _SUMMARY] + evaluation.returns
        low, high = evaluation.interval or (0.0, 0.0)
        if not evaluation.games or not all(math.isfinite(number) for number in (*numbers, low, high)):
            raise ValueError("it has no games, or numbers that are not finite")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is no result of an evaluation ({reason}): set it aside.") from error
    return evaluation


def read_sessions(folder: RunFolder, details: dict[str, Any]) -> list[dict[str, Any]]:
    """The machine and the code of each session, by step. details: config.json, which knows the first session.

    Runs begun before sessions were recorded have no line for it. UserError where a machine is not described.
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
    """The contents of `attention/*.json`, by step; UserError, naming it, where one is damaged."""
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
        raise UserError(f"{path} is no table of replaced attention ({reason}): set it aside.") from error
    return content


def gaze_summaries(folder: RunFolder) -> tuple[list[dict[str, Any]], dict[Path, str]]:
    """The contents of the summary.json of complete gaze passes, and those that are damaged, each with why."""
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
    """The summary.json of a gaze pass; UserError, naming it, where it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        _check_gaze(content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is no summary of a gaze pass ({reason}): set it aside.") from error
    return content


def gaze_rows(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The scores of a gaze pass by what a table calls them: each map, then `model - <control>`.

    The latter are the model's scores less the control's on the same frames, where both have a map.
    """
    rows = dict(summary["scores"])
    for name, scores in summary.get("differences", {}).items():
        if not {"model", name} & set(summary["notes"]):
            rows[f"{DIFFERENCE}{name}"] = scores
    return rows


def _check_gaze(content: dict[str, Any]) -> None:
    """KeyError, TypeError or ValueError where what others read from a summary is not there."""
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
    """KeyError or TypeError where a value is not there or of another type."""
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
