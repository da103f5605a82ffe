"""`fls report --make`: makes missing results in run folders, with settings that take minutes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fls_jax.agent import Agent, load_agent
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.atari_head.metadata import canonical_game
from fls_jax.benchmark.job import compare
from fls_jax.errors import UserError
from fls_jax.evaluation.attention_job import evaluate_attention
from fls_jax.evaluation.job import evaluate, result_path
from fls_jax.evaluation.results import read_result
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.gaze.job import gaze
from fls_jax.report.observing import REPLACEMENTS
from fls_jax.report.page import shown
from fls_jax.report.sources import Source

FRAMES, FAITHFUL = 64, 16
"""Frames of a comparison of saliency methods, and those for insertion, deletion and erasure."""
METHODS = ("attention", "gradient", "grad_cam", "greydanus", "centre", "uniform")
"""The methods of the comparison: quick ones of different families, and `random`."""
_MOST_ENVS = 16


class Stopped(Exception):  # noqa: N818
    """Raised after a signal; the same command resumes."""


def make_missing(runs: Sequence[Source], games: int, atari_head: Path | None) -> list[dict[str, str]]:
    """Make the missing results of each run's latest checkpoint; returns {path, reason} of failures.

    These are an evaluation of `games` whole games, the same games with replaced attention, a comparison of
    saliency methods and, with atari_head, a gaze pass over the game's trials. Raises Stopped after a signal.
    """
    scored = set(open_dataset(atari_head).games()) if atari_head else set()
    problems = []
    for run in runs:
        try:
            agent = load_agent(run.path)
        except UserError:
            continue  # listed later, when the player needs it
        for what, make in _missing(run, agent, games, atari_head if _name(run) in scored else None).items():
            print(f"{run.path}: {what} is missing and made now")
            try:
                make()
            except UserError as error:
                problems.append({"path": shown(run.path), "reason": shown(f"--make, {what}: {error}")})
    return problems


def _missing(run: Source, agent: Agent, games: int, atari_head: Path | None) -> dict[str, Callable[[], Any]]:
    """The missing results in order, each with the function that makes it."""
    step = agent.step
    found: dict[str, Callable[[], Any]] = {}
    settings = evaluation_settings(run.path, agent, games)
    if not any(each.env_step == step and each.mode == settings.mode for each in run.evaluations):
        found["an evaluation"] = partial(_until_stopped, evaluate, run.path, settings, step)
    if agent.spec.attention is not None and not any(each["env_step"] == step for each in run.attention):
        names = tuple(REPLACEMENTS)
        found["replaced attention"] = partial(
            _until_stopped, evaluate_attention, run.path, settings, names, step
        )
    if not any(_is_compared(path, step) for path in run.path.glob("saliency/*/summary.json")):
        # Without this, missing attention would be reported as a failure.
        methods = [name for name in METHODS if name != "attention" or agent.spec.attention is not None]
        found["a comparison of saliency methods"] = partial(
            _until_stopped, compare, [run.path], methods, frames=FRAMES, faithful=FAITHFUL
        )
    if atari_head and not any(each["env_step"] == step for each in run.gaze):
        found["a gaze pass"] = partial(_until_stopped, gaze, [run.path], atari_head, protocol="aligned")
    return found


def evaluation_settings(run_dir: Path, agent: Agent, games: int) -> EvaluationSettings:
    """Settings of an evaluation of `games` games, or of the existing evaluation, if there is one.

    Games with replaced attention are compared with it, so they must be the same games.
    """
    settings = EvaluationSettings(min(games, _MOST_ENVS), -(-games // _MOST_ENVS))
    done = read_result(result_path(run_dir, agent, settings)) or {}
    known = ("num_envs", "games_per_env", "protocol", "seed")
    if all(name in done for name in known):
        return EvaluationSettings(**{name: done[name] for name in known})
    return settings


def _until_stopped(make: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call `make`, which returns nothing (None or an empty list) after a signal."""
    if not make(*arguments, **options):
        raise Stopped


def _is_compared(summary: Path, step: int) -> bool:
    """Whether a comparison of methods is complete, and of this checkpoint."""
    try:
        content = json.loads(summary.read_text())
        return bool(content["complete"]) and content["env_step"] == step
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _name(run: Source) -> str:
    """A run's game in the spelling of Atari-HEAD's trials."""
    return canonical_game(run.config.game) or run.config.game
