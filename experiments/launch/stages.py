"""The stages of a cell of the grid: their commands, and how to check that they are done."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from experiments.data.grid import Cell, Experiment, SaliencySettings
from experiments.launch.attempts import last_attempt
from fls_jax.atari_head.metadata import canonical_game
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.runs.contents import checkpoint_steps, evaluation_files, gaze_summaries, read_evaluation
from fls_jax.runs.folder import RunFolder

Stage = Literal["train", "evaluate", "gaze", "saliency"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Grid:
    """The cells of a launch, the folder of their runs, and options of their commands.

    root: run folders are root/<Game>/<network>/seed<k>. atari_head: for the stage gaze. wandb: mode in
    training. threads: for each run's emulators; 0: one per core.
    """

    experiment: Experiment
    root: Path
    atari_head: Path | None = None
    wandb: str = "auto"
    threads: int = 0

    def folder(self, cell: Cell) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.root / cell.game / cell.network / f"seed{cell.seed}")

    def config(self, cell: Cell) -> TrainConfig:
        """The configuration of a cell's run."""
        return self.experiment.config(cell)

    def evaluations(self, cell: Cell) -> list[EvaluationSettings]:
        """The evaluations of a cell: agents of Breakout also play BreakoutInfinite."""
        standard = self.experiment.evaluation
        infinite = [replace(standard, infinite_breakout=True)] if cell.game == "Breakout" else []
        return [standard, *infinite]


def cell_id(cell: Cell) -> str:
    """The id of a cell, the same at every launch."""
    return f"{cell.game}-{cell.network}-seed{cell.seed}"


def applies(stage: Stage, cell: Cell) -> bool:
    """Whether a cell has this stage: Atari-HEAD does not have every game."""
    return stage != "gaze" or canonical_game(cell.game) is not None


def commands(grid: Grid, stage: Stage, cell: Cell) -> list[list[str]]:
    """The commands of a stage, one after the other. Each resumes and keeps finished work."""
    run = str(grid.folder(cell).path)
    fls = [sys.executable, "-m", "fls_jax", stage]
    if stage == "train":
        config = replace(grid.config(cell), env_threads=grid.threads)
        return [[*fls, *flags(config, TrainConfig()), "--run-dir", run, "--wandb", grid.wandb]]
    if stage == "evaluate":
        return [[*fls, run, *flags(each, EvaluationSettings())] for each in grid.evaluations(cell)]
    if stage == "gaze":
        if grid.atari_head is None:
            raise UserError("The stage gaze needs the data set: name its folder with --atari-head DIR.")
        return [[*fls, run, "--atari-head", str(grid.atari_head)]]
    return [[*fls, run, *flags(grid.experiment.saliency, SaliencySettings())]]


def train_together(grid: Grid, cells: Sequence[Cell]) -> bool:
    """Whether one process is to train these cells of one game and network.

    The experiment says so, and no run is more than a save ahead of another, as `fls train --seeds` demands.
    """
    steps = [max(checkpoint_steps(grid.folder(cell).checkpoints), default=0) for cell in cells]
    if not grid.experiment.together or len(cells) < 2:
        return False
    config = grid.config(cells[0])
    return max(steps) - min(steps) <= config.checkpoint_every * config.steps_per_update


def command_together(grid: Grid, cells: Sequence[Cell]) -> list[str]:
    """The command that trains these cells in one process, each in its own run folder."""
    config = replace(grid.config(cells[0]), seed=TrainConfig().seed, env_threads=grid.threads * len(cells))
    seeds = ",".join(str(cell.seed) for cell in cells)
    home = str(grid.folder(cells[0]).path.parent)
    fls = [sys.executable, "-m", "fls_jax", "train", *flags(config, TrainConfig())]
    return [*fls, "--seeds", seeds, "--run-dir", home, "--wandb", grid.wandb]


Settings = TrainConfig | EvaluationSettings | SaliencySettings


def flags(settings: Settings, default: Settings) -> list[str]:
    """The options of `fls` for these settings, without those at their defaults."""
    words = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != getattr(default, field.name):
            words.append("--" + field.name.replace("_", "-"))
            values = value if isinstance(value, tuple) else [value]
            words += [] if isinstance(value, bool) else map(str, values)
    return words


def is_done(grid: Grid, stage: Stage, cell: Cell) -> bool:
    """Whether a stage has written its result for the end of the cell's training."""
    folder, last = grid.folder(cell), grid.config(cell).last_step
    if stage == "train":
        return checkpoint_steps(folder.checkpoints)[-1:] >= [last]
    if stage == "evaluate":
        return {each.mode for each in grid.evaluations(cell)} <= _evaluated(folder, last)
    if stage == "gaze":
        return any(summary["env_step"] == last for summary in gaze_summaries(folder)[0])
    attempt = last_attempt(folder, stage)
    return attempt is not None and attempt.state == "finished" and attempt.env_step == last


def _evaluated(folder: RunFolder, step: int) -> set[str]:
    """The modes of the valid evaluations of a step."""
    modes = set()
    for path in evaluation_files(folder):
        try:
            evaluation = read_evaluation(path)
        except UserError:
            continue
        if evaluation.env_step == step:
            modes.add(evaluation.mode)
    return modes


def obstacle(grid: Grid, cell: Cell) -> str | None:
    """Why a cell's run cannot use its folder (it holds a run of other settings); None if it can."""
    folder = grid.folder(cell)
    if not folder.config_file.exists():
        return None
    try:
        folder.check_same(grid.config(cell).going_on(folder.read_config()))
    except UserError as error:
        return str(error)
    return None
