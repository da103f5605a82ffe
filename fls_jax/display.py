"""The terminal of a training: one live line, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10.0


class TrainingDisplay:
    """Shows progress, ETA, return and steps/s after every update. A context manager.

    Without a terminal it prints a plain line for the first update, the last one, and at most one every
    10 seconds in between.
    """

    def __init__(self, title: str, total_steps: int) -> None:
        self._title, self._total = title, total_steps
        self._console = Console(file=sys.stdout, highlight=False)
        self._live = self._console.is_terminal
        self._printed = -PLAIN_SECONDS
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%  {task.fields[line]}"),
            console=self._console,
        )
        self._task = self._progress.add_task(title, total=total_steps, line="compiling ...")

    def __enter__(self) -> TrainingDisplay:
        if self._live:
            self._progress.start()
        else:
            print(f"{self._title}: compiling ...", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def message(self, text: str) -> None:
        """A line of its own above the progress."""
        self._console.print(text, soft_wrap=True, markup=False)

    def update(self, row: dict[str, Any]) -> None:
        """Show a row of the record."""
        line = describe(row, self._total)
        if self._live:
            self._progress.update(self._task, completed=row["env_step"], line=line)
            return
        now = time.monotonic()
        if now - self._printed >= PLAIN_SECONDS or row["env_step"] >= self._total:
            self._printed = now
            percent = 100 * row["env_step"] / self._total
            print(f"{self._title}: {percent:5.1f}%  {line}", flush=True)


def describe(row: dict[str, Any], total_steps: int) -> str:
    """One line of text for a row: steps, return, speed, time left."""
    mean = row["eprewmean"]
    score = "no game finished yet" if mean is None else f"return {mean:.2f} ({row['episodes']:,} games)"
    left = (total_steps - row["env_step"]) / max(row["sps_overall"], 1e-9)
    return (
        f"step {row['env_step']:,}/{total_steps:,}  {score}  {row['sps']:,.0f} steps/s  "
        f"{format_seconds(left)} left"
    )


def format_seconds(seconds: float) -> str:
    """H:MM:SS, with days in front where there are any."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hour}:{minute:02}:{second:02}"
