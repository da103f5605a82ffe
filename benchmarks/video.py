"""Measures the seconds of a film: the whole command in a separate process, and its two passes.

    .venv/bin/python -m benchmarks.video --networks cnn_sparse_fls

An agent with random weights is filmed; its speed is that of a trained one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from fls_jax.atari.emulator import action_names
from fls_jax.atari.pool import games
from fls_jax.config import TrainConfig
from fls_jax.film.drawing import mosaic
from fls_jax.film.job import load_agents
from fls_jax.film.movie import Movie
from fls_jax.film.playing import play
from fls_jax.film.views import draw
from fls_jax.ppo.fleet import build_network
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.provenance import commit, versions

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Settings:
    """Measure how fast films are made."""

    game: str = "Breakout"
    """game, as EnvPool spells it"""
    networks: tuple[str, ...] = ("cnn_sparse_fls",)
    """networks to film"""
    steps: int = 1000
    """frames of a film"""
    repeats: int = 3
    """films of each network; the table shows medians"""
    output: Path = RESULTS / "video.json"
    """file for the results"""


def write_run(folder: Path, game: str, network: str) -> None:
    """A run folder with one checkpoint of random weights."""
    config = TrainConfig(game=game, network=network)
    actions = action_names(games()[game])
    folder.mkdir(parents=True)
    RunFolder(folder).write_config(config, {"action_names": list(actions), "preprocessing": "envpool"})
    store = CheckpointStore(RunFolder(folder).checkpoints)
    observations = jnp.zeros((1, 84, 84, 4), jnp.uint8)
    params = jax.jit(build_network(config, len(actions)).init)(jax.random.key(0), observations)["params"]
    store.save(0, params, {"update": np.zeros((), np.int32)})
    store.close()


def time_passes(folder: Path, steps: int) -> dict[str, float]:
    """Seconds of playing and of drawing with encoding, both compiled before."""
    (agent,) = load_agents([folder])
    for tile in draw(agent, play(agent, 2, seed=1000)):
        mosaic([tile])
    start = time.perf_counter()
    clip = play(agent, steps, seed=1000)
    played = time.perf_counter()
    with Movie(folder / "passes.mp4", 15) as movie:
        for tile in draw(agent, clip):
            movie.add(mosaic([tile]))
    return {"play": played - start, "draw": time.perf_counter() - played}


def time_command(folder: Path, steps: int) -> float:
    """Seconds of `fls video` from its start to its end, imports and compilation included."""
    film = str(folder / "command.mp4")
    command = [sys.executable, "-m", "fls_jax", "video", str(folder), "--steps", str(steps), "--out", film]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(settings: Settings, network: str) -> dict[str, Any]:
    """Seconds of every repeat, and frames a second of the medians."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / network
        write_run(folder, settings.game, network)
        commands = [time_command(folder, settings.steps) for _ in range(settings.repeats)]
        passes = [time_passes(folder, settings.steps) for _ in range(settings.repeats)]
        size = (folder / "command.mp4").stat().st_size
    both = median(sum(seconds.values()) for seconds in passes)
    return {
        "network": network,
        "command_seconds": commands,
        "passes_seconds": passes,
        "frames_per_second_command": settings.steps / median(commands),
        "frames_per_second_passes": settings.steps / both,
        "file_bytes": size,
    }


def main() -> None:
    """Measure, print, save."""
    settings = tyro.cli(Settings)
    console = Console(highlight=False)
    machine = describe_machine()
    if machine["load_average"] > 0.5:
        console.print(f"Warning: the load is {machine['load_average']}; numbers need a quiet machine.")
    rows = [measure(settings, network) for network in settings.networks]
    table = Table(
        "network", "frames/s, whole command", "frames/s, compiled", "playing", "drawing", "kB a frame"
    )
    for row in rows:
        passes = [
            f"{1e3 * median(seconds[name] for seconds in row['passes_seconds']) / settings.steps:.1f} ms"
            for name in ("play", "draw")
        ]
        speeds = [f"{row[f'frames_per_second_{part}']:.0f}" for part in ("command", "passes")]
        table.add_row(row["network"], *speeds, *passes, f"{row['file_bytes'] / settings.steps / 1e3:.1f}")
    record = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions() | {name: version(name) for name in ("av", "opencv-python-headless")},
        "commit": commit(),
        "game": settings.game,
        "steps": settings.steps,
        "rows": rows,
    }
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(record, indent=1) + "\n")
    console.print(table)
    console.print(f"Saved to {settings.output}")


if __name__ == "__main__":
    main()
