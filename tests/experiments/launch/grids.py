"""Small grids for tests, and run folders as their stages leave them."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.data.grid import SMOKE, Cell, Experiment, product
from experiments.launch.stages import Grid
from fls_jax.config import TrainConfig
from fls_jax.evaluation.settings import EvaluationSettings

LAST = 64
BASE = TrainConfig(num_envs=2, rollout_length=8, minibatches=1, epochs=1)
PONG = Cell("Pong", "cnn", 1)


def small_grid(root: Path, cells: tuple[Cell, ...] = (PONG,), base: TrainConfig = BASE) -> Grid:
    evaluation = EvaluationSettings(num_envs=2, games_per_env=1)
    experiment = Experiment("small", "Small", LAST, cells, base, evaluation, SMOKE.resources)
    return Grid(experiment, root, wandb="off")


def cells(games=("Pong",), networks=("cnn",), seeds=(1,)) -> tuple[Cell, ...]:
    return tuple(product(games, networks, seeds))


def write_training(grid: Grid, cell: Cell, step: int = LAST) -> Path:
    """A run folder with its configuration and the folder of a checkpoint at `step`."""
    folder = grid.folder(cell)
    (folder.checkpoints / str(step)).mkdir(parents=True)
    folder.write_config(grid.config(cell), {"backend": "cpu"})
    return folder.path


def write_evaluation(grid: Grid, cell: Cell, mode: str = "standard", step: int = LAST) -> None:
    path = grid.folder(cell).path / "evaluation" / f"{step}-{mode}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {"games": 1, "mean": 2.0, "std": 0.0, "median": 2.0, "iqm": 2.0, "mean_steps": 9.0}
    summary |= {"interval_95": {"mean": [2.0, 2.0]}}
    game = {"return": 2.0, "game": 0, "environment": 0}
    content = {"environment": cell.game, "protocol": "aligned", "summary": summary, "games": [game]}
    path.write_text(json.dumps(content))
