"""Our trainer against its peers, in alternation in one run, end to end.

Every round runs every trainer once, in a separate process, for the same number of updates. The order rotates
from round to round, so that slow minutes of the machine do not always affect the same trainer. All trainers
run under the same memory settings: one row with those of `fls train` (tuned), one with glibc's own (default).
The peers have their own virtual environment, which is created at the first run.

    .venv/bin/python -m benchmarks.bench_peers --rounds 3 --updates 4
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.contenders import ROOT, Contender, Settings, check, contenders, run
from benchmarks.machine import describe_machine
from benchmarks.peer_results import Report, conclusions, markdown, summarise, table
from benchmarks.peers.install import ensure_environment
from fls_jax.errors import UserError
from fls_jax.process.output import outlast_readers
from fls_jax.runs.provenance import commit

TARGET = 1.5


def measure(
    entries: Sequence[Contender],
    rounds: int,
    run_one: Callable[[Contender], Report],
    after_each: Callable[[int, Contender], Any],
) -> None:
    """Run every contender once per round and fill their tracks. One that fails is left out of later rounds.

    Args:
        entries: what is run; their tracks are filled.
        rounds: how often.
        run_one: runs a contender, raising ValueError with a reason where it fails.
        after_each: called with the round (from 0) and the contender after every run, failed or skipped too.
    """
    for entry in entries:
        entry.track.reports[:] = [None] * rounds
    for number in range(rounds):
        turn = number % len(entries)
        for entry in (*entries[turn:], *entries[:turn]):
            if entry.track.failure is None:
                try:
                    entry.track.reports[number] = run_one(entry)
                except ValueError as error:
                    entry.track.failure = str(error)
            after_each(number, entry)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write JSON, making the folder where needed.

    Raises:
        UserError: that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --output.") from error


def _partial(settings: Settings) -> Path:
    """The file of the growing record, which replaces an older record only when it is complete."""
    return settings.output.with_suffix(".partial.json")


def bench(settings: Settings, console: Console) -> bool:
    """Measure, print and record; whether every trainer could be measured."""
    check(settings)
    entries = contenders(settings)
    tracks = [entry.track for entry in entries]
    ensure_environment(settings.peers_venv, ROOT / "benchmarks" / "peers" / "requirements.txt")
    machine = describe_machine()
    if machine["load_average"] > 0.5:
        console.print(f"The machine is busy (load {machine['load_average']}): expect low, unsteady numbers.")
    header = {
        "benchmark": "training end to end against peers",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine,
        "settings": {
            name: getattr(settings, name)
            for name in ("game", "num_envs", "updates", "warmup_updates", "rounds", "networks", "allocators")
        },
        "commands": [entry.command for entry in entries],
    }
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(entries) * settings.rounds)

        def title(entry: Contender) -> str:
            return f"{entry.track.name}, {entry.track.network}, {entry.track.allocator}"

        def run_one(entry: Contender) -> Report:
            progress.update(task, description=title(entry))
            return run(entry.command, settings, entry.track.network, entry.track.allocator)

        def after_each(number: int, entry: Contender) -> None:
            progress.advance(task)
            report = entry.track.reports[number]
            result = f"{report.steps_per_second:.0f} steps/s" if report else f"failed: {entry.track.failure}"
            console.print(f"round {number + 1}/{settings.rounds}  {title(entry):48} {result}", markup=False)
            write_record(_partial(settings), header | summarise(tracks, TARGET))

        write_record(_partial(settings), header)
        measure(entries, settings.rounds, run_one, after_each)
    summary = summarise(tracks, TARGET)
    console.print(table(summary))
    for sentence in conclusions(summary):
        console.print(sentence, markup=False)
    if settings.markdown:
        print(markdown(summary))
    measured = any(report for track in tracks for report in track.reports)
    record = _partial(settings).replace(settings.output) if measured else _partial(settings)
    console.print(f"Recorded in {record}", markup=False)
    return all(track.failure is None for track in tracks)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when every trainer was measured, 1 when one failed, 2 for a bad request."""
    outlast_readers()
    settings = tyro.cli(Settings, args=arguments)
    # Ends as a Ctrl-C does, so that the trainer that is running ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if bench(settings, Console()) else 1
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped; what was measured so far is in {_partial(settings)}.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
