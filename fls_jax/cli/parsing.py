"""Parses the command line of `fls`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Annotated

import tyro

from fls_jax.cli.commands import (
    Command,
    Evaluate,
    Gaze,
    Report,
    Saliency,
    Train,
    Video,
)
from fls_jax.cli.data_commands import AtariHead, Games, ImportBaselines, Networks, Sync
from fls_jax.config import PRESETS
from fls_jax.errors import UserError


def check_no_empty_value(arguments: Sequence[str]) -> None:
    """Raise UserError for an empty value (an unset shell variable): a path would be the current folder."""
    for before, argument in zip(["fls", *arguments], arguments, strict=False):
        name = argument.removesuffix("=") if argument.startswith("--") and argument.endswith("=") else before
        if not argument or name != before:
            raise UserError(f"The value of {name} is empty: give a value, or leave the option out.")


def parse(arguments: Sequence[str]) -> Command:
    """The command named by `arguments`. --preset, at any position, sets the defaults of `train`."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset", choices=list(PRESETS), default="paper")
    try:
        preset = finder.parse_known_args(list(arguments))[0].preset
    except argparse.ArgumentError:  # tyro has the better message
        preset = "paper"
    default = Train(PRESETS[preset], preset=preset)
    subcommands = (
        Annotated[Train, tyro.conf.subcommand("train", default=default)]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Video, tyro.conf.subcommand("video")]
        | Annotated[Gaze, tyro.conf.subcommand("gaze")]
        | Annotated[Saliency, tyro.conf.subcommand("saliency")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[AtariHead, tyro.conf.subcommand("atari-head")]
        | Annotated[Sync, tyro.conf.subcommand("sync")]
        | Annotated[ImportBaselines, tyro.conf.subcommand("import-baselines")]
        | Annotated[Games, tyro.conf.subcommand("games")]
        | Annotated[Networks, tyro.conf.subcommand("networks")]
    )
    return tyro.cli(
        subcommands,
        prog="fls",
        description="Free-Lunch Saliency: train attention agents on Atari and look through their eyes. "
        "`fls --version` prints the version.",
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
