"""Real processes for tests: trainings started, watched, signalled; and small disks to fill."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

# The cheapest training there is: 16 steps an update.
SMALLEST = tuple(
    f"--{name}={value}"
    for name, value in {
        "game": "Pong",
        "network": "cnn_sparse_fls_pool",
        "num-envs": 2,
        "rollout-length": 8,
        "minibatches": 1,
        "epochs": 1,
        "wandb": "off",
    }.items()
)
PATIENCE = 180.0


def run_python(
    arguments: Sequence[str], check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python to its end with more environment variables; what it printed as text."""
    run = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not check or run.returncode == 0, run.stderr[-3000:]
    return run


def run_fls(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `fls` to its end."""
    return run_python(["-m", "fls_jax", *arguments], check=False, **environment)


@contextlib.contextmanager
def start_fls(arguments: Sequence[str], **environment: str) -> Generator[subprocess.Popen[str]]:
    """Start `fls`; its output is one stream of text. Killed at the end of the block if still alive."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fls_jax", *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """The first true value of `condition()`; fails where `process` ends before."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if process is not None and process.poll() is not None and not (value := condition()):
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[0][-3000:]}")
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        time.sleep(0.005)
    return value


def read_rows(run_dir: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics.jsonl."""
    file = run_dir / "metrics.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(True) if line.endswith("\n")]


def wait_for_rows(run_dir: Path, rows: int, process: subprocess.Popen[str]) -> None:
    """Until the run's record has at least so many rows."""
    wait_until(lambda: len(read_rows(run_dir)) >= rows, process)


@contextlib.contextmanager
def small_disk(parent: Path, options: str) -> Generator[Path]:
    """A file system in memory with limits of its own, e.g. `size=2m`; needs root on Linux."""
    mount_point = parent / "disk"
    mount_point.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount_point)], capture_output=True, check=False
    )
    if mounting.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounting.stderr.decode().strip()}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True)
