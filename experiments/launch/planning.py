"""Plans the remaining work: packs of cells, the state of each stage, and estimated hours."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from experiments.analysis.runs import Run
from experiments.data.grid import Cell, Experiment, Resources, product
from experiments.launch.attempts import is_alive, last_attempt
from experiments.launch.stages import Grid, Stage, applies, cell_id, is_done, obstacle
from fls_jax.errors import UserError
from fls_jax.networks.specs import NETWORKS
from fls_jax.runs.contents import checkpoint_steps

State = Literal["done", "running", "queued", "stopped", "failed", "missing", "none"]
"""States of a cell's stage; none: the cell does not have this stage."""
OPEN: tuple[State, ...] = ("stopped", "failed", "missing")
"""States in which a launch starts a stage."""


@dataclass(frozen=True)
class Status:
    """The state of a cell's stage. why: the reason of a failure."""

    state: State
    why: str = ""


@dataclass(frozen=True)
class Pack:
    """Cells that share a job, and their stages that are not done."""

    cells: tuple[Cell, ...]
    stages: tuple[Stage, ...]


@dataclass
class Plan:
    """Everything that a launch would start. left_out: cells that cannot be run, with the reasons."""

    grid: Grid
    stages: tuple[Stage, ...]
    status: dict[tuple[Cell, Stage], Status]
    packs: list[Pack] = field(default_factory=list)
    left_out: dict[Cell, str] = field(default_factory=dict)

    def open_cells(self, pack: Pack, stage: Stage) -> tuple[Cell, ...]:
        """The cells of a pack for which the stage must be run."""
        return tuple(cell for cell in pack.cells if self.status[cell, stage].state in OPEN)


def chosen(
    experiment: Experiment, games: Sequence[str], networks: Sequence[str], seeds: Sequence[int]
) -> Experiment:
    """The experiment with other cells: all combinations of the given games, networks and seeds.

    An axis that is not given is the experiment's own. Raises UserError for an unknown network.
    """
    if not (games or networks or seeds):
        return experiment
    for network in networks:
        if network not in NETWORKS:
            raise UserError(f"There is no network {network!r}; choose from: {', '.join(NETWORKS)}.")
    own_seeds = tuple(dict.fromkeys(cell.seed for cell in experiment.cells))
    cells = product(games or experiment.games, networks or experiment.networks, seeds or own_seeds)
    return experiment.with_cells(cells)


def make_plan(
    grid: Grid, stages: Iterable[Stage], pack: int, queue: frozenset[str], queued: Collection[tuple[str, str]]
) -> Plan:
    """Plan the remaining work of the stages. queue, queued: see `status_of`."""
    stages = tuple(stages)
    cells = grid.experiment.cells
    plan = Plan(grid, stages, {(c, s): status_of(grid, c, s, queue, queued) for c in cells for s in stages})
    for cell in cells:
        if reason := obstacle(grid, cell):
            plan.left_out[cell] = reason
    for group in packs(tuple(cell for cell in cells if cell not in plan.left_out), pack):
        needed = tuple(s for s in stages if any(plan.status[c, s].state in OPEN for c in group))
        if needed:
            plan.packs.append(Pack(group, needed))
    return plan


def packs(cells: Sequence[Cell], size: int) -> list[tuple[Cell, ...]]:
    """Groups of at most `size` seeds of one game and network, in the order of the cells."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.game, cell.network), []).append(cell)
    parts = [tuple(g[i : i + size]) for g in groups.values() for i in range(0, len(g), size)]
    place = {cell: number for number, cell in enumerate(cells)}
    return sorted(parts, key=lambda part: place[part[0]])


def status_of(
    grid: Grid, cell: Cell, stage: Stage, queue: frozenset[str], queued: Collection[tuple[str, str]]
) -> Status:
    """The state of a cell's stage, from its run folder and the queue.

    queue: ids of Slurm's jobs that have not ended. queued: (cell id, stage) of those that wait or run.
    """
    if not applies(stage, cell):
        return Status("none")
    if is_done(grid, stage, cell):
        return Status("done")
    folder = grid.folder(cell)
    attempt = last_attempt(folder, stage)
    if attempt is not None and attempt.state == "running" and is_alive(attempt, queue):
        return Status("running")
    if stage == "train" and folder.is_locked():
        return Status("running")
    if (cell_id(cell), stage) in queued:
        return Status("queued")
    if attempt is None:
        started = stage == "train" and folder.config_file.exists()
        return Status("stopped" if started else "missing")
    if attempt.state == "running":
        where = f"job {attempt.job}" if attempt.job else f"process {attempt.pid}"
        return Status("failed", f"ended without a message ({where} on {attempt.host}, begun {attempt.time})")
    return Status("failed" if attempt.state == "failed" else "stopped", attempt.why)


def speeds(runs: Iterable[Run], accelerated: bool) -> dict[str, float]:
    """Agent steps per second by network: the median over existing runs on the same kind of device."""
    found: dict[str, list[float]] = {}
    for run in runs:
        backend = run.details.get("backend", "cpu")
        if (backend != "cpu") == accelerated and math.isfinite(run.steps_per_second):
            found.setdefault(run.config.network, []).append(run.steps_per_second)
    return {network: median(values) for network, values in found.items()}


def training_hours(plan: Plan, cell: Cell, steps_per_second: Mapping[str, float]) -> float | None:
    """Hours of training that a cell still needs; None if its network's speed is unknown."""
    if cell.network not in steps_per_second:
        return None
    end = plan.grid.config(cell).last_step
    done = checkpoint_steps(plan.grid.folder(cell).checkpoints)[-1:] or [0]
    return max(0, end - done[0]) / steps_per_second[cell.network] / 3600


def resources(experiment: Experiment, stage: Stage, **given: int | float | None) -> Resources:
    """Resources of a stage: the experiment's, overridden by the command line."""
    own = experiment.resources.get(stage, Resources())
    return replace(own, **{name: value for name, value in given.items() if value is not None})
