"""Prints tables of scores in the terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from fls_jax.atari_head.trial import AVERAGED
from fls_jax.gaze.scoring import HEADINGS, METRICS
from fls_jax.gaze.study import MAIN_METRICS, OF_A_NETWORK, Layout, by_setting, percent
from fls_jax.runs.contents import DIFFERENCE, gaze_rows
from fls_jax.statistics.paper import SALIENCY_CAVEAT
from fls_jax.types import DEAD

DEAD_ATTENTION = f"its attention has died (below {DEAD:g} everywhere): the scores of its map mean nothing"


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print a model's maps by metric: the mean and, below it, the share of frames that count."""
    console = console or Console(highlight=False)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{summary['game']} {summary['network']}, step {summary['env_step']:,}, "
        f"protocol {summary['protocol']}, {summary['space']}",
        caption=_caption(summary),
        caption_justify="left",
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("map", no_wrap=True)
    for metric in METRICS:
        table.add_column(HEADINGS[metric], justify="right")
    for name, values in summary["scores"].items():
        note = summary["notes"].get(name)
        cells = [_cell(values[metric]) for metric in METRICS]
        table.add_row(f"{name}\n[dim]{note or ''}[/]", *cells)
    console.print(table)
    for name, scores in gaze_rows(summary).items():
        if name.removeprefix(DIFFERENCE) in OF_A_NETWORK and name.startswith(DIFFERENCE):
            console.print(f"{name}: {_differences(scores)}", markup=False, soft_wrap=True)
    if summary.get("dead_attention"):
        console.print(f"{summary['network']}: {DEAD_ATTENTION}", markup=False, soft_wrap=True)
    for trial in summary["trials"].get("averaged", ()):
        console.print(f"Trial {trial}: {AVERAGED}", markup=False, soft_wrap=True)
    for trial, reason in summary["trials"]["failed"].items():
        console.print(f"Trial {trial} failed: {reason}", markup=False, soft_wrap=True)


def _cell(value: dict[str, Any]) -> str:
    mean = "" if value["mean"] is None else f"{value['mean']:z.3f}"
    return f"{mean}\n[dim]{percent(value['coverage'])}[/]"


def _differences(scores: dict[str, Any]) -> str:
    """One line with the main metrics' differences on the same frames and their intervals."""
    texts = []
    for metric in MAIN_METRICS:
        mean, interval = scores[metric]["mean"], scores[metric]["interval_frames"]
        if mean is not None:
            spread = "" if interval is None else " [{:+z.3f}, {:+z.3f}]".format(*interval)
            texts.append(f"{HEADINGS[metric]} {mean:+z.3f}{spread}")
    return ", ".join(texts)


def _caption(summary: dict[str, Any]) -> str:
    trials = summary["trials"]
    text = (
        f"{summary['observations']:,} observations of {len(trials['scored'])} of {len(trials['asked'])} "
        "trials. Below each mean: the share of frames that count."
    )
    if len(summary["maps"]) == 1:
        text += " Without controls (--no-controls) these numbers say nothing about the agent."
    return text


def print_study(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print the main metrics of a study, for the games and networks that have been run."""
    console = console or Console(highlight=False)
    for setting, part in by_setting(table):
        for metric in MAIN_METRICS:
            layout = Layout(part, metric, only_ours=True)
            drawn = Table(*layout.header, box=box.SIMPLE_HEAD, title=f"{HEADINGS[metric]}, {setting}")
            for row in layout.rows():
                drawn.add_row(*row)
            console.print(drawn)
    console.print(
        f"Mean ± sample standard deviation (seeds; share of frames that count). {SALIENCY_CAVEAT}",
        soft_wrap=True,
    )
