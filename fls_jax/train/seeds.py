"""Trains several seeds of one configuration at once on one device, each in its own run folder.

Each run leaves the same files as if it were trained alone, and can be resumed alone or with the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import jax

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.fleet import Fleet
from fls_jax.ppo.trainer import Member
from fls_jax.process.display import TrainingDisplay
from fls_jax.process.interruption import StopFlag
from fls_jax.process.places import usable_places
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.folder import RunFolder, default_run_dir, open_run
from fls_jax.runs.record import Row
from fls_jax.train.job import Job, Tracking
from fls_jax.train.preparation import as_begun, check_room, is_finished, resolve

SET_BACK = "set-back-checkpoints"


def parse_seeds(text: str) -> tuple[int, ...]:
    """`1,9,17` -> (1, 9, 17). Raises UserError for anything but distinct whole numbers."""
    try:
        seeds = tuple(int(each) for each in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds is {text!r}; give distinct whole numbers separated by commas, as 1,9,17.")
    return seeds


def train_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    run_dir: Path | None = None,
    fresh: bool = False,
    tracking: Tracking | None = None,
) -> list[RunFolder]:
    """Train one run per seed, all at once, resuming those that the folders hold. Returns the folders.

    run_dir: folder of the runs `seed<k>`. Finished runs are left as they are; the others resume from the
    latest step that all of them have. A run that diverges ends, and the others continue. Raises UserError as
    `train` does; for a run that diverged, at the end.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"--seeds trains in one process, and there are {jax.process_count()}: start one alone, or train "
            "each seed for itself, with --seed."
        )
    configs = [resolve(replace(config, seed=seed)) for seed in seeds]
    for line in usable_places():
        print(line)
    check_room(configs[0], len(seeds))
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopFlag())
        homes = [run_dir / f"seed{each.seed}" if run_dir else default_run_dir(each) for each in configs]
        folders = [stack.enter_context(open_run(home, fresh)) for home in homes]
        pairs = [(as_begun(*pair), pair[1]) for pair in zip(configs, folders, strict=True)]
        left = [pair for pair in pairs if not is_finished(*pair)]
        if len({replace(each, seed=0) for each, _ in left}) > 1:
            raise UserError(
                "These runs were begun with different configurations and cannot continue together: resume "
                "each alone, with --seed."
            )
        if left:
            set_back([folder for _, folder in left], configs[0])
            fleet = Fleet(left[0][0], [each.seed for each, _ in left])
            with contextlib.closing(fleet):
                _train(fleet, left, stop, tracking or Tracking())
    return folders


def set_back(folders: Sequence[RunFolder], config: TrainConfig) -> None:
    """Move checkpoints that are newer than the latest common one to another folder; nothing is deleted.

    Runs that ended between two saves differ by one checkpoint. Raises UserError if a run would lose more.
    """
    steps = [checkpoint_steps(folder.checkpoints) for folder in folders]
    common = max(set(steps[0]).intersection(*steps[1:]), default=0)
    behind = max((of_run[-1] for of_run in steps if of_run), default=0) - common
    if behind > config.checkpoint_every * config.steps_per_update:
        where = ", ".join(f"{f.path} at {s[-1] if s else 0:,}" for f, s in zip(folders, steps, strict=True))
        raise UserError(
            f"These runs are too far apart to continue together ({where}): first resume the one behind "
            "alone, with --seed, or leave it out of --seeds."
        )
    for folder, of_run in zip(folders, steps, strict=True):
        for step in (step for step in of_run if step > common):
            home = folder.path / SET_BACK
            home.mkdir(exist_ok=True)
            target = next(t for n in range(1, 10_000) if not (t := home / f"{step}-{n}").exists())
            (folder.checkpoints / str(step)).rename(target)
            print(f"{folder.path}: the checkpoint at step {step:,}, which not all runs have, is in {target}.")


def _train(
    fleet: Fleet, runs: Sequence[tuple[TrainConfig, RunFolder]], stop: StopFlag, tracking: Tracking
) -> None:
    members = [Member(fleet, run) for run in range(len(runs))]
    with contextlib.ExitStack() as stack:
        jobs = []
        for (config, folder), member in zip(runs, members, strict=True):
            jobs.append(Job(config, folder, member, stop, tracking))
            stack.enter_context(jobs[-1].closing())
        restored = [member.restored for member in members if member.restored is not None]
        if len({job.saved for job in jobs}) > 1:
            raise UserError(
                "A damaged checkpoint was moved, and the runs are at different steps now: the same "
                "command resumes from a step that they all have."
            )
        if restored:
            fleet.restore_all(restored)
        failures = _Loop(fleet, jobs, stop).run()
    step, total = fleet.env_step, runs[0][0].last_step
    if failures:
        raise failures[0]
    if step == 0:
        print("Stopped before the first update: there is nothing to save. The same command starts anew.")
        return
    print(f"{'Finished' if step == total else 'Stopped'} at step {step:,} of {total:,}, {len(runs)} runs.")
    if step < total:
        print("The same command resumes from there.")


class _Loop:
    """All updates of one session of several runs. Runs that fail are dropped."""

    def __init__(self, fleet: Fleet, jobs: Sequence[Job], stop: StopFlag) -> None:
        self._fleet, self._stop = fleet, stop
        self._jobs = dict(enumerate(jobs))
        config = jobs[0].config
        self._total = config.last_step
        seeds = ", ".join(map(str, fleet.seeds))
        self._display = TrainingDisplay(f"{config.game} {config.network} seeds {seeds}", self._total)
        self._failures: list[UserError] = []

    def run(self) -> list[UserError]:
        """Update until the end, a signal, or no run is left. Returns the errors of runs that failed."""
        with self._display:
            for job in self._jobs.values():
                if job.wandb.failure:
                    self._display.message(job.wandb.failure)
            self._updates()
            for run, job in list(self._jobs.items()):
                with self._failing(run):
                    job.save()
                    job.store.wait()
        return self._failures

    def _updates(self) -> None:
        session = last = time.perf_counter()
        saving = dict.fromkeys(self._jobs, 0.0)
        while self._jobs and self._fleet.env_step < self._total and not self._stop:
            rows = self._fleet.advance_all()
            now = time.perf_counter()
            for run, job in list(self._jobs.items()):
                with self._failing(run):
                    job.note(rows[run], now - last, now - session, saving[run])
                    saving[run] = job.save_if_due()
            last = now
            if self._jobs:
                self._display.update(summary([rows[run] for run in self._jobs]))

    @contextlib.contextmanager
    def _failing(self, run: int) -> Generator[None]:
        """Drop a run that fails in the block; the others continue."""
        try:
            yield
        except UserError as error:
            del self._jobs[run]
            seed = self._fleet.seeds[run]
            self._failures.append(UserError(f"Seed {seed}: {error}"))
            self._display.message(f"Seed {seed} has ended, the others continue. {error}")


def summary(rows: Sequence[Row]) -> Row:
    """The row that the terminal shows for several runs: mean return, steps per second of all together."""
    returns = [row["eprewmean"] for row in rows if row["eprewmean"] is not None]
    speed = sum(row["sps"] for row in rows)
    return rows[0] | {"eprewmean": fmean(returns) if returns else None, "sps": speed}
