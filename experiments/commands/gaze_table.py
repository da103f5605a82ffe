"""The gaze results of runs as Markdown: every map by metric, with coverage and intervals.

    python -m experiments.commands.gaze_table runs/MsPacman/cnn_sparse_fls/seed1
    python -m experiments.commands.gaze_table RUN --settings aligned-screen paper-screen --metrics nss

Reads only RUN/gaze/<protocol>-<space>/summary.json, so that the tables in the documentation can be
reproduced.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from experiments.commands.command_line import run_command
from experiments.pages.presentation import Empty, Table
from fls_jax.atari_head.trial import AVERAGED
from fls_jax.errors import UserError
from fls_jax.gaze.scoring import HEADINGS, METRICS
from fls_jax.gaze.study import percent
from fls_jax.gaze.tables import DEAD_ATTENTION
from fls_jax.runs.contents import DIFFERENCE, gaze_rows, read_gaze_summary


@dataclass(frozen=True)
class Settings:
    """Print the gaze results of runs as Markdown."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """run folders that `fls gaze` has scored"""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (
        "aligned-screen",
        "paper-screen",
    )
    """results to print: names of folders in RUN/gaze"""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = METRICS
    """columns to print"""


def read_summary(run: Path, setting: str) -> dict[str, Any]:
    """The summary.json of a run's gaze pass. Raises UserError if it is missing or cannot be read."""
    path = run / "gaze" / setting / "summary.json"
    if not path.exists():
        protocol, _, space = setting.partition("-")
        options = f"--protocol {protocol} --space {space}"
        raise UserError(f"{path} is not there: run `fls gaze {run} --atari-head DIR {options}`.")
    return read_gaze_summary(path)


def gaze_table(summary: dict[str, Any], metrics: tuple[str, ...] = METRICS) -> Table:
    """Every map of a pass by metric: mean, 95% interval over blocks of frames, share of frames that count.

    The last rows are the model's map minus each control, frame by frame. Raises UserError for an unknown
    metric.
    """
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"There is no metric {name!r}; there are: {', '.join(METRICS)}.")
    rows, data = [], []
    for name, scores in gaze_rows(summary).items():
        note, form = summary["notes"].get(name), "{:+z.3f}" if name.startswith(DIFFERENCE) else "{:z.3f}"
        rows.append([name, *(_cell(scores[metric], note, form) for metric in metrics)])
        data += [{"map": name, "metric": metric, **scores[metric]} for metric in metrics]
    trials = summary["trials"]["scored"]
    block = summary["intervals"]["observations_in_a_block"]
    title = (
        f"{summary['game']}, {summary['network']}, seed {summary['training_seed']}, step "
        f"{summary['env_step']:,}: protocol {summary['protocol']}, {summary['space']}"
    )
    notes = [
        f"{summary['observations']:,} observations of {len(trials)} "
        f"{'trial' if len(trials) == 1 else 'trials'}. Mean [95% interval over blocks of {block} "
        "observations] (share of frames that count)."
    ]
    if any(row[0].startswith(DIFFERENCE) for row in rows):
        notes.append("Differences: the model's score less the control's on the same frames.")
    if summary.get("dead_attention"):
        notes.append(f"The model: {DEAD_ATTENTION}.")
    if averaged := summary["trials"].get("averaged"):
        notes.append(f"Trial {', '.join(map(str, averaged))}: {AVERAGED}.")
    if not summary["complete"]:
        notes.append("The pass was interrupted: not all its trials are scored.")
    return Table(
        "gaze", title, ["map", *(HEADINGS[name] for name in metrics)], rows, pd.DataFrame(data), notes
    )


def _cell(score: dict[str, Any], note: str | None, form: str) -> str:
    share = f"({percent(score['coverage'])})"
    if score["mean"] is None:
        return Empty(f"{note or 'undefined'} {share}")
    interval = score["interval_frames"]
    spread = "" if interval is None else f" [{form.format(interval[0])}, {form.format(interval[1])}]"
    return f"{form.format(score['mean'])}{spread} {share}"


def _print_tables(settings: Settings) -> None:
    for run in settings.runs:
        for name in settings.settings:
            print(f"#{gaze_table(read_summary(run, name), settings.metrics).markdown()}")


def main() -> int:
    """The command line."""
    return run_command("gaze_table", Settings, _print_tables)


if __name__ == "__main__":
    sys.exit(main())
