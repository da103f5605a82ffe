"""The machine, load and settings of a recorded benchmark."""

from __future__ import annotations

import os
import platform
from typing import Any

from fls_jax.runs.provenance import machine

_SPEED_VARIABLES = ("GLIBC_TUNABLES", "JAX_", "LD_PRELOAD", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "XLA_")


def describe_machine() -> dict[str, Any]:
    """CPU model, usable cores, memory in GiB, system, Python, load and the environment's speed settings."""
    settings = {k: v for k, v in sorted(os.environ.items()) if k.startswith(_SPEED_VARIABLES)}
    return machine() | {
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "environment": settings,
    }
