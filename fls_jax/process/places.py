"""Replaces an unusable HOME or TMPDIR, where libraries write caches and temporary files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_PIECE = 1 << 16  # bytes that must fit into a folder
_CACHES = ("XDG_CACHE_HOME", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")


def usable_places() -> list[str]:
    """Set other folders if HOME or TMPDIR is unset, missing or full. Returns a message for each.

    Call it before importing libraries that use them. A HOME that is set is not changed, because keys and
    settings can be read from it even if it is full.
    """
    said = []
    asked = os.environ.get("TMPDIR")
    if asked and (reason := _unwritable(Path(asked))):
        del os.environ["TMPDIR"]
        tempfile.tempdir = None  # chosen anew, of those that can be written
        os.environ["TMPDIR"] = tempfile.gettempdir()
        said.append(
            f"TMPDIR is {asked}, which cannot be written ({reason}): {os.environ['TMPDIR']} is used instead."
        )
    if home := os.environ.get("HOME"):
        reason = _unwritable(Path(home))
        trouble = f"HOME is {home}, which cannot be written ({reason})" if reason else ""
    else:
        trouble = "HOME is not set"
    if trouble:
        place = str(Path(tempfile.gettempdir()) / f"fls-home-{os.getuid()}")
        if not home:
            os.environ["HOME"] = place
        for name in _CACHES:
            os.environ.setdefault(name, place)
        said.append(f"{trouble}: what libraries keep there goes to {place}.")
    return said


def _unwritable(folder: Path) -> str | None:
    """Why files cannot be written to a folder; None if they can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PIECE))
    except OSError as error:
        return error.strerror or type(error).__name__
    return None
