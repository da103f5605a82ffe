"""What a run writes down: the JSONL record, which is the source of truth, and Weights & Biases.

The only file that imports wandb. W&B is online only where a key is found, never asks, and never ends
a run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import uuid
from pathlib import Path
from typing import Any, Literal

from fls_jax.errors import UserError

WandbMode = Literal["auto", "offline", "off"]
Row = dict[str, Any]


def read_record(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; a last line that was cut short is left out.

    Raises UserError for a damaged line elsewhere, with its number.
    """
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise UserError(f"{path}, line {number}, is not JSON: remove or correct it.") from error
    return rows


class Record:
    """metrics.jsonl, one line an update, flushed at once.

    Opening it drops the rows after `last_step` (updates that no checkpoint holds) and a last line cut
    short.
    """

    def __init__(self, path: Path, last_step: int = 0) -> None:
        kept = [row for row in read_record(path) if row["env_step"] <= last_step]
        self._path = path
        try:
            temporary = path.with_suffix(".jsonl.part")
            temporary.write_text("".join(_line(row) for row in kept))
            temporary.replace(path)
            self._file = path.open("a")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, row: Row) -> None:
        """Append one row; UserError where the disk is full or gone."""
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"The record {self._path} cannot be written ({error.strerror}): make room or rights, then run "
            "the same command again: it goes on from the last complete checkpoint."
        )


class WandbRun:
    """A W&B run, or nothing at all when W&B is off or fails; a failure is said once.

    Args:
        directory: the run folder; W&B's files go into its `wandb/`, the run's id into `wandb/run-id`.
        config: everything in config.json.
        job_type: `train`, `evaluate`, `gaze` or `video`.
        mode: `auto` is online where a key is found and offline elsewhere.
    """

    def __init__(
        self, directory: Path, config: dict[str, Any], job_type: str, mode: WandbMode, project: str
    ) -> None:
        self._run: Any = None
        self.failure: str | None = None
        if mode == "off":
            return
        try:
            self._run = _start(directory, config, job_type, mode, project)
        except Exception as error:
            self._give_up(error)

    def log(self, row: Row) -> None:
        """Send one row, which carries `env_step`; values that are None are left out."""
        if self._run is None:
            return
        try:
            self._run.log({key: value for key, value in row.items() if value is not None})
        except Exception as error:
            self._give_up(error)

    def finish(self) -> None:
        """Close the run."""
        if self._run is None:
            return
        try:
            self._run.finish(quiet=True)
        except Exception as error:
            self._give_up(error)
        self._run = None

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self.failure = f"W&B failed and is off for this run ({str(error).strip().splitlines()[:1]})"


def _start(directory: Path, config: dict[str, Any], job_type: str, mode: WandbMode, project: str) -> Any:
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb  # takes seconds, so only where it is used

    logging.getLogger("wandb").setLevel(logging.ERROR)
    online = mode == "auto" and os.environ.get("WANDB_MODE", "online") == "online" and _has_key(wandb)
    home = directory / "wandb"
    home.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=project,
        dir=str(directory),
        id=_run_id(home, job_type),
        name=f"{config['game']}-{config['network']}-seed{config['seed']}",
        group=f"{config['game']}/{config['network']}",
        job_type=job_type,
        tags=[config["game"], config["network"], job_type],
        config=config,
        mode="online" if online else "offline",
        resume="allow",
        settings=wandb.Settings(silent=True, console="off", init_timeout=30, x_disable_meta=False),
    )
    run.define_metric("env_step")
    run.define_metric("*", step_metric="env_step")
    return run


def _has_key(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except Exception:  # an unusable key or server is the same as none
        return False


def _run_id(home: Path, job_type: str) -> str:
    """The same id whenever this run goes on."""
    file = home / f"{job_type}-run-id"
    if not file.exists():
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text().strip()


def _line(row: Row) -> str:
    return json.dumps({key: _plain(value) for key, value in row.items()}, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Numbers that do not exist are null: JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
