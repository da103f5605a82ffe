"""The record of jobs in a run folder: `jobs/attempts.jsonl`, one line per begin and end of a stage."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fls_jax.runs.folder import RunFolder

AttemptState = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Attempt:
    """One line.

    job: Slurm's id (`12_3`), empty for a local job. pid: of the job's process. env_step: the last step of the
    training. why: the reason of a failure, a sentence.
    """

    stage: str
    state: AttemptState
    env_step: int
    job: str = ""
    host: str = ""
    pid: int = 0
    time: str = ""
    why: str = ""


def add_attempt(folder: RunFolder, stage: str, state: AttemptState, env_step: int, why: str = "") -> None:
    """Append a line about this process's job; the folder is created if missing. Raises OSError."""
    line = Attempt(
        stage, state, env_step, job_id(), socket.gethostname(), os.getpid(),
        datetime.now(UTC).isoformat(timespec="seconds"), why,
    )  # fmt: skip
    path = attempts_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # a single write, so that lines of several jobs do not mix
        file.write(json.dumps(asdict(line)) + "\n")


def attempts_file(folder: RunFolder) -> Path:
    """The record of a run's attempts."""
    return folder.path / "jobs" / "attempts.jsonl"


def log_file(folder: RunFolder, stage: str) -> Path:
    """The file of a stage's output, attempt after attempt."""
    return folder.path / "jobs" / f"{stage}.log"


def last_attempt(folder: RunFolder, stage: str) -> Attempt | None:
    """The latest line about a stage; None if there is none. Damaged lines are skipped."""
    try:
        lines = attempts_file(folder).read_text().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            attempt = Attempt(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if attempt.stage == stage:
            return attempt
    return None


def job_id() -> str:
    """Slurm's id of this process's job, `12` or `12_3`; empty outside Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def is_alive(attempt: Attempt, queue: frozenset[str]) -> bool:
    """Whether the job of an attempt is still alive. queue: ids of Slurm's jobs that have not ended.

    A local job of another machine cannot be checked and counts as alive.
    """
    if attempt.job:
        return attempt.job in queue
    if attempt.host != socket.gethostname():
        return True
    try:
        return b"submitit" in Path(f"/proc/{attempt.pid}/cmdline").read_bytes()
    except OSError:
        return False
