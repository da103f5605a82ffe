"""What a recorded benchmark says about where it ran: the machine, settings that change speed, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_SPEED_VARIABLES = ("GLIBC_TUNABLES", "JAX_", "LD_PRELOAD", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "XLA_")


def describe_machine() -> dict[str, Any]:
    """CPU model, usable cores, memory in GiB, system, Python, load and the environment's speed settings."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(_SPEED_VARIABLES)
        },
    }


def describe_commit(repository: Path) -> dict[str, Any]:
    """The commit's hash and whether tracked files differ from it; both None outside a git checkout."""
    commit = _git(repository, "rev-parse", "HEAD")
    changes = _git(repository, "status", "--porcelain", "--untracked-files=no")
    return {"hash": commit or None, "dirty": None if changes is None else bool(changes)}


def _field(path: Path, name: str) -> str | None:
    """The value of the first `name : value` line of a file, None where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _git(repository: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
