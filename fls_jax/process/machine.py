"""Checks of the machine before a command writes anything: JAX devices, open files, memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import jax

from fls_jax.errors import UserError

FILES = 64  # open files: a training has some 35, W&B more
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_machine() -> None:
    """Raise UserError if JAX has no device, transfers are guarded, or too few files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        raise UserError(f"This process may open only {hard} files: raise the limit (ulimit -n) to {FILES}.")
    if soft != resource.RLIM_INFINITY and soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    for name in sorted(os.environ):
        if name.startswith("JAX_TRANSFER_GUARD") and os.environ[name].startswith("disallow"):
            raise UserError(f"{name} is {os.environ[name]}, but frames must reach the devices: unset it.")
    try:
        jax.devices()
    except Exception as error:  # a RuntimeError, or an AssertionError where a plugin is not installed
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).split(" (set JAX_PLATFORMS")[0].rstrip(".")
        raise UserError(
            f"JAX finds no device for JAX_PLATFORMS={asked!r}{reason and f' ({reason})'}: unset it, or "
            "install JAX for that device (in the repository: make setup ACCEL=cuda12, cuda13 or tpu)."
        ) from error


def memory() -> int:
    """The most memory that this process can have, in bytes: the machine's, or its container's."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file on this system, or `max`
        return physical


def check_memory(needed: int, what: str, advice: str) -> None:
    """Raise UserError if `what` needs more bytes than the machine has."""
    have = memory()
    if needed > have:
        raise UserError(
            f"{what} need {needed / 2**30:,.0f} GiB of memory, and there are {have / 2**30:,.0f}: {advice}."
        )
