"""Messages at the start of a job: its devices, and accelerators of the machine that it does not use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jax

# Files that drivers create, one for each device.
_SIGNS = {
    "an NVIDIA GPU": ("proc/driver/nvidia/gpus/*", "dev/nvidia[0-9]*"),
    "an AMD GPU": ("dev/kfd",),
    "a TPU": ("dev/accel[0-9]*", "dev/vfio/[0-9]*"),
}


def describe_devices(used: Sequence[jax.Device], machine: dict[str, object]) -> str:
    """One line: the number and kind of the devices. machine: `cpu` and `cores`, shown if it computes."""
    first = used[0]
    if first.platform == "cpu":
        kind = f"CPU ({machine['cpu']}, {machine['cores']} cores)"
    else:
        kind = f"{first.platform.upper()} ({first.device_kind})"
    return f"Computing on {len(used)} {kind}." if len(used) > 1 else f"Computing on the {kind}."


def unused_accelerators(used: Sequence[jax.Device], root: Path = Path("/")) -> str | None:
    """Accelerators that are present but not used, and how to use them; None if there are none.

    root: the folder in which /proc and /dev are looked up.
    """
    visible = jax.local_devices()
    if used[0].platform != "cpu":
        left = len(visible) - len(used)
        if not left:
            return None
        return f"{left} more of this machine's {len(visible)} are not used: --devices 0 takes all."
    if any(device.platform != "cpu" for device in visible):
        return None
    found = [name for name, signs in _SIGNS.items() if any(any(root.glob(sign)) for sign in signs)]
    if not found:
        return None
    asked = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
    if asked and "cpu" in asked.split(","):
        why = f"JAX_PLATFORMS is {asked!r}: unset it to use the accelerator"
    else:
        why = "this JAX does not see it: `make setup ACCEL=cuda12|cuda13|tpu` installs one that does"
    return f"This machine has {' and '.join(found)}, but {why}."
