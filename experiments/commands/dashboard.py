"""W&B workspace and report of an experiment: baseline against attention, game by game.

    make dashboard EXPERIMENT=pilot

They are written as JSON that wandb-workspaces' own models have validated. With a key they are also saved to
W&B, and their links are printed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.analysis.runs import load_runs
from experiments.analysis.selection import Selection, select_named
from experiments.commands.command_line import run_command
from experiments.commands.figures import ROOTS
from fls_jax.errors import UserError
from fls_jax.runs.files import write_whole
from fls_jax.wandb.sending import check_online
from fls_jax.wandb.service import briefly, import_wandb


@dataclass(frozen=True)
class Settings:
    """Build the W&B workspace and report of an experiment; save them if there is a key."""

    experiment: Literal["pilot", "paper", "smoke", "own"] = "pilot"
    """experiment to show (experiments/data/grid.py); own: all runs with the most frequent settings"""
    roots: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR [DIR ...]")] = ROOTS
    """folders with run folders, for the tables of scores and differences"""
    wandb_project: str = "fls-jax"
    """project to which the runs were sent"""
    wandb_entity: str | None = None
    """user or team of the project; by default that of the key"""
    out: Path = Path("build/dashboard")
    """folder for the JSON files"""


def publish(selection: Selection, entity: str | None, project: str, remembered: Path) -> list[str]:
    """Save report and workspace, replacing those that `remembered` names; returns their links.

    Raises UserError if W&B refuses them.
    """
    wandb = import_wandb()
    from experiments.pages.wandb_views import build_report, build_workspace

    saved = _read_saved(remembered)
    try:
        owner = entity or str(wandb.Api().default_entity)
        known = saved.setdefault(f"{owner}/{project}", {})
        report, workspace = (
            build_report(selection, owner, project),
            build_workspace(selection, owner, project),
        )
        report.id = known.get("report", "")
        workspace._internal_name, workspace._internal_id = known.get("workspace", ("", ""))
        report.save()  # creates the project if it does not exist
        known["report"] = report.id
        _remember(
            remembered, saved
        )  # at once: if the workspace fails, the next call does not make a second report
        workspace.save()
        known["workspace"] = [workspace._internal_name, workspace._internal_id]
        _remember(remembered, saved)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"W&B has not taken the dashboard ({briefly(error)}): check --wandb-entity and --wandb-project; "
            f"if it was deleted there, remove {remembered}; then run the same command again."
        ) from error
    return [str(workspace.url), str(report.url)]


def _read_saved(path: Path) -> dict[str, dict[str, Any]]:
    """The dashboards saved before, by entity and project. Raises UserError if the file is damaged."""
    try:
        saved = json.loads(path.read_text())
        if not isinstance(saved, dict) or not all(isinstance(known, dict) for known in saved.values()):
            raise ValueError("it is not an object of objects")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): it names the dashboards saved before; remove it to save "
            "new ones."
        ) from error
    return saved


def _remember(path: Path, saved: dict[str, dict[str, Any]]) -> None:
    try:
        write_whole(path, json.dumps(saved, indent=1) + "\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): choose another place with --out."
        ) from error


def make_dashboard(settings: Settings) -> None:
    """Write the JSON files; save to W&B if there is a key, else print how to."""
    import_wandb()  # first, so that it is silent
    from experiments.pages.wandb_views import build_report, build_workspace, validated_json

    selection = select_named(load_runs(settings.roots), settings.experiment)
    for problem in selection.problems:
        print(f"Left out of the tables: {problem.path}: {problem.reason}")
    folder = settings.out / settings.experiment
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entity = settings.wandb_entity or "entity"
        for name, build in (("workspace", build_workspace), ("report", build_report)):
            file = folder / f"{name}.json"
            file.write_text(validated_json(build(selection, entity, settings.wandb_project)))
            print(file)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another with --out."
        ) from error
    try:
        check_online("then run the same command again to publish")
    except UserError as error:
        print(f"Not published. {error} `fls sync DIR` sends the runs that it shows.")
        return
    for link in publish(selection, settings.wandb_entity, settings.wandb_project, folder / "saved.json"):
        print(link)


def main() -> int:
    """The command line."""
    return run_command("dashboard", Settings, make_dashboard)


if __name__ == "__main__":
    sys.exit(main())
