"""Memory settings that must be in the environment before the process starts.

XLA on a CPU asks for large temporaries at every step; glibc by default maps and unmaps each of them,
which costs more than a third of a training step. These settings keep the memory. glibc reads them
only at start, so the process starts itself again, once, before JAX is loaded.
"""

from __future__ import annotations

import os
import platform
from typing import Literal

from fls_jax.process.restart import restart

Allocator = Literal["tuned", "default"]
SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_MARK = "FLS_ALLOCATOR"


def restart_with_settings() -> None:
    """Restart this process with SETTINGS if glibc reads them and they are missing; otherwise do nothing.

    Variables that the user has set keep their values. Call this before any work, so that nothing runs twice.
    """
    if platform.libc_ver()[0] != "glibc" or _MARK in os.environ:
        return
    restart({**SETTINGS, **os.environ, _MARK: "tuned"})


def environment(allocator: Allocator) -> dict[str, str]:
    """Environment variables for another process that shall have SETTINGS, or glibc's own; it starts once."""
    others = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return others | (SETTINGS if allocator == "tuned" else {}) | {_MARK: allocator}


def description() -> str:
    """`tuned` if this process runs with the settings, else `default`."""
    return os.environ.get(_MARK, "default")
