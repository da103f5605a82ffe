"""Run folders with a record and evaluations, without checkpoints: what figures and W&B are made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.grid import PILOT, Cell, product
from fls_jax.evaluation.play import Game
from fls_jax.evaluation.results import summarise, write_result
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import Record

UPDATES = PILOT.total_steps // 1024
LAST_STEP = UPDATES * 1024
PAIRS = PILOT.with_cells(
    (*PILOT.cells[:4], *product(("Pong", "MsPacman", "Breakout"), ("cnn_sparse_fls", "cnn"), (1, 9)))
)
"""The pilot without the networks on patches: two networks in three games."""
PROVENANCE = {
    "action_names": ["NOOP", "FIRE"],
    "preprocessing": "envpool",
    "backend": "cpu",
    "machine": {"cpu": "Abacus 1", "cores": 2, "memory_gib": 24.0, "system": "Linux"},
    "commit": "0123456789abcdef0123456789abcdef01234567",
}


def row(update: int, score: float | None, sps: float = 200.0, **more: Any) -> dict[str, Any]:
    """A row of metrics.jsonl."""
    return {
        "update": update,
        "env_step": 1024 * update,
        "eprewmean": score,
        "episodes": update,
        "sps": sps,
        "sps_overall": sps,
        "entropy": 1.5,
        "seconds_total": 1024 * update / sps,
        **more,
    }


def write_run(
    path: Path, cell: Cell, scores: Sequence[float | None], updates: Sequence[int] | None = None,
    sps: float = 200.0, **details: Any,
) -> Path:  # fmt: skip
    """A pilot run with a row an update; scores: eprewmean of each, updates: their numbers, the last ones
    of the run unless given."""
    path.mkdir(parents=True)
    RunFolder(path).write_config(PILOT.config(cell), PROVENANCE | details)
    record = Record(path / "metrics.jsonl")
    for update, score in zip(updates or range(UPDATES - len(scores) + 1, UPDATES + 1), scores, strict=True):
        record.write(row(update, score, sps))
    record.close()
    return path


def write_evaluation(
    path: Path, returns: Sequence[float], step: int = LAST_STEP, mode: str = "standard", game: str = "Pong"
) -> Path:
    """An evaluation of these returns, one environment, in the evaluation job's own format."""
    games = [Game(0, number, float(score), 900, 1.0, False) for number, score in enumerate(returns)]
    infinite = mode.startswith("infinite")
    file = path / "evaluation" / f"{step}-{mode}.json"
    file.parent.mkdir(exist_ok=True)
    result = {
        "game": game,
        "env_step": step,
        "protocol": "aligned",
        "environment": "BreakoutInfinite" if infinite else game,
        "summary": summarise(games, None if infinite else game),
        "games": [each.to_json() for each in games],
    }
    write_result(file, result)
    return file


def write_gaze(path: Path, scores: dict[str, dict[str, float | None]], step: int = LAST_STEP) -> Path:
    """The summary of a gaze pass: map -> metric -> mean."""
    file = path / "gaze" / "aligned-screen" / "summary.json"
    file.parent.mkdir(parents=True)
    filled = {
        name: {
            metric: {"mean": None, "coverage": 0.0, "interval_frames": None}
            if mean is None
            else {"mean": mean, "coverage": 0.9, "interval_frames": [mean - 0.1, mean + 0.1]}
            for metric, mean in each.items()
        }
        for name, each in scores.items()
    }
    config = json.loads((path / "config.json").read_text())
    content = {
        "game": config["game"],
        "network": config["network"],
        "training_seed": config["seed"],
        "env_step": step,
        "protocol": "aligned",
        "space": "screen",
        "complete": True,
        "observations": 200,
        "trials": {"scored": [118]},
        "intervals": {"observations_in_a_block": 25},
        "notes": {},
        "scores": filled,
    }
    file.write_text(json.dumps(content))
    return file


def write_pilot(root: Path, seed: int = 0) -> None:
    """Part of the pilot: a finished Pong pair with two seeds, one Breakout run, MsPacman halfway."""
    random = np.random.default_rng(seed)
    updates = [*range(13, UPDATES, 20), UPDATES]
    early: list[float | None] = [None] * 3

    def climb(low: float, high: float, count: int) -> list[float | None]:
        return early + (np.linspace(low, high, count) + random.normal(0, high / 50, count))[3:].tolist()

    for network, level, sps in (("cnn", 10.0, 240.0), ("cnn_sparse_fls", 12.0, 160.0)):
        for number, shift in ((1, 0.0), (9, 2.0)):
            path = root / "Pong" / network / f"seed{number}"
            scores = climb(-20, level + shift, len(updates))
            write_run(path, Cell("Pong", network, number), scores, updates, sps)
            write_evaluation(path, random.normal(level + shift, 3, 64))
    path = root / "Breakout" / "cnn_sparse_fls" / "seed1"
    write_run(path, Cell("Breakout", "cnn_sparse_fls", 1), climb(2, 60, len(updates)), updates, 160.0)
    write_evaluation(path, random.normal(60, 10, 64), game="Breakout")
    half = updates[: len(updates) // 2]
    path = root / "MsPacman" / "cnn_sparse_fls" / "seed1"
    write_run(path, Cell("MsPacman", "cnn_sparse_fls", 1), climb(200, 900, len(half)), half)


def _replaced(mean, **more):
    some = {"mean": 0.25, "interval_95": [0.1, 0.4]}
    return {
        "games": 4, "mean": mean, "interval_95": [mean, mean], "human_normalised": 0.5, "kl": some,
        "value_change": some, "same_action": some, **more,
    }  # fmt: skip


ATTENTION = {
    "game": "Pong", "network": "cnn_sparse_fls", "env_step": LAST_STEP, "training_seed": 1, "frames": 512,
    "map": {
        "mean": 1.5, "max": 3.0, "effective_area": 0.78, "gini": 0.381, "correlation_with_mean": 0.9,
        "correlation_with_uniform": None,
    },
    "replacements": {
        "trained": _replaced(8.0),
        "mean": _replaced(-1.5, difference=-9.5, difference_interval_95=[-14.5, -4.5]),
        "constant:1": _replaced(-18.0, difference=-26.0, difference_interval_95=[None, None]),
    },
}  # fmt: skip
"""The content of a table of replaced attention."""


def write_attention(path: Path, env_step: int = LAST_STEP) -> None:
    """A table of replaced attention in a run folder."""
    (path / "attention").mkdir()
    content = json.dumps(ATTENTION | {"env_step": env_step})
    (path / "attention" / f"{env_step}-standard.json").write_text(content)
