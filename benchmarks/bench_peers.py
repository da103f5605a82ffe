"""Our trainer against its peers, in alternation in one run, end to end.

Every round runs every trainer once, in a separate process, for the same number of updates. The order rotates
from round to round, so that slow minutes of the machine do not always affect the same trainer. All trainers
run under the same memory settings: one row with those of `fls train` (tuned), one with glibc's own (default).
The peers have their own virtual environment, which is created at the first run.

    .venv/bin/python -m benchmarks.bench_peers --rounds 3 --updates 4
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

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

from benchmarks.machine import describe_machine
from benchmarks.peer_results import (
    OURS,
    Report,
    Track,
    conclusions,
    markdown,
    parse_report,
    summarise,
    table,
)
from benchmarks.peers.install import ensure_environment
from fls_jax.errors import UserError
from fls_jax.process.allocator import Allocator, environment
from fls_jax.process.output import outlast_readers
from fls_jax.runs.provenance import commit

ROOT = Path(__file__).resolve().parents[1]
STEPS = 128  # of every environment, between two updates
TARGET = 1.5
OURS_COMMAND = (
    ".venv/bin/python -m benchmarks.end_to_end --game {game} --network {network} --num-envs {num_envs} "
    "--updates {updates} --warmup-updates {warmup_updates}"
)
PEER_COMMAND = (
    "{peers_python} -m benchmarks.peers.{script} --game {game} --network {network} --num-envs {num_envs} "
    "--updates {updates} --warmup-updates {warmup_updates}"
)
Network = Literal["cnn", "cnn_sparse_fls"]


@dataclass(frozen=True)
class Settings:
    """Measure our trainer and its peers in alternation, end to end."""

    game: str = "Pong"
    """game, as EnvPool spells it"""
    networks: tuple[Network, ...] = ("cnn", "cnn_sparse_fls")
    """networks to measure; Stable-Baselines3 and SBX have only the first"""
    num_envs: int = 8
    """games played in parallel"""
    updates: int = 4
    """timed updates of every trainer in every round (1024 steps each with 8 games)"""
    warmup_updates: int = 1
    """updates before those, not timed (compilation)"""
    allocators: tuple[Allocator, ...] = ("tuned", "default")
    """memory settings under which every trainer is run, ours and the peers alike"""
    rounds: int = 3
    """times that every trainer is run"""
    ours_command: str = OURS_COMMAND
    """command of our trainer; names in braces are filled in"""
    output: Path = ROOT / "benchmarks" / "results" / "peers.json"
    """file of the record; until it is complete, `<name>.partial.json`"""
    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 1800.0
    """time limit of one run of one trainer, in seconds"""
    peers_venv: Path = ROOT / ".venv-peers"
    """the peers' virtual environment; created if missing"""
    markdown: bool = False
    """also print the table as Markdown"""


@dataclass(frozen=True)
class Contender:
    """A trainer on a network, and how it is run."""

    track: Track
    command: str


def contenders(settings: Settings) -> list[Contender]:
    """Ours and the peers for every network and allocator asked for, with their commands filled in.

    Raises:
        UserError: our command has an unknown name in braces.
    """
    torch, layout, sbx = (
        "plain PyTorch, NCHW",
        "plain PyTorch, NHWC",
        "two networks, trained in turn: more work",
    )
    peers = {
        "cnn": (
            ("pytorch", "pytorch_ppo", True, torch),
            ("stable-baselines3", "sb3_ppo", True, "PyTorch, its own CnnPolicy"),
            ("pytorch channels_last", "pytorch_ppo --channels-last", False, layout),
            ("sbx", "sbx_ppo", False, sbx),
        ),
        "cnn_sparse_fls": (
            ("pytorch", "pytorch_ppo", True, torch),
            ("pytorch channels_last", "pytorch_ppo --channels-last", False, layout),
        ),
    }
    values = asdict(settings) | {"peers_python": _relative(settings.peers_venv / "bin" / "python")}
    result = []
    for network, allocator in product(settings.networks, settings.allocators):
        values["network"] = network
        try:
            command = settings.ours_command.format_map(values)
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(
                f"--ours-command cannot be filled in ({error}): {settings.ours_command!r}. The names are "
                "{game}, {network}, {num_envs}, {updates} and {warmup_updates}."
            ) from error
        result.append(Contender(Track(OURS, network, allocator=allocator), command))
        for name, script, yardstick, note in peers[network]:
            script, _, options = script.partition(" ")
            command = f"{PEER_COMMAND.format_map(values | {'script': script})} {options}".strip()
            result.append(Contender(Track(name, network, yardstick, note, allocator), command))
    return result


def run(command: str, settings: Settings, network: str, allocator: Allocator = "default") -> Report:
    """Run one trainer to its end in the project's folder, under these memory settings.

    Raises:
        ValueError: it could not be started, failed, took too long or did other work; see the message.
    """
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=ROOT,
            env=environment(allocator),
            capture_output=True,
            text=True,
            timeout=settings.timeout,
        )
    except OSError as error:
        raise ValueError(f"it cannot be started ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"it took longer than {settings.timeout:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"exit code {done.returncode}: {last.replace(f'{ROOT}{os.sep}', '')}")
    return parse_report(
        done.stdout,
        network=network,
        updates=settings.updates,
        steps_per_update=settings.num_envs * STEPS,
        allocator=allocator,
    )


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


def _relative(path: Path) -> str:
    """The path relative to the project's folder, without resolving links."""
    return os.path.relpath(path, ROOT)


def _check(settings: Settings) -> None:
    for name, least in (
        ("num_envs", 1),
        ("updates", 1),
        ("warmup_updates", 0),
        ("rounds", 1),
        ("timeout", 1),
    ):
        value = getattr(settings, name)
        if not value >= least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give {least} or more.")
    for name in ("networks", "allocators"):
        value = getattr(settings, name)
        if not value or len(set(value)) < len(value):
            raise UserError(f"--{name} is {value}; give at least one, each once.")


def bench(settings: Settings, console: Console) -> bool:
    """Measure, print and record; whether every trainer could be measured."""
    _check(settings)
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
