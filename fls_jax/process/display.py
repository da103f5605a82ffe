"""Progress of a long job: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LIVE_SECONDS = 0.1
PLAIN_SECONDS = 10.0


_Display = TypeVar("_Display", bound="ProgressDisplay")


class ProgressDisplay:
    """Shows the progress of a job of `total` pieces. A context manager.

    Without a terminal it prints a plain line for the first and the last piece shown, and at most one
    every 10 seconds in between.
    """

    def __init__(self, title: str, total: int, beginning: str = "compiling ...") -> None:
        self._title, self._total, self._beginning = title, total, beginning
        self._console = Console(file=sys.stdout, highlight=False)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._began = time.monotonic()
        self._shown: float | None = None
        # The bar fills the rest of the line. It is drawn at updates only, not by a separate thread.
        self._progress = Progress(
            BarColumn(bar_width=None, complete_style="green"),
            TextColumn("{task.fields[line]}", markup=False),
            console=self._console,
            auto_refresh=False,
            expand=True,
        )
        self._task = self._progress.add_task("", total=total, line=beginning)

    def __enter__(self: _Display) -> _Display:
        self._began = time.monotonic()
        if self._live:
            self._console.print(self._title, style="bold", markup=False)
            self._progress.start()
        else:
            print(f"{self._title}: {self._beginning}", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def message(self, text: str) -> None:
        """Print a line above the progress."""
        self._console.print(text, soft_wrap=True, markup=False)

    def count(self, done: int, unit: str) -> None:
        """Show `done` pieces, called e.g. `frames`: share, average speed since the start, time left."""
        if self._due(done):
            speed = done / max(time.monotonic() - self._began, 1e-9)
            left = format_seconds((self._total - done) / max(speed, 1e-9))
            share = 100 * done / self._total
            line = f"{share:3.0f}%  {done:,}/{self._total:,} {unit}  {speed:,.0f} {unit}/s  {left} left"
            self._show(done, line)

    def _due(self, done: int) -> bool:
        """Whether it is time to print a line."""
        now = time.monotonic()
        pause = LIVE_SECONDS if self._live else PLAIN_SECONDS
        if self._shown is not None and now - self._shown < pause and done < self._total:
            return False
        self._shown = now
        return True

    def _show(self, done: int, line: str) -> None:
        if self._live:
            self._progress.update(self._task, completed=done, line=line, refresh=True)
        else:
            print(line, flush=True)


class TrainingDisplay(ProgressDisplay):
    """Shows progress, return, steps/s and remaining time after every update."""

    def update(self, row: dict[str, Any]) -> None:
        """Show a row of the record."""
        if self._due(row["env_step"]):
            self._show(row["env_step"], describe(row, self._total))


def describe(row: dict[str, Any], total_steps: int) -> str:
    """One line of text for a row, under 80 characters: progress, return, speed, time left."""
    mean, step = row["eprewmean"], row["env_step"]
    score = "no game finished yet" if mean is None else f"return {mean:,.2f}"
    left = (total_steps - step) / max(row["sps_overall"], 1e-9)
    return (
        f"{100 * step / total_steps:3.0f}%  {format_steps(step)}/{format_steps(total_steps)} steps  {score}  "
        f"{row['sps']:,.0f} steps/s  {format_seconds(left)} left"
    )


def format_steps(steps: int) -> str:
    """Numbers up to 99,999 in full, larger ones in millions."""
    return f"{steps:,}" if steps < 100_000 else f"{steps / 1e6:.2f}M"


def format_seconds(seconds: float) -> str:
    """H:MM:SS; days and hours from one day on."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}:{minute:02}:{second:02}"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour} h"
