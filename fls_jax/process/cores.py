"""The number of cores that this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores in this process's affinity mask (taskset, Slurm), or of the machine if the system has no mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
