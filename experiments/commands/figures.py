"""Figures and tables of an experiment, made only from run folders.

    make figures EXPERIMENT=pilot ROOTS="runs experiments/results"
    make results

The same folders give the same bytes on the same machine with the same versions.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import tyro

from experiments.analysis.aggregate import final_scores, training_curves
from experiments.analysis.runs import load_runs
from experiments.analysis.selection import Selection, select_named
from experiments.commands.command_line import run_command
from experiments.commands.gaze_table import gaze_table
from experiments.data.grid import BASELINE, MAIN_NETWORKS
from experiments.pages.aggregates import aggregate_table, draw_efficiency, draw_lengths, draw_profiles
from experiments.pages.attention import attention_table
from experiments.pages.free_lunch import free_lunch_table
from experiments.pages.plots import draw_curves, draw_scores
from experiments.pages.presentation import Table, drawing_settings, on_a_line, save_figure, write_table
from experiments.pages.reading import reading
from experiments.pages.saliency import saliency_table
from experiments.pages.tables import parameter_table, runs_table, score_table
from experiments.pages.throughput import throughput_table
from experiments.pages.verdict import verdict_table
from fls_jax.errors import UserError
from fls_jax.gaze.scoring import METRICS

ROOT = Path(__file__).resolve().parents[2]
ROOTS = (Path("runs"), Path("experiments/results"))


@dataclass(frozen=True)
class Settings:
    """Draw the figures and tables of an experiment from its run folders."""

    experiment: Literal["pilot", "paper", "smoke", "own"] = "pilot"
    """which runs belong together (experiments/data/grid.py); own: all there is, with the settings of most"""
    roots: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR [DIR ...]")] = ROOTS
    """folders with run folders at any depth; missing ones count as empty"""
    out: Path = Path("build/figures")
    """folder for the files, in a folder with the experiment's name"""
    page: Annotated[
        Path | None,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: README.md beside the figures)"),
    ] = None
    """the page that shows all of them"""
    benchmarks: Path = ROOT / "benchmarks" / "results"
    """folder of recorded benchmarks, for the throughput table"""


def make_figures(settings: Settings) -> list[Path]:
    """Write every figure and table; returns the files. Raises UserError if they cannot be written."""
    selection = select_named(load_runs(settings.roots), settings.experiment)
    folder = settings.out / settings.experiment
    page = settings.page or folder / "README.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.parent.mkdir(parents=True, exist_ok=True)
        with drawing_settings():
            return _write_all(selection, folder, page, settings.benchmarks)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be written ({error.strerror}): choose another place with "
            "--out or --page."
        ) from error


def _write_all(selection: Selection, folder: Path, page: Path, benchmarks: Path) -> list[Path]:
    experiment = selection.experiment
    title = f"{experiment.title}: learning curves"
    written = save_figure(draw_curves(selection, MAIN_NETWORKS, title), folder / "curves")
    others = tuple(name for name in experiment.networks if name not in MAIN_NETWORKS)
    if others:
        shown = (BASELINE, "cnn_sparse_fls", *others)
        figure = draw_curves(selection, shown, f"{title}, other networks")
        written += save_figure(figure, folder / "curves_others")
    written += save_figure(draw_scores(selection), folder / "scores_plot")
    final = final_scores(selection)
    over_games = {
        "profiles": draw_profiles(selection, final),
        "efficiency": draw_efficiency(selection, training_curves(selection)),
        "lengths": draw_lengths(selection),
    }
    for name, figure in over_games.items():  # figures for which there are enough runs
        written += save_figure(figure, folder / name) if figure else []
    lunch = free_lunch_table(selection)
    tables = [
        verdict_table(selection),
        runs_table(selection),
        score_table(selection),
        lunch,
        aggregate_table(selection, final),
        parameter_table(),
        throughput_table(benchmarks),
    ]
    for table in tables:
        written += write_table(table, folder)
    plots = [path for path in written if path.suffix == ".svg" and path.stem not in {t.name for t in tables}]
    links = [(path.stem, Path(os.path.relpath(path, page.parent)).as_posix()) for path in plots]
    page.write_text(_page(selection, reading(selection, lunch.data), tables, links))
    return [*written, page]


def _page(
    selection: Selection, how_to_read: list[str], tables: list[Table], plots: list[tuple[str, str]]
) -> str:
    """The page: how to read it, plots, all tables, and what was left out."""
    lines = [f"# {selection.experiment.title}", "", *how_to_read]
    lines += [f"![{name}]({link})\n" for name, link in plots]
    lines += [table.markdown() for table in tables]
    lines += [attention_table(content).markdown() for content in _attention(selection)]
    lines += [saliency_table(*each).markdown() for each in _saliency(selection)]
    lines += _gaze(selection)
    if selection.problems:
        lines += ["## Left out", ""]
        lines += [on_a_line(f"- {_place(problem.path)}: {problem.reason}") for problem in selection.problems]
        lines.append("")
    return "\n".join(lines)


def _place(path: Path) -> Path:
    """A path inside the repository as a relative one, so that the page is the same in every clone."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _attention(selection: Selection) -> list[dict[str, Any]]:
    """The tables of replaced attention of the experiment's runs, of their last steps."""
    runs = [selection.runs[cell] for cell in selection.experiment.cells if cell in selection.runs]
    return [content for run in runs for content in run.attention if content["env_step"] == run.env_step]


def _saliency(selection: Selection) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The comparisons of saliency methods on the experiment's runs, of their last steps."""
    runs = [selection.runs[cell] for cell in selection.experiment.cells if cell in selection.runs]
    return [each for run in runs for each in run.saliency if each[0]["env_step"] == run.env_step]


def _gaze(selection: Selection) -> list[str]:
    """One table for every gaze pass over the experiment's runs."""
    lines = ["## Saliency against human gaze", ""]
    for cell in selection.experiment.cells:
        for summary in selection.runs[cell].gaze if cell in selection.runs else ():
            maps = summary["scores"].values()
            metrics = tuple(name for name in METRICS if all(name in scores for scores in maps))
            lines.append(f"#{gaze_table(summary, metrics).markdown()}")
    return lines if len(lines) > 2 else [*lines, "*No run has been scored: see docs/gaze.md.*", ""]


def _print_figures(settings: Settings) -> None:
    for path in make_figures(settings):
        print(path)


def main() -> int:
    """The command line."""
    return run_command("figures", Settings, _print_figures)


if __name__ == "__main__":
    sys.exit(main())
