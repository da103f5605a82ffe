"""What everything that speaks to Weights & Biases shares: how a run is named, started and written to."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError, missing_library
from fls_jax.runs.record import Row

JobType = Literal["train", "evaluate", "gaze", "video"]
# How long W&B may hold up the start and the end of an online run.
START_SECONDS = 20.0
FINISH_SECONDS = 60.0
BY_GAME = ("eprewmean", "sps", "sps_overall", "attention_mean", "attention_max", "attention_entropy")
"""Columns of a training that are sent as `<name>/<Game>` too."""


@dataclass(frozen=True)
class Identity:
    """What a W&B run is called and to what it belongs.

    id: the run's, for ever. title: what stands behind `<game>-<network>-seed<k>` in its name.
    """

    id: str
    job_type: JobType
    project: str
    title: str = ""

    def arguments(self, config: Row) -> Row:
        """What wandb.init is told; config: everything in config.json."""
        variant = TrainConfig.from_json(config).variant
        name = f"{config['game']}-{variant}-seed{config['seed']}"
        return {
            "project": self.project,
            "id": self.id,
            "name": name + (self.title and f"-{self.title}"),
            "group": f"{config['game']}/{variant}",
            "job_type": self.job_type,
            "tags": [config["game"], config["network"], self.job_type],
            "config": config,
            "resume": "allow",
        }


def run_id(home: Path, job_type: JobType) -> str | None:
    """The id that a run folder's job has on W&B, None where it has none yet; home: the folder's wandb/."""
    file = home / f"{job_type}-run-id"
    return file.read_text().strip() if file.exists() else None


def keep_run_id(home: Path, job_type: JobType, identity: str) -> None:
    """Keep the id of a run folder's job for the next time."""
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{job_type}-run-id").write_text(identity)


def import_wandb() -> Any:
    """The module wandb, silent and without its telemetry; it takes seconds, so only where it is used.

    Raises UserError where it is not installed.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its telemetry calls home, also offline
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise UserError(f"{missing_library(error)}.") from error
    logging.getLogger("wandb").setLevel(logging.ERROR)
    return wandb


def init_run(wandb: Any, mode: str, arguments: Row, **more: Any) -> Any:
    """A started run: silent, the terminal left alone, no endless wait for a network."""
    # Several runs may be trained in one process.
    settings = {
        "reinit": "create_new",
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        **more,
    }
    run = wandb.init(
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", init_timeout=START_SECONDS, **settings),
        **arguments,
    )
    run.define_metric("env_step")
    run.define_metric("*", step_metric="env_step")
    return run


def log_row(run: Any, row: Row, game: str) -> None:
    """One row of a training. W&B's own step is env_step too, so that a row sent twice counts once."""
    # A panel groups runs by network alone, so that what games differ in has a name of its own for each.
    by_game = {f"{name}/{game}": row.get(name) for name in BY_GAME}
    run.log(present(row | by_game), step=row["env_step"], commit=True)


def present(row: Row) -> Row:
    """A row without what is None."""
    return {key: value for key, value in row.items() if value is not None}


def briefly(error: Exception) -> str:
    """An error in a few words: the first line of its message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
