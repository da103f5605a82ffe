"""Measures saliency methods: frames per second, the limit by the network, and a simple loop.

    python -m benchmarks.saliency [--networks cnn cnn_sparse_fls] [--frames 64]

The limit is the network's own speed in the same batches, divided by a method's passes per frame. The loop is
Greydanus' method as it is usually written: make one variant in NumPy, run one forward pass, repeat.
Measurements alternate, because a machine's speed drifts; the result is the median.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks.gaze_data import write_run
from benchmarks.machine import describe_machine
from fls_jax.agent import Agent, load_agent
from fls_jax.networks.chunking import largest_block
from fls_jax.runs.files import write_whole
from fls_jax.runs.provenance import commit, versions
from fls_jax.saliency.perturbation import grid
from fls_jax.saliency.variants import passes_at_once

ROOT = Path(__file__).resolve().parents[1]
GRID = len(grid(84, 5)) ** 2
METHODS: dict[str, int] = {
    "attention": 1,
    "gradient": 1,
    "guided_backprop": 1,
    "grad_cam": 1,
    "smoothgrad": 25,
    "integrated_gradients": 25,
    "greydanus": GRID,
    "sarfa": GRID,
    "occlusion": 17 * 17,
    "rise": 1000,
}
"""Forward passes a frame of each method."""
LOOP = "greydanus, one pass at a time"
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Measure the saliency methods."""

    networks: tuple[str, ...] = ("cnn", "cnn_sparse_fls")
    """networks to explain"""
    methods: tuple[str, ...] = tuple(METHODS)
    """methods to measure"""
    frames: int = 64
    """frames per turn for methods of at most 25 passes; 8 for the others, 1 for the loop"""
    turns: int = 3
    """number of turns"""
    output: Path = ROOT / "benchmarks" / "results" / "saliency.json"
    """file for the results"""


def one_pass_at_a_time(agent: Agent, frame: np.ndarray) -> np.ndarray:
    """Greydanus' scores of the value on one frame [84, 84, 4], variant by variant: [17, 17]."""
    sharp = frame.astype(np.float32)
    blurred = np.stack([gaussian_filter(sharp[..., c], 3) for c in range(4)], axis=-1)
    rows, columns = np.mgrid[:84, :84]
    before, points = agent(frame[None]).value[0], grid(84, 5)
    question = agent.question(frame[None], ("value",))
    scores = np.empty((len(points), len(points)))
    for i, row in enumerate(points):
        for j, column in enumerate(points):
            mask = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 50)[..., None].astype(np.float32)
            changed = sharp + mask * (blurred - sharp)
            value = question.apply(question.params, changed[None])[1]
            scores[i, j] = 0.5 * (before - float(value[0])) ** 2
    return scores


def measure(settings: Settings, network: str, report: Callable[[str], None] = print) -> list[Row]:
    """All methods on one network, alternating. Its weights are random; speed does not depend on them."""
    with tempfile.TemporaryDirectory() as home:
        agent = load_agent(write_run(Path(home) / "run", network))
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (settings.frames, 84, 84, 4), dtype=np.uint8)
    jobs = _jobs(agent, settings, frames)
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(settings.turns + 1):  # the first compiles
        for name, (job, _) in jobs.items():
            begun = time.perf_counter()
            job()
            if turn:
                times[name].append(time.perf_counter() - begun)
        report(f"{network}: turn {turn} of {settings.turns}")
    speeds = {name: count / statistics.median(times[name]) for name, (_, count) in jobs.items()}
    return [_row(network, name, speeds) for name in jobs]


def _jobs(agent: Agent, settings: Settings, frames: np.ndarray) -> dict[str, tuple[Callable[[], Any], int]]:
    """The timed functions and their numbers of frames (for the network itself: passes)."""
    few = frames[:8]
    jobs: dict[str, tuple[Callable[[], Any], int]] = {}
    blocks = {"network, single frames": largest_block(), "network, variants": passes_at_once()}
    question = agent.question(frames, ("value",))
    for name, size in blocks.items():
        batch = np.zeros((size, 84, 84, 4), np.float32)
        jobs[name] = (lambda b=batch: jax.block_until_ready(question.apply(question.params, b)), size)
    for method in settings.methods:
        seen = frames if METHODS[method] <= 25 else few
        jobs[method] = (lambda m=method, s=seen: agent.saliency(s, m, "LEFT"), len(seen))
    if "greydanus" in settings.methods:
        jobs[LOOP] = (lambda: one_pass_at_a_time(agent, frames[0]), 1)
    return jobs


def _row(network: str, name: str, speeds: dict[str, float]) -> Row:
    row: Row = {"network": network, "what": name, "frames_per_second": speeds[name]}
    passes = METHODS.get(name, GRID if name == LOOP else None)
    if passes:
        row = row | {"passes": passes, "limit": speeds["network, variants"] / passes}
        row["share_of_limit"] = row["frames_per_second"] / row["limit"]
    if name == "greydanus":
        row["times_the_loop"] = speeds[name] / speeds[LOOP]
    return row


def table(rows: list[Row]) -> Table:
    """The results as a table for the terminal."""
    shown = Table("network", "what", "frames/s", "passes", "limit, frames/s", "times the loop")
    for row in rows:
        shown.add_row(
            row["network"], row["what"], f"{row['frames_per_second']:,.1f}", str(row.get("passes", "")),
            f"{row['limit']:,.1f}" if "limit" in row else "",
            f"{row['times_the_loop']:.1f}" if "times_the_loop" in row else "",
        )  # fmt: skip
    return shown


def main(settings: Settings) -> None:
    """Measure, show and write."""
    rows = [row for network in settings.networks for row in measure(settings, network)]
    Console().print(table(rows))
    record = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "machine": describe_machine(),
        "backend": jax.default_backend(),
        "turns": settings.turns,
        "rows": rows,
    }
    write_whole(settings.output, json.dumps(record, indent=2) + "\n")
    print(f"Written to {settings.output}")


if __name__ == "__main__":
    main(tyro.cli(Settings))
