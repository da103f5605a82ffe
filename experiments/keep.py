"""A run's record for the repository: what another machine needs to show it, and to go on with it.

    python -m experiments.keep runs/Pong/cnn_sparse_fls/seed1

writes experiments/results/pilot/Pong/cnn_sparse_fls/seed1/. Copied back to `runs/`, the same training command
goes on from there.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.command_line import print_folder, run_command
from experiments.pretrained import copy_item, put_in_place
from fls_jax.checkpoints import checkpoint_steps
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.run_folder import RunFolder
from fls_jax.tracking import read_record
from fls_jax.training import resolve

HOME = Path(__file__).resolve().parent / "results" / "pilot"
_RESULTS = ("evaluation/*.json", "gaze/*/summary.json", "gaze/*/trials.json")


@dataclass(frozen=True)
class Settings:
    """Copy a run's record, its results and its latest checkpoint to where records are committed.

    The optimiser goes along until the training is finished. Videos and W&B's files stay behind.
    """

    run: Annotated[Path, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of the run, which is not being trained."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """Where records lie; this one goes to <Game>/<network>/seed<k>/ in it."""
    replace: bool = False
    """Replace another run's record that is there; an earlier state of the same run is replaced anyway."""


def keep(settings: Settings) -> Path:
    """Write the folder, whole or not at all; returns it. UserError for what the user can put right."""
    folder = RunFolder(settings.run)
    config = resolve(TrainConfig.from_json(folder.read_config(), str(folder.config_file)))
    end = config.num_updates * config.steps_per_update
    if folder.is_locked():
        raise UserError(f"{folder.path} is being trained: stop it with SIGTERM first, or wait.")
    steps = checkpoint_steps(folder.checkpoints)
    if not steps:
        raise UserError(f"{folder.path} has no checkpoint: train it first.")
    rows = read_record(folder.record_file)
    target = settings.out / config.game / config.network / f"seed{config.seed}"
    if target.exists() and not settings.replace and not _continues(rows, target):
        raise UserError(
            f"{target} holds another run, or a later state of this one: give --replace to put {folder.path} "
            "in its place, or another --out."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            part = Path(temporary) / target.name
            _copy(folder, part, steps[-1], ("params",) if steps[-1] >= end else ("params", "learner"))
            put_in_place(part, target, Path(temporary) / "before")
    except OSError as error:
        raise UserError(
            f"{error.filename or target} cannot be read or written ({error.strerror}): make room or rights, "
            "or choose another --out."
        ) from error
    return target


def _continues(rows: list[dict[str, Any]], kept: Path) -> bool:
    """Whether the record `rows` begins with all that is kept."""
    before = read_record(RunFolder(kept).record_file)
    return rows[: len(before)] == before


def _copy(folder: RunFolder, part: Path, step: int, items: tuple[str, ...]) -> None:
    """config.json, the record, results, and the given items of one checkpoint."""
    found = [path for pattern in _RESULTS for path in sorted(folder.path.glob(pattern))]
    for path in (folder.config_file, folder.record_file, *found):
        copy = part / path.relative_to(folder.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    place = Path("checkpoints") / str(step)
    (part / place).mkdir(parents=True)
    metadata = folder.path / place / "_CHECKPOINT_METADATA"
    if metadata.exists():
        shutil.copyfile(metadata, part / place / metadata.name)
    for item in items:
        copy_item(folder.path / place / item, part / place / item)


def main() -> int:
    """The command line."""
    return run_command("keep", Settings, lambda settings: print_folder(keep(settings)))


if __name__ == "__main__":
    sys.exit(main())
