"""Real processes for tests: trainings started, watched and signalled; and small disks to fill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fls_jax.cli import run
from fls_jax.errors import UserError

# The cheapest training there is. An update is 8 steps, a game 40; all updates take seconds. Tests
# share these values so that they share the compiled programs.
UPDATES, UPDATE_STEPS = 30, 8
TOTAL = UPDATES * UPDATE_STEPS
SMALLEST = tuple(
    f"--{name}={value}"
    for name, value in {
        "game": "Pong",
        "network": "cnn_sparse_fls_pool",
        "total-steps": TOTAL,
        "num-envs": 2,
        "rollout-length": UPDATE_STEPS // 2,
        "minibatches": 1,
        "epochs": 1,
        "max-episode-steps": 40,
        "wandb": "off",
    }.items()
)
PATIENCE = 240.0


def run_python(
    arguments: Sequence[str], check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python to its end with more environment variables; what it printed as text."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def forced_devices(count: int) -> dict[str, str]:
    """The environment of a process that sees this machine's CPU as so many devices."""
    force = f"--xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {force}".strip(), "JAX_PLATFORMS": "cpu"}


def optimised(environment: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a process with optimised programs, which the tests' own are not (tests/conftest.py).

    For convolutions in float64 and in loops, which are XLA's own code on a CPU: ten times as fast.
    """
    flags = (environment or {}).get("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    return (environment or {}) | {"XLA_FLAGS": flags.replace("optimization_level=0", "optimization_level=1")}


def run_without_root(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `fls` bound by the rights of files and folders, also where root runs the tests."""
    rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*rights, sys.executable, "-m", "fls_jax", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run_fls(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `fls` to its end."""
    return run_python(["-m", "fls_jax", *arguments], check=False, **environment)


def run_training(run_dir: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the smallest training in `run_dir` to its end."""
    return run_fls("train", *SMALLEST, f"--run-dir={run_dir}", *options, **environment)


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one sentence on stderr with all these words; no traceback anywhere."""
    assert done.returncode == 2, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("fls: ")]
    assert len(told) == 1, done.stderr
    for word in words:
        assert word in told[0]
    assert "Traceback" not in done.stdout + done.stderr


def assert_raises(arguments: Sequence[str], *words: str) -> None:
    """`fls`, in this process, raises a UserError with all these words: a command would be refused with it."""
    with pytest.raises(UserError) as refusal:
        run([*arguments, *["--allocator=default"] * (arguments[0] == "train")])  # or it would start anew
    for word in words:
        assert word in str(refusal.value)


class Training:
    """The smallest training in `run_dir`, as a process of its own session that runs beside the test.

    What it prints, stdout and stderr together, goes to `log`. Killed at the end of the `with` block.
    """

    def __init__(self, run_dir: Path, log: Path, *options: str, **environment: str) -> None:
        self.run_dir, self.log = run_dir, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fls_jax", "train", *SMALLEST, f"--run-dir={run_dir}", *options],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def output(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Until `condition()` is true; fails where the process ends before or it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None and not condition():
                pytest.fail(f"ended with {self.process.returncode}: {self.output()[-3000:]}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain: {self.output()[-3000:]}")
            time.sleep(0.002)

    def wait_for_text(self, text: str) -> None:
        """Until it has printed `text`."""
        self.wait_until(lambda: text in self.output())

    def wait_for_rows(self, rows: int) -> None:
        """Until its record has at least so many rows."""
        self.wait_until(lambda: len(read_rows(self.run_dir)) >= rows)

    def interrupt(self) -> None:
        """SIGINT to the process and all its children, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)


def read_rows(run_dir: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics.jsonl."""
    file = run_dir / "metrics.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(True) if line.endswith("\n")]


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
