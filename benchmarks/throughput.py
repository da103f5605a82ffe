"""Throughput of every part of training on this machine, each measured in a separate process.

    make bench ARGS='--networks cnn cnn_sparse_fls --num-envs 8 64'

It measures EnvPool alone, policy alone, update alone, end to end (plain and overlapped), the loop's speed
relative to EnvPool's with a network of almost no cost, memory, and the compiled update's memory for every
network.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import PROXY
from fls_jax.errors import UserError
from fls_jax.networks.specs import NETWORKS, network_spec
from fls_jax.process.output import outlast_readers
from fls_jax.runs.provenance import commit, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# At the paper's minibatch the dense networks' gradients are accumulated, so that they fit a small device.
DENSE_MICROBATCH = 64
Options = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Measure throughput and memory."""

    game: str = "Pong"
    """game, as EnvPool spells it"""
    networks: tuple[str, ...] = ("cnn", "cnn_sparse_fls")
    """networks to measure"""
    num_envs: tuple[int, ...] = (8,)
    """numbers of environments for the networks"""
    loop_envs: tuple[int, ...] = (8, 64)
    """numbers of environments at which the loop is compared with EnvPool alone"""
    updates: int = 5
    """timed repeats of every measurement; the table shows medians"""
    compute_dtypes: tuple[str, ...] = ("float32",)
    """types of the extractor's arithmetic: float32 bfloat16"""
    parts: tuple[Literal["speed", "memory"], ...] = ("speed", "memory")
    """speed needs a quiet machine; memory analyses the compiled update of every network and runs nothing"""
    output: Path = RESULTS
    """folder of the results: throughput.json and memory.json"""


def speed_measurements(settings: Settings) -> Iterator[Options]:
    """The measurements, as options of benchmarks/measure.py."""
    for count in settings.loop_envs:
        common = {"game": settings.game, "num-envs": count, "updates": 4 * settings.updates}
        yield common | {"part": "loop", "network": PROXY}
    for count in settings.num_envs:
        common = {"game": settings.game, "num-envs": count, "updates": settings.updates}
        for network in settings.networks:
            for dtype in settings.compute_dtypes:
                chosen = common | {"network": network, "compute-dtype": dtype}
                yield chosen | {"part": "policy"}
                yield chosen | {"part": "update"}
                yield chosen | {"part": "end-to-end"}
                yield chosen | {"part": "end-to-end", "overlap": True}


def memory_measurements() -> Iterator[Options]:
    """The update of every network; of the dense ones also in microbatches."""
    for network in NETWORKS:
        yield {"part": "memory", "network": network}
        if network_spec(network).torso[0].stride == 1:
            yield {"part": "memory", "network": network, "microbatch": DENSE_MICROBATCH}


def run(options: Options) -> dict[str, Any]:
    """Run one measurement in a separate process; returns its result, or `error` with its last line."""
    command = [sys.executable, "-m", "benchmarks.measure", options["part"]]
    for name, value in options.items():
        if name != "part":
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"command": shlex.join(command[1:]), "error": lines[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def speed(row: dict[str, Any]) -> float | None:
    """Median steps per second; for an update alone, trained samples per second."""
    if "seconds" not in row:
        return None
    work = row["trained_samples"] if row["part"] == "update" else row["steps"]
    return work / median(row["seconds"])


def envpool_speed(row: dict[str, Any]) -> float | None:
    """Median steps a second of EnvPool alone, which a row of the part `loop` has beside its own."""
    return row["steps"] / median(row["seconds_envpool"]) if "seconds_envpool" in row else None


def loop_efficiency(row: dict[str, Any]) -> float | None:
    """Speed of the whole loop as a share of EnvPool's alone, measured in turns; median of the pairs."""
    if "seconds_envpool" not in row:
        return None
    return median(map(truediv, row["seconds_envpool"], row["seconds"]))


def speed_table(record: dict[str, Any]) -> Table:
    """Throughput for the terminal."""
    table = Table("part", "network", "envs", "type", "per second", "peak memory, GiB", title="Throughput")
    for row in record["rows"]:
        name = row["part"] + (", overlapped" if row.get("overlap") else "")
        value, alone, share = speed(row), envpool_speed(row), loop_efficiency(row)
        count = str(row["num-envs"])
        if alone and share:
            table.add_row("EnvPool alone", "", count, "", f"{alone:,.0f} steps", "")
        table.add_row(
            name,
            row.get("network", ""),
            count,
            row.get("compute-dtype", ""),
            row["error"] if value is None else f"{value:,.0f} {'samples' if name == 'update' else 'steps'}",
            "" if value is None else _peak(row),
        )
        if alone and share:
            table.add_row("loop / EnvPool", "", count, "", f"{share:.2f}", "")
    return table


def _peak(row: dict[str, Any]) -> str:
    """Memory of the process and, if known, of the device."""
    device = row.get("peak_device_bytes")
    return f"{row['peak_rss_bytes'] / 2**30:.1f}" + (f", device {device / 2**30:.1f}" if device else "")


def memory_table(record: dict[str, Any]) -> Table:
    """Memory for the terminal."""
    table = Table("network", "microbatch", "GiB", title="Compiled update, minibatch 256 (a proxy, not run)")
    for row in record["rows"]:
        total = row.get("total_bytes")
        text = row["error"] if total is None else f"{total / 2**30:.2f}"
        table.add_row(row["network"], str(row.get("microbatch", "")), text)
    return table


def measure(todo: list[Options], console: Console) -> dict[str, Any]:
    """Run all, one after the other; returns rows with their options, and the machine."""
    machine = describe_machine()
    rows = []
    for number, options in enumerate(todo, start=1):
        described = " ".join(f"{name}={value}" for name, value in options.items() if name != "game")
        console.print(f"[{number}/{len(todo)}] {described}", markup=False)
        rows.append(options | run(options))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"when": when, "machine": machine, "versions": versions(), "commit": commit(), "rows": rows}


def _check(settings: Settings) -> None:
    """Raise UserError for impossible options, before anything is measured."""
    for name in ("updates", "num_envs", "loop_envs"):
        value = getattr(settings, name)
        if min(value if isinstance(value, tuple) else (value,), default=1) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give 1 or more.")
    for name in settings.networks:
        if name not in NETWORKS:
            raise UserError(f"There is no network {name!r}; choose one of: {', '.join(NETWORKS)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: measure, print, save. Returns 2 for impossible options."""
    outlast_readers()
    settings = tyro.cli(Settings, args=arguments)
    try:
        _check(settings)
    except UserError as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 2
    bench(settings)
    return 0


def bench(settings: Settings) -> None:
    """Measure, print, save."""
    console = Console(highlight=False)
    settings.output.mkdir(parents=True, exist_ok=True)
    if "speed" in settings.parts:
        record = measure(list(speed_measurements(settings)), console)
        if (load := record["machine"]["load_average"]) > 0.5:
            console.print(f"Warning: the load was {load}; these numbers need a quiet machine.")
        for row in record["rows"]:
            if (share := loop_efficiency(row)) is not None:
                row["loop_efficiency"] = share
        (settings.output / "throughput.json").write_text(json.dumps(record, indent=1) + "\n")
        console.print(speed_table(record))
    if "memory" in settings.parts:
        record = measure(list(memory_measurements()), console)
        (settings.output / "memory.json").write_text(json.dumps(record, indent=1) + "\n")
        console.print(memory_table(record))
    console.print(f"Saved in {settings.output}")


if __name__ == "__main__":
    sys.exit(main())
