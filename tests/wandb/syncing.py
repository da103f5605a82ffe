"""`fls sync` in processes of its own, and W&B's own reader of what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.data.grid import Cell
from tests.experiments.folders import row, write_run

KEY = "0123456789abcdef0123456789abcdef01234567"
CELL = Cell("Pong", "cnn_sparse_fls", 9)


def options(home: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Of a process in a home without W&B settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HTTP"))}
    env = kept | {"HOME": str(home), "NETRC": str(home / "netrc")} | environment
    return {"env": env, "stdin": subprocess.DEVNULL, "text": True}


def fls(*arguments: object, home: Path, **environment: str) -> subprocess.CompletedProcess:
    """`fls` in a process of its own, to its end."""
    command = [sys.executable, "-m", "fls_jax", *map(str, arguments)]
    return subprocess.run(
        command, **options(home, environment), capture_output=True, timeout=120, check=False
    )


def fls_beside(*arguments: object, home: Path, **environment: str) -> subprocess.Popen:
    """`fls` in a session of its own, beside the test."""
    command = [sys.executable, "-m", "fls_jax", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(command, **options(home, environment), **quiet)


def inspect(file: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    found = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        env=os.environ | {"HOME": str(file.parent), "WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def killed_and_resumed(path: Path) -> Path:
    """A run that was killed and resumed: a step written twice, checkpoints behind the record, a cut line."""
    write_run(path, CELL, [])
    rows = [row(1, None), row(2, 1.0), row(3, 2.0), row(3, 2.5, again=1), row(4, 3.0), row(5, 4.0)]
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in rows) + '{"update": 6, "e'
    )
    for step in (2048, 4096):
        (path / "checkpoints" / str(step)).mkdir(parents=True)
    return path
