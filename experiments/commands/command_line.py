"""Shared by the commands of this folder: parsing options and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tyro

from fls_jax.errors import UserError
from fls_jax.process.names import read_names_as_utf8
from fls_jax.process.output import lost_output, outlast_readers

_Settings = TypeVar("_Settings")


def run_command(name: str, settings: type[_Settings], work: Callable[[_Settings], None]) -> int:
    """Call `work` with the parsed settings. Returns 0, or 2 for errors that the user can correct."""
    outlast_readers()
    try:
        read_names_as_utf8(sys.argv[1:])
        given = tyro.cli(settings, config=(tyro.conf.FlagCreatePairsOff,))
        work(given)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if reason := lost_output():
        print(f"{name}: part of the output could not be written ({reason}).", file=sys.stderr)
        return 1
    return 0


def print_folder(folder: Path) -> None:
    """Print the folder that was written and its size."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")
