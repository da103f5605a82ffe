"""What jobs did in a run folder: `jobs/attempts.jsonl`, a line when a stage begins and one when it ends."""

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

    job: Slurm's id (`12_3`), empty for a job of this machine. pid: of the job's process. env_step: the
    training's last, which the stage is about. why: of a failure, a sentence.
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
    """Append a line about this process's job; the folder is made if missing. Raises OSError."""
    line = Attempt(
        stage, state, env_step, job_id(), socket.gethostname(), os.getpid(),
        datetime.now(UTC).isoformat(timespec="seconds"), why,
    )  # fmt: skip
    path = attempts_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # one write, which other jobs' lines cannot divide
        file.write(json.dumps(asdict(line)) + "\n")


def attempts_file(folder: RunFolder) -> Path:
    """The record of a run's attempts."""
    return folder.path / "jobs" / "attempts.jsonl"


def log_file(folder: RunFolder, stage: str) -> Path:
    """What the commands of a stage have printed, attempt after attempt."""
    return folder.path / "jobs" / f"{stage}.log"


def last_attempt(folder: RunFolder, stage: str) -> Attempt | None:
    """The latest line about a stage; None where there is none. Lines that are none are passed over."""
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
    """Slurm's id of the job that this process is in, `12` or `12_3`; empty elsewhere."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def is_alive(attempt: Attempt, queue: frozenset[str]) -> bool:
    """Whether the job of an attempt is still there; queue: ids of Slurm's jobs that are not over.

    A local job of another machine cannot be asked, and counts as alive.
    """
    if attempt.job:
        return attempt.job in queue
    if attempt.host != socket.gethostname():
        return True
    try:
        return b"submitit" in Path(f"/proc/{attempt.pid}/cmdline").read_bytes()
    except OSError:
        return False
