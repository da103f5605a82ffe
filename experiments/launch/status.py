"""Tables of a grid's plan, and of what is done, running, failed or missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from experiments.data.grid import Cell, Resources
from experiments.launch.attempts import log_file
from experiments.launch.planning import OPEN, Pack, Plan, Status, training_hours
from experiments.launch.stages import Stage, cell_id
from fls_jax.runs.contents import checkpoint_steps

_ORDER = ("done", "running", "queued", "stopped", "failed", "missing")


def print_status(plan: Plan, console: Console) -> None:
    """Print counts by stage; then every cell that is running, stopped or failed, with the reason."""
    table = Table(
        title=f"{plan.grid.experiment.title}: {len(plan.grid.experiment.cells)} cells in {plan.grid.root}"
    )
    for name in ("stage", *_ORDER):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in plan.stages:
        counts = Counter(status.state for (_, s), status in plan.status.items() if s == stage)
        table.add_row(stage, *(str(counts[state]) if counts[state] else "" for state in _ORDER))
    console.print(table)
    for (cell, stage), status in plan.status.items():
        if status.state in ("running", "queued", "stopped", "failed"):
            console.print(
                f"{status.state:8} {stage} {cell_id(cell)}{_detail(plan, cell, stage, status)}",
                soft_wrap=True,
            )
    for cell, reason in plan.left_out.items():
        console.print(f"left out {cell_id(cell)}: {reason}", soft_wrap=True)


def print_plan(
    plan: Plan, need: Mapping[Stage, Resources], speeds: Mapping[str, float], console: Console
) -> None:
    """Print what a launch would start: jobs, their resources, and hours where speeds are known."""
    table = Table(title=f"{plan.grid.experiment.title}: what is left to do in {plan.grid.root}")
    for name in ("stage", "jobs", "runs", "cores a job", "GPUs a job", "limit, h", "measured speeds give, h"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in plan.stages:
        packs = [each for each in plan.packs if stage in each.stages]
        runs = sum(len(plan.open_cells(each, stage)) for each in packs)
        most = max((len(each.cells) for each in packs), default=1)
        take = need[stage]
        hours = _training_hours(plan, packs, speeds) if stage == "train" else ""
        numbers = (len(packs), runs, take.cores * most, take.gpus, f"{take.hours:g}", hours)
        table.add_row(stage, *map(str, numbers))
    console.print(table)
    for each in plan.packs:
        first, seeds = each.cells[0], ", ".join(str(cell.seed) for cell in each.cells)
        hours = _training_hours(plan, [each], speeds) if "train" in each.stages else ""
        hours = f"; training, h: {hours}" if hours else ""
        plural = "s" * (len(each.cells) > 1)
        console.print(
            f"{first.game} {first.network} seed{plural} {seeds}: {', '.join(each.stages)}{hours}",
            soft_wrap=True,
            highlight=False,
        )
    for cell, reason in plan.left_out.items():
        console.print(f"left out {cell_id(cell)}: {reason}", soft_wrap=True, highlight=False)
    if speeds:
        known = ", ".join(f"{name} {speed:,.0f}" for name, speed in sorted(speeds.items()))
        console.print(
            f"Speeds, medians of the runs at hand in steps a second: {known}. Packed runs are slower each.",
            soft_wrap=True,
            highlight=False,
        )
    else:
        console.print("No run on such a device is at hand to take a speed from, so no hours are given.")


def _training_hours(plan: Plan, packs: Iterable[Pack], speeds: Mapping[str, float]) -> str:
    """The sum of the known hours, and the number of runs without a measured speed."""
    each = [training_hours(plan, cell, speeds) for pack in packs for cell in plan.open_cells(pack, "train")]
    known = [hours for hours in each if hours is not None]
    if not known:
        return "not measured" if each else ""
    lacking = len(each) - len(known)
    return f"{sum(known):,.1f}" + (f" ({lacking} runs not measured)" if lacking else "")


def _detail(plan: Plan, cell: Cell, stage: Stage, status: Status) -> str:
    if status.state == "failed":
        return f": {status.why} (log: {log_file(plan.grid.folder(cell), stage)})"
    if stage == "train" and status.state in ("running", "stopped"):
        done = checkpoint_steps(plan.grid.folder(cell).checkpoints)[-1:] or [0]
        return f": checkpoint at {done[0]:,} of {plan.grid.config(cell).last_step:,} steps"
    return ""


def is_complete(plan: Plan) -> bool:
    """Whether nothing is left to do."""
    return not plan.left_out and all(status.state not in OPEN for status in plan.status.values())
