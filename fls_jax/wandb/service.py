"""Shared parts of the W&B modules: naming, starting and writing runs."""

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
# How long W&B may delay the start and the end of an online run.
START_SECONDS = 20.0
FINISH_SECONDS = 60.0
BY_GAME = ("eprewmean", "sps", "sps_overall", "attention_mean", "attention_max", "attention_entropy")
"""Columns of a training that are also sent as `<name>/<Game>`."""


@dataclass(frozen=True)
class Identity:
    """Names of a W&B run.

    id: permanent id of the run. title: the part of its name after `<game>-<network>-seed<k>`.
    """

    id: str
    job_type: JobType
    project: str
    title: str = ""

    def arguments(self, config: Row) -> Row:
        """Arguments for wandb.init. config: everything in config.json."""
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
    """The W&B id of a run folder's job, None if it has none yet. home: the folder's wandb/."""
    file = home / f"{job_type}-run-id"
    return file.read_text().strip() if file.exists() else None


def keep_run_id(home: Path, job_type: JobType, identity: str) -> None:
    """Store the id of a run folder's job for later sessions."""
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{job_type}-run-id").write_text(identity)


def import_wandb() -> Any:
    """Import wandb, silent and without telemetry. This takes seconds, so it happens only when needed.

    Raises UserError if it is not installed.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # otherwise it sends telemetry, even offline
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise UserError(f"{missing_library(error)}.") from error
    logging.getLogger("wandb").setLevel(logging.ERROR)
    return wandb


def init_run(wandb: Any, mode: str, arguments: Row, **more: Any) -> Any:
    """Start a run that prints nothing and does not wait for a network without end."""
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
    # A panel groups runs only by network, so metrics that differ by game get a name per game.
    by_game = {f"{name}/{game}": row.get(name) for name in BY_GAME}
    run.log(present(row | by_game), step=row["env_step"], commit=True)


def present(row: Row) -> Row:
    """A row without values that are None."""
    return {key: value for key, value in row.items() if value is not None}


def briefly(error: Exception) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
