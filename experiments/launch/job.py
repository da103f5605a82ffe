"""A job: one stage of some cells in parallel, which submitit runs on this machine or on a cluster.

The commands are separate processes. A signal (SIGTERM, SIGUSR1, SIGUSR2) is passed on to them as SIGTERM, so
that they save and stop. Under Slurm the job is then requeued.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import IO

import submitit

from experiments.data.grid import Cell
from experiments.launch.attempts import AttemptState, add_attempt, job_id, log_file
from experiments.launch.stages import (
    Grid,
    Stage,
    cell_id,
    command_together,
    commands,
    is_done,
    train_together,
)

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_RESTARTS = 2
"""How often a killed command is restarted; it resumes."""
_POLL = 0.2
_STOPPED_CODES = (0, *(-number for number in _SIGNALS), *(128 + number for number in _SIGNALS))
"""Exit codes of a stopped command. Slurm also signals a job's commands, even before they handle signals."""


@dataclass(frozen=True)
class Job:
    """A stage of some cells in parallel. cores: the cores it is restricted to, if any."""

    grid: Grid
    stage: Stage
    cells: tuple[Cell, ...]
    cores: frozenset[int] = frozenset()
    gpus: int = 0

    def __call__(self) -> dict[str, AttemptState]:
        """Run what is left; returns how each cell ended. Under Slurm, a stopped job requeues itself instead.

        Raises RuntimeError if every cell failed, so that the cluster marks the job as failed.
        """
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        with _Signals() as signals:
            processes = self.processes()
            environment = self.environment(len(processes))
            work = [_Work(self, cells, environment) for cells in processes]
            while sum(each.advance(stop=bool(signals.received)) for each in work) < len(work):
                time.sleep(_POLL)
        states = {cell_id(cell): state for each in work for cell, state in each.states.items()}
        if "stopped" in states.values() and job_id() and _is_still_wanted():
            signal.raise_signal(signal.SIGUSR2)  # submitit's own handler is restored: it requeues and exits
        if set(states.values()) == {"failed"}:
            raise RuntimeError("; ".join(f"{cell_id(each.cells[0])}: {each.why}" for each in work))
        return states

    def processes(self) -> list[tuple[Cell, ...]]:
        """The cells of each process: one, or all that are to be trained together."""
        left = tuple(cell for cell in self.cells if not is_done(self.grid, self.stage, cell))
        if self.stage != "train" or not train_together(self.grid, left):
            return [(cell,) for cell in self.cells]
        return [left, *((cell,) for cell in self.cells if cell not in left)]

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """For submitit: run the same job after a requeue."""
        return submitit.helpers.DelayedSubmission(self)

    def environment(self, processes: int) -> dict[str, str]:
        """The processes' environment: those that share a GPU share its memory."""
        if self.gpus and processes > 1:
            return os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / processes:.3f}"}
        return dict(os.environ)


class _Work:
    """The commands of one cell, one after the other, or the one that trains several."""

    def __init__(self, job: Job, cells: tuple[Cell, ...], environment: dict[str, str]) -> None:
        self.job, self.cells, self.environment = job, cells, environment
        self.folders = [job.grid.folder(cell) for cell in cells]
        self.last_step = job.grid.config(cells[0]).last_step
        self.states: dict[Cell, AttemptState] = {}
        self.why = ""
        self._left: list[list[str]] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._restarts = 0
        self._told = False

    def advance(self, stop: bool) -> bool:
        """Check the process and start the next one. Returns whether all have ended."""
        if self.states:
            return True
        if self._process is None:
            return self._end("stopped") if stop else self._begin()
        code = self._process.poll()
        if code is None:
            if stop and not self._told:
                self._process.terminate()
                self._told = True
            return False
        assert self._log is not None
        self._log.close()
        self._process = None
        return self._ended(code, stop)

    def _begin(self) -> bool:
        """Start the next command, once no other process trains here. Returns whether all have ended."""
        if any(folder.is_locked() for folder in self.folders):
            return False
        grid, stage = self.job.grid, self.job.stage
        log = log_file(self.folders[0], stage)
        if self._left is None:
            if self._is_done():
                self.states = dict.fromkeys(self.cells, "finished")
                return True
            if stage != "train" and not is_done(grid, "train", self.cells[0]):
                return self._end("failed", "its training is not finished")
            for folder in self.folders:
                add_attempt(folder, stage, "running", self.last_step)
            for folder in self.folders[1:]:
                with log_file(folder, stage).open("a") as other:
                    other.write(f"Trained together with others; what was said is in {log}\n")
            several = len(self.cells) > 1
            self._left = (
                [command_together(grid, self.cells)] if several else commands(grid, stage, self.cells[0])
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            self._left[0],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the launcher handles a terminal's Ctrl-C
            preexec_fn=_end_with_parent,
        )
        return False

    def _ended(self, code: int, stop: bool) -> bool:
        """Handle an exit code. Returns whether all have ended."""
        assert self._left is not None
        if stop and code in _STOPPED_CODES:
            return self._end("finished" if code == 0 and self._is_done() else "stopped")
        if code < 0 and self._restarts < _RESTARTS:
            self._restarts += 1
            return False
        if code:
            return self._end("failed", self._reason(code))
        self._left.pop(0)
        if self._left:
            return False
        if self.job.stage != "saliency" and not self._is_done():
            return self._end("stopped")  # by a signal to this command only
        return self._end("finished")

    def _is_done(self) -> bool:
        return all(is_done(self.job.grid, self.job.stage, cell) for cell in self.cells)

    def _end(self, state: AttemptState, why: str = "") -> bool:
        """Record how each cell ended. Of several cells, those that are done have finished."""
        self.why = why
        for cell, folder in zip(self.cells, self.folders, strict=True):
            done = len(self.cells) > 1 and is_done(self.job.grid, self.job.stage, cell)
            self.states[cell] = "finished" if done else state
            if self._left is not None:  # a stage that has not begun is not recorded
                add_attempt(folder, self.job.stage, self.states[cell], self.last_step, "" if done else why)
        return True

    def _reason(self, code: int) -> str:
        """Why a command failed: its last message, or the signal that killed it."""
        if code < 0:
            return f"killed {self._restarts + 1} times by {signal.Signals(-code).name} (out of memory?)"
        lines = log_file(self.folders[0], self.job.stage).read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith("fls: ")] or [
            line for line in lines if line.strip()
        ]
        return re.sub(r"^fls: ", "", told[-1])[:500] if told else f"exit code {code}"


class _Signals:
    """Catches the signals that ask a job to stop, during the block."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)


def _end_with_parent() -> None:
    """Called in a command's process: it gets a SIGTERM if the job is killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked in a local job
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; only on Linux, like EnvPool


def _is_still_wanted() -> bool:
    """Whether Slurm lists this job as running: not so if it was cancelled or is requeued by Slurm."""
    said = subprocess.run(["scontrol", "show", "job", job_id()], capture_output=True, text=True, check=False)
    return "JobState=RUNNING" in said.stdout
