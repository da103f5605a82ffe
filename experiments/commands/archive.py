"""Copies a run's record to the repository: all that another machine needs to show or resume it.

    python -m experiments.commands.archive runs/Pong/cnn_sparse_fls/seed1

writes experiments/results/pilot/Pong/cnn_sparse_fls/seed1/. If it is copied back to `runs/`, the same
training command resumes it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import tyro

from experiments.commands.command_line import print_folder, run_command
from experiments.commands.ship import cast_floats
from experiments.data.grid import PILOT, cell_of, differences
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.checkpoints import load_item, save_item
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.files import replacing
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import pack, packed, read_record
from fls_jax.train.preparation import resolve

HOME = Path(__file__).resolve().parents[1] / "results" / "pilot"
_FILES = (
    "config.json", "sessions.jsonl", "sittings.jsonl", "evaluation/*.json", "attention/*.json",
    "gaze/*/summary.json", "gaze/*/trials.json", "saliency/*/summary.json", "saliency/*/scores.csv.gz",
    "saliency/*/scores.csv", "wandb/train-run-id",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Copy a run's record and its results to the folder of committed records.

    If the training is not finished, its latest checkpoint is included, so that another machine can resume it:
    parameters rounded to float16, the optimiser's moments to bfloat16. The parameters of a finished run are
    shipped with `make ship`. The record and the tables of saliency methods are compressed. Videos, W&B's
    files, gaze scores of single frames and saliency maps are not copied.
    """

    run: Annotated[Path, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run that is not being trained now."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """Folder of the records; this one goes to <Game>/<network>/seed<k>/ in it."""
    replace: bool = False
    """Replace another run's record that is there; an earlier state of the same run is replaced anyway."""
    checkpoint: bool = True
    """Include the checkpoint of a training that is not finished; without it only the record is kept."""


def archive(settings: Settings) -> Path:
    """Write the folder atomically; returns it. Raises UserError for errors that the user can correct."""
    folder = RunFolder(settings.run)
    config = resolve(TrainConfig.from_json(folder.read_config(), str(folder.config_file)))
    if folder.is_locked():
        raise UserError(f"{folder.path} is being trained: stop it with SIGTERM first, or wait.")
    if settings.out.resolve() == HOME:
        _check_pilot(folder, config)
    steps = checkpoint_steps(folder.checkpoints)
    if not steps:
        raise UserError(f"{folder.path} has no checkpoint: train it first.")
    rows = read_record(folder.record_file)
    target = settings.out / config.game / config.variant / f"seed{config.seed}"
    if target.exists() and not settings.replace and not _continues(rows, target):
        raise UserError(
            f"{target} holds another run, or a later state of this one: give --replace to put {folder.path} "
            "in its place, or another --out."
        )
    with replacing(target) as part:
        _copy(folder, part)
        if settings.checkpoint and steps[-1] < config.last_step:
            _copy_checkpoint(folder, part, steps[-1])
    return target


def _check_pilot(folder: RunFolder, config: TrainConfig) -> None:
    """Raise UserError for a run that is not a cell of the pilot."""
    cell = cell_of(config)
    planned = cell in PILOT.cells
    reasons = differences(PILOT.config(cell), config) if planned else [f"there is no {cell}"]
    if reasons:
        raise UserError(
            f"{folder.path} is not a run of the pilot ({'; '.join(reasons)}): choose another folder with "
            "--out."
        )


def _continues(rows: list[dict[str, Any]], kept: Path) -> bool:
    """Whether the record `rows` begins with the archived record, up to its archived checkpoint."""
    kept_run = RunFolder(kept)
    config = TrainConfig.from_json(kept_run.read_config(), str(kept_run.config_file))
    # A killed run drops the rows after its last checkpoint when it resumes. A finished run is archived
    # without a checkpoint.
    last = (checkpoint_steps(kept_run.checkpoints) or [config.last_step])[-1]
    before = [row for row in read_record(kept_run.record_file) if row["env_step"] <= last]
    return rows[: len(before)] == before


def _copy(folder: RunFolder, part: Path) -> None:
    """Copy config.json, the record and tables (compressed), and results."""
    record = RunFolder(part).record_file
    record.parent.mkdir(parents=True)
    pack(folder.record_file, packed(record))
    for path in (path for pattern in _FILES for path in sorted(folder.path.glob(pattern))):
        copy = part / path.relative_to(folder.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            pack(path, packed(copy))
        elif path.match("gaze/*/summary.json"):
            copy.write_text(_without_places(path))
        else:
            shutil.copyfile(path, copy)


def _copy_checkpoint(folder: RunFolder, part: Path, step: int) -> None:
    """Copy a checkpoint for resuming: parameters as float16, the optimiser's moments as bfloat16.

    The rounding of a weight is smaller than one optimiser step; an update has sixteen.
    """
    target = RunFolder(part).checkpoints
    params = load_item(folder.checkpoints, step, "params")
    save_item(target, step, "params", cast_floats(params, jnp.float16))
    learner = load_item(folder.checkpoints, step, "learner")
    save_item(target, step, "learner", cast_floats(learner, jnp.bfloat16))
    metadata = Path(str(step)) / "_CHECKPOINT_METADATA"
    if (folder.checkpoints / metadata).exists():
        shutil.copyfile(folder.checkpoints / metadata, target / metadata)


def _without_places(summary: Path) -> str:
    """The summary of a gaze pass with the names of folders instead of their paths on this machine."""
    try:
        content = json.loads(summary.read_text())
        content["run"] = Path(content["run"]).name
        content["dataset"]["path"] = Path(content["dataset"]["path"]).name
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{summary} is not a summary of a gaze pass ({error!r}): set it aside.") from error
    return json.dumps(content, indent=1) + "\n"


def main() -> int:
    """The command line."""
    return run_command("archive", Settings, lambda settings: print_folder(archive(settings)))


if __name__ == "__main__":
    sys.exit(main())
