"""What the commands of this folder have in common: options in, exit code out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from fls_jax.errors import UserError

_Settings = TypeVar("_Settings")


def run_command(name: str, settings: type[_Settings], work: Callable[[_Settings], None]) -> int:
    """Call `work` with the settings that the command line gives: 0, or 2 for what the user can put right."""
    given = tyro.cli(settings, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        work(given)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0
