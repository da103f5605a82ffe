"""What the commands of this folder have in common: options in, exit code out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

from fls_jax.errors import UserError
from fls_jax.process.output import lost_output, outlast_readers

_Settings = TypeVar("_Settings")


def run_command(name: str, settings: type[_Settings], work: Callable[[_Settings], None]) -> int:
    """Call `work` with the settings that the command line gives: 0, or 2 for what the user can put right."""
    outlast_readers()
    given = tyro.cli(settings, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        work(given)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if reason := lost_output():
        print(f"{name}: not all that was printed was written ({reason}).", file=sys.stderr)
        return 1
    return 0


def print_folder(folder: Path) -> None:
    """Say what was written: the folder and its size."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")
