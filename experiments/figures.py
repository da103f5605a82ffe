"""Figures and tables of an experiment, from run folders alone.

    make figures EXPERIMENT=pilot ROOTS="runs experiments/results" OUT=build/figures

The same folders give the same bytes on the same machine with the same versions.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.free_lunch import free_lunch_table
from experiments.grid import ABLATIONS, BASELINE, EXPERIMENTS, MAIN_NETWORKS
from experiments.plots import draw_curves, draw_scores
from experiments.presentation import Table, draw_table, drawing_settings, save_figure
from experiments.runs import load_runs
from experiments.selection import Selection, select
from experiments.tables import parameter_table, runs_table, score_table
from experiments.throughput import throughput_table
from fls_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ROOTS = (Path("runs"), Path("experiments/results"))


@dataclass(frozen=True)
class Settings:
    """Draw the figures and tables of an experiment from its run folders."""

    experiment: Literal["pilot", "paper"] = "pilot"
    """which runs belong together (experiments/grid.py)"""
    roots: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR [DIR ...]")] = ROOTS
    """folders with run folders at any depth; one that is missing holds none"""
    out: Path = Path("build/figures")
    """where the files go, into a folder with the experiment's name"""
    benchmarks: Path = ROOT / "benchmarks" / "results"
    """folder of recorded benchmarks, for the throughput table"""


def make_figures(settings: Settings) -> list[Path]:
    """Write every figure and table; returns the files. UserError where they cannot be written."""
    selection = select(load_runs(settings.roots), EXPERIMENTS[settings.experiment])
    folder = settings.out / settings.experiment
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drawing_settings():
            return _write_all(selection, folder, settings.benchmarks)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another with --out."
        ) from error


def _write_all(selection: Selection, folder: Path, benchmarks: Path) -> list[Path]:
    experiment = selection.experiment
    title = f"{experiment.title}: learning curves"
    written = save_figure(draw_curves(selection, MAIN_NETWORKS, title), folder / "curves")
    if set(ABLATIONS) & set(experiment.networks):
        ablations = (BASELINE, "cnn_sparse_fls", *ABLATIONS)
        figure = draw_curves(selection, ablations, f"{title}, ablations")
        written += save_figure(figure, folder / "curves_ablations")
    written += save_figure(draw_scores(selection), folder / "scores_plot")
    tables = [
        runs_table(selection),
        score_table(selection),
        free_lunch_table(selection),
        parameter_table(),
        throughput_table(benchmarks),
    ]
    for table in tables:
        written += _write_table(table, folder)
    page = folder / "README.md"
    page.write_text(_page(selection, tables, [path.name for path in written if path.suffix == ".svg"]))
    return [*written, page]


def _write_table(table: Table, folder: Path) -> list[Path]:
    csv = folder / f"{table.name}.csv"
    table.data.to_csv(csv, index=False, lineterminator="\n")
    return [*save_figure(draw_table(table), folder / table.name), csv]


def _page(selection: Selection, tables: list[Table], pictures: list[str]) -> str:
    """All tables on one page, the plots above them, what was left out below."""
    names = {f"{table.name}.svg" for table in tables}
    lines = [f"# {selection.experiment.title}", ""]
    lines += [f"![{name.removesuffix('.svg')}]({name})\n" for name in pictures if name not in names]
    lines += [table.markdown() for table in tables]
    if selection.problems:
        lines += ["## Left out", ""]
        lines += [f"- `{problem.path}`: {problem.reason}" for problem in selection.problems]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """The command line: 0, or 2 for what the user can put right."""
    settings = tyro.cli(Settings, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        written = make_figures(settings)
    except UserError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
