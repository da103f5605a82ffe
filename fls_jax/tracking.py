"""What a run writes down: the JSONL record, which is the source of truth, and Weights & Biases.

The only file that imports wandb. W&B is online only where a key is found, never asks, and never ends
a run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import uuid
from pathlib import Path
from typing import Any, Literal

from fls_jax.errors import UserError

WandbMode = Literal["auto", "offline", "off"]
Row = dict[str, Any]
# How long W&B may hold up the start and the end of an online run.
START_SECONDS = 20.0
FINISH_SECONDS = 60.0


def read_record(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl, none where there is no file; a last line cut short is left out.

    Raises UserError for a file that cannot be read and, with its number, for any other damaged line.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"The record {path} cannot be read ({error.strerror}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if type(row["env_step"]) is not int:
                raise ValueError("env_step is no integer")
            rows.append(row)
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number}, is not a row of a record: remove or correct it, or start anew with "
                "--fresh."
            ) from error
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
        """Close the file; rows are on disk since they were written, or `write` has said why not."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"The record {self._path} cannot be written ({error.strerror}): make room or rights, then run "
            "the same command again: it goes on from the last complete checkpoint."
        )


class WandbRun:
    """A W&B run, or nothing at all when W&B is off or fails; a failure is said once.

    `failure` is what there is to say after the start, or None; what fails later is said on stderr.

    Args:
        directory: the run folder; W&B's files go into its `wandb/`, the run's id into
            `wandb/<job_type>-run-id`.
        config: everything in config.json.
        job_type: `train`, `evaluate`, `gaze` or `video`.
        mode: `auto` is online where a usable key is found and offline elsewhere; W&B's own switches
            (`WANDB_MODE`, `wandb offline`, `wandb disabled`) are heeded.
    """

    def __init__(
        self, directory: Path, config: dict[str, Any], job_type: str, mode: WandbMode, project: str
    ) -> None:
        self._run: Any = None
        self.failure: str | None = None
        if mode == "off":
            return
        try:
            self._run, self.failure = _start(directory, config, job_type, mode, project)
        except Exception as error:
            self.failure = _off(error)

    def log(self, row: Row) -> None:
        """Send one row, which carries `env_step`; values that are None are left out."""
        if self._run is None:
            return
        try:
            self._run.log({key: value for key, value in row.items() if value is not None})
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
                f"W&B has not received the whole run ({_reason(error)}); "
                f"`wandb sync --include-online {Path(self._run.dir).parent}` sends the rest."
            )
        self._run = None

    def _give_up(self, sentence: str) -> None:
        self._run = None
        self.failure = sentence
        print(f"fls: {sentence}", file=sys.stderr, flush=True)


def _start(
    directory: Path, config: dict[str, Any], job_type: str, mode: WandbMode, project: str
) -> tuple[Any, str | None]:
    """(the started run or None, what to say of it or None)."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else its telemetry calls home, also offline
    import wandb  # takes seconds, so only where it is used

    logging.getLogger("wandb").setLevel(logging.ERROR)
    asked = wandb.setup().settings.mode
    if asked == "disabled":
        return None, None
    home = directory / "wandb"
    home.mkdir(parents=True, exist_ok=True)
    arguments: dict[str, Any] = {
        "project": project,
        "dir": str(directory),
        "id": _run_id(home, job_type),
        "name": f"{config['game']}-{config['network']}-seed{config['seed']}",
        "group": f"{config['game']}/{config['network']}",
        "job_type": job_type,
        "tags": [config["game"], config["network"], job_type],
        "config": config,
        "resume": "allow",
    }
    run, failure = None, None
    if mode == "auto" and asked == "online":
        try:
            if wandb.login(prompt=False):
                run = wandb.init(mode="online", settings=_settings(wandb), **arguments)
        except Exception as error:
            wandb.teardown()  # its service holds the run's id until it ends
            failure = (
                f"W&B cannot be reached with the key that is set, so this run is recorded offline "
                f"({_reason(error)}); `wandb sync {home}/offline-run-*` sends it."
            )
    run = run or wandb.init(mode="offline", settings=_settings(wandb), **arguments)
    run.define_metric("env_step")
    run.define_metric("*", step_metric="env_step")
    return run, failure


def _settings(wandb: Any) -> Any:
    """Silent, the terminal left alone, no endless wait for a network."""
    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=START_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )


def _off(error: Exception) -> str:
    return f"W&B failed and is off for this run ({_reason(error)}); metrics.jsonl has everything."


def _reason(error: Exception) -> str:
    """An error in a few words."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


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
