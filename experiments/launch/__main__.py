"""A whole experiment as jobs, on this machine or through Slurm.

    make grid EXPERIMENT=smoke
    python -m experiments.launch paper --games Breakout --stage train,evaluate --where slurm --dry-run

The same command starts only what is missing, stopped or failed.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from experiments.analysis.runs import load_runs
from experiments.commands.command_line import run_command
from experiments.data.grid import EXPERIMENTS, Resources
from experiments.launch.local import LocalGrid, check_room
from experiments.launch.planning import Plan, chosen, make_plan, resources, speeds
from experiments.launch.slurm import SlurmOptions, Submissions, live_jobs, sbatch_options, submit
from experiments.launch.stages import STAGES, Grid, Stage
from experiments.launch.status import is_complete, print_plan, print_status
from experiments.launch.sweep import write_sweep
from fls_jax.atari.pool import resolve_game
from fls_jax.errors import UserError

_DIR = tyro.conf.arg(metavar="DIR [DIR ...]")


@dataclass(frozen=True)
class Settings:
    """Run a whole experiment: start what is missing, stopped or failed, but nothing that is done."""

    experiment: Annotated[Literal["smoke", "pilot", "paper"], tyro.conf.Positional]
    """which grid (experiments/data/grid.py)"""
    games: tuple[str, ...] = ()
    """games instead of the experiment's; the cells are then all combinations"""
    networks: tuple[str, ...] = ()
    """networks instead of the experiment's"""
    seeds: tuple[int, ...] = ()
    """seeds instead of the experiment's"""
    stage: Annotated[str, tyro.conf.arg(metavar="STAGE[,STAGE ...]")] = "train,evaluate,saliency,figures"
    """train, evaluate, gaze, saliency, figures; a run's other stages begin when its training has ended"""
    where: Literal["local", "slurm"] = "local"
    """local: run everything on this machine; slurm: submit to Slurm"""
    root: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/<experiment>)")
    ] = None
    """folder of the run folders <Game>/<network>/seed<k>"""
    dry_run: bool = False
    """print the plan without starting anything"""
    status: bool = False
    """print what is done, running, failed (and why) and missing; start nothing"""
    sweep: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(optional)")] = None
    """write the trainings as a W&B sweep; start nothing"""
    pack: int | None = None
    """number of seeds of a game and network that share a job and its GPU; default: the experiment's"""
    cores: int | None = None
    """CPU cores of each run"""
    gpus: int | None = None
    """GPUs of each job"""
    hours: float | None = None
    """time limit of each Slurm job; a job that reaches it is requeued and resumes"""
    memory_gb: int | None = None
    """memory of each run, for Slurm"""
    partition: str | None = None
    """Slurm's partition"""
    account: str | None = None
    """Slurm's account"""
    qos: str | None = None
    """Slurm's quality of service"""
    parallel: int = 256
    """number of an array's jobs that Slurm may run at a time"""
    sbatch: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """other options of sbatch"""
    python: str | None = None
    """command that starts Python in a Slurm job, for example of a container"""
    atari_head: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(for the stage gaze)")
    ] = None
    """folder of Atari-HEAD"""
    wandb: Literal["auto", "offline", "off"] = "auto"
    """Weights & Biases, as in fls train"""
    speeds: Annotated[tuple[Path, ...], _DIR] = (Path("runs"), Path("experiments/results"))
    """folders with run folders, whose speeds are used to estimate hours"""


def launch(settings: Settings) -> None:
    """Plan; then print, write or run. Raises UserError for errors that the user can correct."""
    _check(settings)
    stages, figures = _stages(settings.stage)
    games = tuple(resolve_game(game) for game in settings.games)
    experiment = chosen(EXPERIMENTS[settings.experiment], games, settings.networks, settings.seeds)
    if settings.sweep:
        write_sweep(experiment, settings.sweep)
        print(f"Written to {settings.sweep}: `wandb sweep {settings.sweep}` tells how agents are started.")
        return
    takes = {"cores": settings.cores, "gpus": settings.gpus, "hours": settings.hours}
    need = {s: resources(experiment, s, **takes, memory_gb=settings.memory_gb) for s in STAGES}
    root = settings.root or Path("runs") / settings.experiment
    grid = Grid(experiment, root, settings.atari_head, settings.wandb, need["train"].cores)
    submissions = Submissions(root)
    queue = live_jobs() if settings.where == "slurm" or submissions.path.exists() else frozenset()
    plan = make_plan(grid, stages, settings.pack or experiment.pack, queue, submissions.queued(queue))
    console = Console()
    if settings.status:
        print_status(plan, console)
        return
    found = load_runs([*settings.speeds, root]).runs
    print_plan(plan, need, speeds(found, need["train"].gpus > 0), console)
    if settings.dry_run:
        return
    shown = "own" if games or settings.networks or settings.seeds else settings.experiment
    drawing = [sys.executable, "-m", "experiments.commands.figures", "--experiment", shown]
    drawing += ["--roots", str(root), "--out", str(root / "figures")]
    run = _queue if settings.where == "slurm" else _run_here
    run(plan, need, drawing if figures else [], settings, console)


def _run_here(
    plan: Plan, need: dict[Stage, Resources], drawing: list[str], settings: Settings, console: Console
) -> None:
    """Run everything on this machine. Raises UserError at the end if something failed."""
    check_room(plan, need)
    stopped = LocalGrid(plan, need).run()
    after = make_plan(plan.grid, plan.stages, 1, frozenset(), ())
    print_status(after, console)
    if drawing and not stopped and subprocess.run(drawing, check=False).returncode:
        raise UserError("The figures could not be drawn, see above; the runs are as the table says.")
    if not is_complete(after):
        raise UserError("Not all of the grid is done, see above: the same command takes up what is left.")


def _queue(
    plan: Plan, need: dict[Stage, Resources], drawing: list[str], settings: Settings, console: Console
) -> None:
    """Submit everything to Slurm and print what was submitted."""
    options = SlurmOptions(
        settings.partition, settings.account, settings.qos, settings.parallel,
        sbatch_options(settings.sbatch), settings.python,
    )  # fmt: skip
    arrays = submit(plan, need, options, drawing)
    for array in arrays:
        after = f", after {', '.join(array.after)}" if array.after else ""
        console.print(f"submitted {array.job}: {array.stage}, {array.count} jobs{after}", highlight=False)
    if not arrays:
        console.print("Nothing is left to submit.")


def _stages(text: str) -> tuple[tuple[Stage, ...], bool]:
    """The named stages, in their order, and whether figures are wanted."""
    names = [name.strip() for name in text.split(",")]
    known = (*STAGES, "figures")
    for name in names:
        if name not in known:
            raise UserError(f"There is no stage {name!r}; choose from: {', '.join(known)}.")
    return tuple(stage for stage in STAGES if stage in names), "figures" in names


def _check(settings: Settings) -> None:
    """Raise UserError for an impossible number, or a stage without its data."""
    for name, low in (("pack", 1), ("cores", 1), ("gpus", 0), ("memory_gb", 0), ("parallel", 1)):
        value = getattr(settings, name)
        if value is not None and value < low:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least {low}.")
    if settings.hours is not None and settings.hours <= 0:
        raise UserError(f"--hours is {settings.hours:g}; it must be more than 0.")
    if "gaze" in settings.stage and settings.atari_head is None:
        raise UserError("The stage gaze needs the data set: name its folder with --atari-head DIR.")


def main() -> int:
    """The command line."""
    return run_command("launch", Settings, launch)


if __name__ == "__main__":
    sys.exit(main())
