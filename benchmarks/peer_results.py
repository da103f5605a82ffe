"""Computes speeds, ratios and tables from the trainers' reports. Pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.markup import escape
from rich.table import Table

from fls_jax.process.allocator import Allocator

OURS = "ours"


@dataclass(frozen=True)
class Report:
    """The JSON line that a trainer prints at the end of its benchmark."""

    network: str
    seconds_per_update: tuple[float, ...]
    """Wall-clock seconds of every timed update, rollout included."""
    steps_per_update: int
    versions: Mapping[str, str]
    allocator: str = "default"
    """Memory settings that it ran with: tuned (fls_jax/process/allocator.py) or default (glibc's own)."""

    @property
    def steps_per_second(self) -> float:
        """Agent steps per second over all the timed updates."""
        return self.steps_per_update * len(self.seconds_per_update) / sum(self.seconds_per_update)


@dataclass
class Track:
    """The reports of one trainer in all rounds."""

    name: str
    network: str
    yardstick: bool = False
    """Whether the targets are ratios to it."""
    note: str = ""
    allocator: Allocator = "default"
    reports: list[Report | None] = field(default_factory=list)
    """One per round; None if it was not measured."""
    failure: str | None = None

    @property
    def steps_per_second(self) -> list[float | None]:
        """Of every round; None if it was not measured."""
        return [None if report is None else report.steps_per_second for report in self.reports]


@dataclass(frozen=True)
class Ratio:
    """The ratio of our speed to another, round by round."""

    per_round: tuple[float | None, ...]

    @property
    def median(self) -> float | None:
        """Median over the rounds in which both were measured; None if there was none."""
        known = [value for value in self.per_round if value is not None]
        return median(known) if known else None


def parse_report(
    output: str, *, network: str, updates: int, steps_per_update: int, allocator: str = "default"
) -> Report:
    """Read the JSON line at the end of a trainer's output, and check that it did the requested work.

    Args:
        output: everything the trainer wrote to its standard output.
        network: the requested network.
        updates: the requested number of timed updates.
        steps_per_update: the requested agent steps in each update.
        allocator: the memory settings it was to run with.

    Raises:
        ValueError: there is no such line, a value in it is missing or of a wrong type, or the trainer did
            other work.
    """
    lines = output.strip().splitlines()
    try:
        values = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            f"its output does not end with a JSON line, but with {lines[-1] if lines else '':.80}"
        )
    try:
        report = Report(
            network=str(values["network"]),
            seconds_per_update=tuple(float(seconds) for seconds in values["seconds_per_update"]),
            steps_per_update=int(values["steps_per_update"]),
            versions={str(name): str(number) for name, number in dict(values["versions"]).items()},
            allocator=str(values["allocator"]),
        )
    except KeyError as error:
        raise ValueError(f"its JSON line lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"its JSON line has a value of the wrong kind ({error})") from error
    if not all(math.isfinite(seconds) and seconds > 0 for seconds in report.seconds_per_update):
        raise ValueError(f"its seconds are not all positive numbers: {report.seconds_per_update}")
    done = (report.network, len(report.seconds_per_update), report.steps_per_update, report.allocator)
    asked = (network, updates, steps_per_update, allocator)
    if done != asked:
        raise ValueError(
            "it did other work than asked for (network, updates, steps per update, allocator): "
            f"{done} instead of {asked}"
        )
    return report


def ratio(ours: Track, others: Sequence[Track]) -> Ratio:
    """Ours over the fastest of the others, round by round; None if any of them was not measured."""
    rounds = zip(ours.steps_per_second, *(other.steps_per_second for other in others), strict=True)
    per_round: list[float | None] = []
    for mine, *theirs in rounds:
        known = [value for value in theirs if value is not None]
        complete = mine is not None and known and len(known) == len(theirs)
        per_round.append(mine / max(known) if complete else None)
    return Ratio(tuple(per_round))


def summarise(tracks: Sequence[Track], target: float) -> dict[str, Any]:
    """The record of all the rounds as plain JSON values.

    Args:
        tracks: every trainer's; those named "ours" are compared with the others of their network that ran
            with the same memory settings.
        target: the least ratio of ours to the fastest yardstick of the network.

    Returns:
        `trainers`: steps per second by round, their median, ours over it, seconds, versions, failure of each;
        `targets`: by network and allocator the ratio to the fastest yardstick, by round, and its median;
        `networks`: how many times as long ours takes on each as on the first (median of the rounds), with the
        first allocator.
    """
    ours = {(track.network, track.allocator): track for track in tracks if track.name == OURS}
    targets: dict[str, dict[str, Any]] = {}
    for (network, allocator), track in ours.items():
        same = (other for other in tracks if (other.network, other.allocator) == (network, allocator))
        yardsticks = [other for other in same if other.yardstick]
        if not yardsticks:
            continue
        against = ratio(track, yardsticks)
        targets.setdefault(network, {})[allocator] = {
            "yardsticks": [other.name for other in yardsticks],
            "per_round": list(against.per_round),
            "median": against.median,
            "target": target,
            "reached": against.median is not None and against.median >= target,
        }
    first = next(iter(ours.values()), None)
    return {
        "trainers": [_trainer(track, ours.get((track.network, track.allocator))) for track in tracks],
        "targets": targets,
        "networks": {
            network: {"cost": None if first is None else ratio(first, [track]).median}
            for (network, allocator), track in ours.items()
            if first is not None and allocator == first.allocator
        },
    }


def _trainer(track: Track, ours: Track | None) -> dict[str, Any]:
    known = [speed for speed in track.steps_per_second if speed is not None]
    versions = next((report.versions for report in track.reports if report is not None), {})
    return {
        "name": track.name,
        "network": track.network,
        "yardstick": track.yardstick,
        "note": track.note,
        "allocator": track.allocator,
        "steps_per_second": track.steps_per_second,
        "median_steps_per_second": median(known) if known else None,
        "ours_over_it": None if ours is None else ratio(ours, [track]).median,
        "seconds_per_update": [
            None if report is None else list(report.seconds_per_update) for report in track.reports
        ],
        "versions": dict(versions),
        "failure": track.failure,
    }


_HEADINGS = ("network", "trainer", "allocator", "steps/s", "lowest to highest", "ours / it", "note")


def _cells(trainer: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of a table, from one of `summarise`'s trainers."""
    known = [speed for speed in trainer["steps_per_second"] if speed is not None]
    versus = trainer["ours_over_it"]
    is_ours = trainer["name"] == OURS
    return (
        trainer["network"],
        trainer["name"],
        trainer["allocator"],
        f"{trainer['median_steps_per_second']:.0f}" if known else "-",
        f"{min(known):.0f} to {max(known):.0f}" if known else "-",
        "-" if versus is None or is_ours else f"{versus:.2f}",
        f"failed: {trainer['failure']}" if trainer["failure"] else trainer["note"],
    )


def table(summary: Mapping[str, Any]) -> Table:
    """`summarise`'s record for the terminal."""
    result = Table(*_HEADINGS, title="Training, end to end (median of the rounds)")
    for column in result.columns[:-1]:
        column.no_wrap = True
    for trainer in summary["trainers"]:
        result.add_row(*map(escape, _cells(trainer)), style="bold" if trainer["name"] == OURS else None)
    return result


def markdown(summary: Mapping[str, Any]) -> str:
    """`summarise`'s record as a Markdown table."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, summary["trainers"])]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """One sentence for each target, and one for what each network costs against our first."""
    sentences = []
    for network, goals in summary["targets"].items():
        sentences += [_verdict(f"{network}, {allocator}", goal) for allocator, goal in goals.items()]
    first, *others = summary["networks"] or [None]
    for network in others:
        cost = summary["networks"][network]["cost"]
        if cost is not None:
            sentences.append(f"ours: {network} takes {cost:.2f} times as long as {first}.")
    return sentences


def _verdict(what: str, goal: Mapping[str, Any]) -> str:
    rivals = " and ".join(goal["yardsticks"])
    best = f"the faster of {rivals}" if len(goal["yardsticks"]) > 1 else rivals
    if goal["median"] is None:
        return f"{what}: no round has both ours and {rivals}, so there is no ratio."
    verdict = "reached" if goal["reached"] else "missed"
    return f"{what}: {goal['median']:.2f} times {best} (target {goal['target']:g}: {verdict})."
