"""The gaze pass measured: its metrics against the original's formulas, whole passes, and memory.

    python -m benchmarks.gaze [--atari-head DIR] [--network cnn_sparse_fls] [--frames 2000]

Each measurement runs in a separate process. Without a copy of Atari-HEAD a synthetic trial is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.gaze_data import write_run, write_trial
from benchmarks.machine import describe_machine
from fls_jax.gaze.observations import GAZE_OFFSETS
from fls_jax.runs.provenance import commit, versions

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 2**20
SHOWN_FRAMES = len(GAZE_OFFSETS)
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Measure the gaze pass."""

    atari_head: Path | None = None
    """a copy of Atari-HEAD with trials of Ms. Pac-Man, to score in addition to the synthetic trial"""
    network: str = "cnn_sparse_fls"
    """network whose maps are scored"""
    frames: int = 2000
    """frames of the synthetic trial that is timed"""
    samples: tuple[int, ...] = (1, 50)
    """gaze samples per frame in timed trials; a tracker at 1000 Hz gives 50"""
    memory_frames: tuple[int, ...] = (2000, 18000)
    """frames of the synthetic trials whose memory is measured"""
    parts: tuple[Literal["metrics", "pass", "memory"], ...] = ("metrics", "pass", "memory")
    """what to measure"""
    output: Path = ROOT / "benchmarks" / "results" / "gaze.json"
    """file for the results"""


def run(*arguments: str | Path) -> Row:
    """Run one measurement in a separate process; returns its result, or `error`."""
    command = [sys.executable, "-m", "benchmarks.gaze_measure", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_passes(settings: Settings, agent: Path, home: Path, console: Console) -> list[Row]:
    """Whole passes, with the model's map alone and with all controls, under both protocols."""
    trials = {
        f"synthetic, {n} samples a frame": write_trial(home / f"pass{n}", settings.frames, n)
        for n in settings.samples
    }
    if settings.atari_head is not None:
        trials[settings.atari_head.resolve().name] = settings.atari_head.resolve()
    rows = []
    for name, data in trials.items():
        for protocol in ("aligned", "paper"):
            for controls in (False, True):
                options = ["--protocol", protocol, *(["--controls"] if controls else [])]
                row = {"trial": name, "protocol": protocol, "controls": controls}
                rows.append(row | run("pass", agent, data, *options))
                console.print(rows[-1], markup=False)
    return rows


def measure_memory(settings: Settings, agent: Path, home: Path, console: Console) -> list[Row]:
    """Peak memory by the length of the trial."""
    rows = []
    for frames in settings.memory_frames:
        data = write_trial(home / f"memory{frames}", frames, max(settings.samples))
        rows.append(run("memory", agent, data, "--controls"))
        console.print(rows[-1], markup=False)
    return rows


def tables(record: Row) -> list[Table]:
    """The results as tables for the terminal."""
    found = []
    if metrics := record.get("metrics"):
        table = Table(
            "gaze samples",
            "what",
            "original's formulas, ms",
            "ours, ms",
            "ratio",
            title="NSS, KL and shuffled AUC together, a frame",
        )
        for row in metrics:
            if "error" in row:
                table.add_row(row["error"])
                continue
            for name, words, ratio in (
                ("metrics", "the three metrics", "ratio"),
                ("map_and_metrics", "attention to map, and these", "ratio_with_map"),
            ):
                times = f"{row['reference_ms'][name]:.1f}", f"{row['ours_ms'][name]:.2f}"
                table.add_row(str(row["samples"]), words, *times, f"{row[ratio]:.0f}")
        found.append(table)
    if passes := record.get("pass"):
        table = Table(
            "trial",
            "protocol",
            "controls",
            "observations/s",
            "compiling included",
            title="From archive to table",
        )
        for row in passes:
            speeds = [
                row["error"] if "error" in row else f"{row[name]:,.0f}"
                for name in ("observations_per_second", "observations_per_second_with_compilation")
            ]
            table.add_row(row["trial"], row["protocol"], "all" if row["controls"] else "none", *speeds)
        found.append(table)
    if memory := record.get("memory"):
        table = Table("frames", "peak, MiB", "before the pass, MiB", "encoded pictures, MiB", title="Memory")
        for row in memory:
            sizes = ("peak_bytes", "peak_bytes_before", "encoded_bytes")
            table.add_row(
                *(
                    [row["error"]]
                    if "error" in row
                    else [f"{row['frames']:,}", *(f"{row[s] / MEBIBYTE:,.0f}" for s in sizes)]
                )
            )
        found.append(table)
    return found


def main() -> None:
    """Measure, print, save."""
    settings = tyro.cli(Settings, description=__doc__)
    console = Console(highlight=False)
    record: Row = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": versions(),
        "commit": commit(),
        "network": settings.network,
    }
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        agent = write_run(home / "run", settings.network)
        if "metrics" in settings.parts:
            record["metrics"] = [run("metrics", "--samples", str(SHOWN_FRAMES * n)) for n in settings.samples]
        if "pass" in settings.parts:
            record["pass"] = measure_passes(settings, agent, home, console)
        if "memory" in settings.parts:
            record["memory"] = measure_memory(settings, agent, home, console)
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(record, indent=1) + "\n")
    for table in tables(record):
        console.print(table)
    if record["machine"]["load_average"] > 0.5:
        console.print(
            f"Warning: the load was {record['machine']['load_average']}; speeds need a quiet machine."
        )
    console.print(f"Saved as {settings.output}")


if __name__ == "__main__":
    main()
