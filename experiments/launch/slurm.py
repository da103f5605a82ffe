"""Submits the jobs of a plan to Slurm with submitit: one array per stage, later stages after training."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from experiments.data.grid import Resources
from experiments.launch.job import Job
from experiments.launch.planning import Pack, Plan
from experiments.launch.stages import Stage, cell_id
from fls_jax.errors import UserError

_REQUEUES = 10_000
_WARNING_SECONDS = 120


@dataclass(frozen=True)
class SlurmOptions:
    """Options for the cluster. extra: other sbatch options by name. python: command of a job's Python."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    parallel: int = 256
    extra: dict[str, str] = field(default_factory=dict)
    python: str | None = None


def live_jobs() -> frozenset[str]:
    """Ids (`12`, `12_3`) of this user's waiting and running jobs, from the scheduler, not the accounting.

    Raises UserError if there is no Slurm or it does not answer.
    """
    if shutil.which("squeue") is None:
        raise UserError("There is no Slurm here (no squeue): use --where local, or log in to the cluster.")
    asked = subprocess.run(
        ["squeue", "--noheader", "--me", "--array", "--format=%i"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["no word"])[0]
        raise UserError(f"Slurm does not answer ({reason}): try again when squeue works.")
    return frozenset(asked.stdout.split())


class Submissions:
    """The record of submitted jobs: `.jobs/submitted.jsonl` below the grid's root."""

    def __init__(self, root: Path) -> None:
        self.path = root / ".jobs" / "submitted.jsonl"

    def add(self, job: str, stage: str, cells: Sequence[str]) -> None:
        """Record a job."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"job": job, "stage": stage, "cells": list(cells)}) + "\n")

    def queued(self, queue: frozenset[str]) -> set[tuple[str, str]]:
        """(cell id, stage) of the jobs that are still in the queue."""
        if not self.path.exists():
            return set()
        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {(cell, row["stage"]) for row in rows if row["job"] in queue for cell in row["cells"]}


@dataclass(frozen=True)
class Array:
    """Jobs submitted together: their number, their id, and the ids of jobs they wait for."""

    stage: str
    job: str
    count: int
    after: tuple[str, ...] = ()


def sbatch_options(words: Sequence[str]) -> dict[str, str]:
    """Parse `name=value` into options by name. Raises UserError for anything else."""
    for word in words:
        if "=" not in word:
            raise UserError(f"--sbatch {word!r} is not NAME=VALUE, for example --sbatch constraint=a100.")
    return {name.lstrip("-"): value for name, value in (word.split("=", 1) for word in words)}


def submit(
    plan: Plan, need: dict[Stage, Resources], options: SlurmOptions, last: Sequence[str] = ()
) -> list[Array]:
    """Submit everything. Raises UserError if Slurm refuses.

    Packs that need the same stages share one array per stage. A task of a later stage waits for the same task
    of the training and is dropped if that fails, so that one failure affects nothing else. last: a command to
    run when all have ended.
    """
    if shutil.which("sbatch") is None:
        raise UserError("There is no Slurm here (no sbatch): use --where local, or log in to the cluster.")
    submissions = Submissions(plan.grid.root)
    arrays: list[Array] = []
    for stages in dict.fromkeys(pack.stages for pack in plan.packs):
        packs = [pack for pack in plan.packs if pack.stages == stages]
        training: tuple[str, ...] = ()
        for stage in stages:
            ids = _submit_array(plan, stage, packs, need[stage], options, training)
            for pack, job in zip(packs, ids, strict=True):
                submissions.add(job, stage, [cell_id(cell) for cell in plan.open_cells(pack, stage)])
            arrays.append(Array(stage, ids[0].split("_")[0], len(ids), training))
            training = (arrays[-1].job,) if stage == "train" else training
    if last and arrays:
        arrays.append(_submit_command(plan, last, options, tuple(array.job for array in arrays)))
    return arrays


def _submit_array(
    plan: Plan,
    stage: Stage,
    packs: Sequence[Pack],
    need: Resources,
    options: SlurmOptions,
    after: tuple[str, ...],
) -> list[str]:
    """The ids of a stage's jobs, in the order of the packs."""
    most = max(len(pack.cells) for pack in packs)
    extra: dict[str, Any] = {"requeue": True, **options.extra}
    if after:
        kind = "aftercorr" if len(packs) > 1 else "afterok"  # a single job needs no array
        extra |= {"dependency": ":".join([kind, *after]), "kill-on-invalid-dep": "yes"}
    executor = _executor(plan, stage, options)
    executor.update_parameters(
        cpus_per_task=need.cores * most,
        timeout_min=max(1, round(need.hours * 60)),
        mem_gb=need.memory_gb * most or None,
        gpus_per_node=need.gpus or None,
        slurm_array_parallelism=options.parallel,
        slurm_signal_delay_s=_WARNING_SECONDS,
        slurm_additional_parameters=extra,
    )
    with _refusals(stage), executor.batch():
        jobs = [
            executor.submit(Job(plan.grid, stage, plan.open_cells(pack, stage), gpus=need.gpus))
            for pack in packs
        ]
    return [job.job_id for job in jobs]


def _submit_command(
    plan: Plan, command: Sequence[str], options: SlurmOptions, after: tuple[str, ...]
) -> Array:
    """Submit one command that runs when all jobs in `after` have ended, successfully or not."""
    executor = _executor(plan, "figures", options)
    dependency = {"dependency": ":".join(["afterany", *after])}
    executor.update_parameters(
        cpus_per_task=1, timeout_min=60, slurm_additional_parameters=dependency | options.extra
    )
    with _refusals("figures"):
        job = executor.submit(subprocess.run, list(command), check=True)
    return Array("figures", job.job_id, 1, after)


@contextlib.contextmanager
def _refusals(stage: str) -> Generator[None]:
    try:
        yield
    except (subprocess.CalledProcessError, UncompletedJobError, FailedSubmissionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(
            f"Slurm has refused the stage {stage} ({reason}): change --partition, --account, --hours, --gpus "
            "or --sbatch; jobs submitted before stay, and are not submitted again."
        ) from error


def _executor(plan: Plan, stage: str, options: SlurmOptions) -> submitit.AutoExecutor:
    executor = submitit.AutoExecutor(
        plan.grid.root.absolute() / ".jobs",
        cluster="slurm",
        slurm_max_num_timeout=_REQUEUES,
        slurm_python=options.python or sys.executable,
    )
    executor.update_parameters(
        name=f"{plan.grid.experiment.name}-{stage}",
        slurm_partition=options.partition,
        slurm_account=options.account,
        slurm_qos=options.qos,
    )
    return executor
