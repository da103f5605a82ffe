"""A live Weights & Biases run of a job: online only if a key is found; its failures do not stop the job."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fls_jax.runs.record import Row
from fls_jax.wandb.service import (
    Identity,
    JobType,
    briefly,
    import_wandb,
    init_run,
    keep_run_id,
    log_row,
    run_id,
)

WandbMode = Literal["auto", "offline", "off"]


class WandbRun:
    """A W&B run of a job; does nothing if W&B is off or has failed. A failure is reported once.

    `failure` is the message after the start, or None. Later failures are printed on stderr.

    Args:
        directory: the run folder; W&B's files go into its `wandb/`, the run's id into
            `wandb/<job_type>-run-id`.
        config: everything in config.json.
        mode: `auto` is online if a usable key is found, else offline. W&B's own switches (`WANDB_MODE`,
            `wandb offline`, `wandb disabled`) are respected.
    """

    def __init__(
        self, directory: Path, config: Row, job_type: JobType, mode: WandbMode, project: str
    ) -> None:
        self._run: Any = None
        self._game = config["game"]
        self.failure: str | None = None
        if mode == "off":
            return
        try:
            self._run, self.failure = _start(directory, config, job_type, mode, project)
        except Exception as error:
            self.failure = _off(error)

    def catch_up(self, rows: Sequence[Row]) -> None:
        """Send the rows of earlier sessions that an online run lacks, because they were offline."""
        if self._run is None or self._run.offline:
            return
        for row in rows:
            if row["env_step"] >= self._run.step:  # W&B takes no rows before that
                self.log(row)

    def log(self, row: Row) -> None:
        """Send one row, which has `env_step`; values that are None are left out."""
        if self._run is None:
            return
        try:
            log_row(self._run, row, self._game)
        except Exception as error:
            self._give_up(_off(error))

    def finish(self) -> None:
        """Close the run; an online one gets FINISH_SECONDS to send the rest."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except Exception as error:
            self._give_up(
                f"W&B has not received the whole run ({briefly(error)}); "
                f"`wandb sync --include-online {Path(self._run.dir).parent}` sends the rest."
            )
        self._run = None

    def _give_up(self, sentence: str) -> None:
        self._run = None
        self.failure = sentence
        print(f"fls: {sentence}", file=sys.stderr, flush=True)


def _start(
    directory: Path, config: Row, job_type: JobType, mode: WandbMode, project: str
) -> tuple[Any, str | None]:
    """(the started run or None, a message about it or None)."""
    wandb = import_wandb()
    asked = wandb.setup().settings.mode
    if asked == "disabled":
        return None, None
    home = directory / "wandb"
    home.mkdir(parents=True, exist_ok=True)
    identity = run_id(home, job_type)
    if identity is None:
        identity = uuid.uuid4().hex[:12]
        keep_run_id(home, job_type, identity)
    arguments = Identity(identity, job_type, project).arguments(config) | {"dir": str(directory)}
    failure = None
    if mode == "auto" and asked == "online":
        try:
            if wandb.login(prompt=False):
                return init_run(wandb, "online", arguments), None
        except Exception as error:
            wandb.teardown()  # its service locks the run's id until it ends
            failure = (
                f"W&B cannot be reached with the key that is set, so this run is recorded offline "
                f"({briefly(error)}); `fls sync {directory}` sends it."
            )
    return init_run(wandb, "offline", arguments), failure


def _off(error: Exception) -> str:
    return f"W&B failed and is off for this run ({briefly(error)}); metrics.jsonl has everything."
