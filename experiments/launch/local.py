"""Runs the jobs of a plan on this machine with submitit's local executor, within its cores."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import submitit
from submitit.core.utils import UncompletedJobError

from experiments.data.grid import Cell, Resources
from experiments.launch.job import Job
from experiments.launch.planning import Pack, Plan
from experiments.launch.stages import Stage, cell_id
from fls_jax.errors import UserError
from fls_jax.process.interruption import StopFlag

_POLL = 0.3
_ASK_AGAIN = 2.0
"""Seconds between requests to stop: submitit drops those that reach a job while it is still starting."""
_REQUEUES = 5
_YEAR = 60 * 24 * 365


@dataclass
class _Waiting:
    """A stage of a pack that has not started."""

    pack: Pack
    stage: Stage
    requeues: int = 0


@dataclass
class _Running:
    waiting: _Waiting
    job: submitit.Job
    process: int
    cores: frozenset[int]
    gpus: frozenset[int]
    began: float = field(default_factory=time.monotonic)


def visible_gpus() -> frozenset[int]:
    """The indices of this machine's NVIDIA GPUs that this process may use."""
    if shutil.which("nvidia-smi") is None:
        return frozenset()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    count = sum(line.startswith("GPU ") for line in listed.splitlines())
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return frozenset(range(count))
    return frozenset(int(word) for word in allowed.split(",") if word.strip().isdecimal())


class LocalGrid:
    """Runs a plan: as many jobs at a time as cores and GPUs allow, each stage after its training.

    need: resources of a run by stage; a pack needs these cores for each of its runs. say: prints a message.
    """

    def __init__(
        self, plan: Plan, need: dict[Stage, Resources], say: Callable[[str], None] | None = None
    ) -> None:
        self.plan, self.need = plan, need
        self.say = say or functools.partial(
            print, flush=True
        )  # a pipe would otherwise buffer the output to the end
        self.cores = set(os.sched_getaffinity(0))
        self.machine = len(self.cores)
        self.gpus = set(visible_gpus())
        self.has_gpus = bool(self.gpus)
        self.waiting = [
            _Waiting(pack, stage) for stage in plan.stages for pack in plan.packs if stage in pack.stages
        ]
        self.total = len(self.waiting)
        self.running: list[_Running] = []
        self.ended = 0
        self.untrained: set[Cell] = set()
        self.executor = submitit.LocalExecutor(plan.grid.root / ".jobs")

    def run(self) -> bool:
        """Run until everything has ended or a signal. Returns whether there was a signal."""
        with StopFlag("the jobs have saved what they have", "each run's last checkpoint is kept") as stop:
            asked = -_ASK_AGAIN
            while self.running or (self.waiting and not stop):
                if stop and time.monotonic() - asked >= _ASK_AGAIN:
                    asked = time.monotonic()
                    for each in self.running:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(each.process, signal.SIGTERM)
                self.collect(bool(stop))
                while not stop and self.start_next():
                    pass
                time.sleep(_POLL)
            return bool(stop)

    def start_next(self) -> bool:
        """Start the first job that may begin and has enough free cores. Returns whether there was one."""
        busy = {id(each.waiting.pack) for each in self.running if each.waiting.stage == "train"}
        to_train = {id(each.pack) for each in self.waiting if each.stage == "train"}
        for each in list(self.waiting):
            if each.stage != "train" and id(each.pack) in busy | to_train:
                continue
            if not self.cells(each):
                self.waiting.remove(each)
                continue
            need = self.need[each.stage]
            cores = min(need.cores * len(each.pack.cells), self.machine)
            gpus = need.gpus if self.has_gpus else 0
            if cores <= len(self.cores) and gpus <= len(self.gpus):
                self.waiting.remove(each)
                self.start(each, cores, gpus)
                return True
        return False

    def start(self, waiting: _Waiting, cores: int, gpus: int) -> None:
        """Start a job on cores and GPUs of its own."""
        taken = frozenset(sorted(self.cores)[:cores])
        cards = frozenset(sorted(self.gpus)[:gpus])
        self.cores -= taken
        self.gpus -= cards
        cells = self.cells(waiting)
        job = Job(self.plan.grid, waiting.stage, cells, taken, gpus)
        self.executor.update_parameters(
            timeout_min=_YEAR, name=waiting.stage, gpus_per_node=gpus, visible_gpus=sorted(cards)
        )
        with _deaf_to_ctrl_c():
            submitted = self.executor.submit(job)
        self.running.append(_Running(waiting, submitted, int(submitted.job_id), taken, cards))
        self.say(f"started   {_title(waiting.stage, cells)}")

    def collect(self, stopping: bool) -> None:
        """Collect jobs that have ended. Those stopped by others are put back into the queue."""
        for each in [each for each in self.running if each.job.done()]:
            self.running.remove(each)
            self.cores |= each.cores
            self.gpus |= each.gpus
            self.report(each, stopping)

    def report(self, each: _Running, stopping: bool) -> None:
        """Print how each cell of a job ended, or put a job stopped by others back to the front."""
        stage, cells = each.waiting.stage, self.cells(each.waiting)
        states = _outcome(each.job)
        if "stopped" in states.values() and not stopping and each.waiting.requeues < _REQUEUES:
            each.waiting.requeues += 1
            self.waiting.insert(0, each.waiting)
            self.say(f"requeued  {_title(stage, cells)}")
            return
        self.ended += 1
        minutes = (time.monotonic() - each.began) / 60
        for cell in cells:
            state = states.get(cell_id(cell), "failed")
            if stage == "train" and state != "finished":
                self.untrained.add(cell)
            place = f"({self.ended} of {self.total} jobs)"
            self.say(f"{state:9} {stage} {cell_id(cell)} after {minutes:.1f} min {place}")

    def cells(self, waiting: _Waiting) -> tuple[Cell, ...]:
        """The cells of a job: the open cells of its pack whose training has not just failed."""
        cells = self.plan.open_cells(waiting.pack, waiting.stage)
        return tuple(cell for cell in cells if waiting.stage == "train" or cell not in self.untrained)


def _outcome(job: submitit.Job) -> dict[str, str]:
    """How each cell ended; empty if the job was killed, or all cells failed."""
    # submitit would wait 15 s for the result of a killed job; in this time no other job is asked to stop.
    if not job.paths.result_pickle.exists():
        return {}
    try:
        return job.result()
    except (UncompletedJobError, OSError):
        return {}


def _title(stage: Stage, cells: tuple[Cell, ...]) -> str:
    seeds = ", ".join(str(cell.seed) for cell in cells)
    return f"{stage} {cells[0].game} {cells[0].network} seed{'s' * (len(cells) > 1)} {seeds}"


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Generator[None]:
    """Processes started in the block ignore a terminal's Ctrl-C, which the launcher handles."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_room(plan: Plan, need: dict[Stage, Resources]) -> None:
    """Raise UserError if a job asks for more GPUs than this machine has, and it has some."""
    there = len(visible_gpus())
    for stage in plan.stages:
        if there and need[stage].gpus > there:
            raise UserError(
                f"The stage {stage} asks for {need[stage].gpus} GPUs and there are {there} here: give --gpus."
            )
