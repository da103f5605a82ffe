"""The commands of `fls` that run no agent (downloads, imports, W&B, lists), and their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class AtariHead:
    """Download and check a game of Atari-HEAD (licence CC-BY-4.0); the same command resumes."""

    action: Annotated[Literal["download"], tyro.conf.Positional]
    """What to do."""
    game: str
    """Game of Atari-HEAD, in any spelling."""
    dir: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the files."""
    release: Literal["v4", "v1"] = "v4"
    """v4: one zip per game; v1, the paper's: two files per trial."""
    server: str = "https://zenodo.org"
    """Zenodo, or a server with the same interface."""


@dataclass(frozen=True)
class Sync:
    """Send runs to Weights & Biases: history from metrics.jsonl, evaluations, gaze, videos.

    The same command sends only what is new.
    """

    directory: Annotated[Path, tyro.conf.arg(metavar="DIR"), tyro.conf.Positional]
    """A run folder, or a folder that holds run folders at any depth."""
    wandb_project: str = "fls-jax"
    """Project of the W&B runs."""
    offline: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: send)")] = None
    """Write W&B offline runs into this folder instead; this needs no key and no network."""
    dry_run: bool = False
    """Only print what would be sent."""


@dataclass(frozen=True)
class ImportBaselines:
    """Turn a model released by the authors into a run folder with a checkpoint at step 0."""

    experiment_dir: Annotated[Path, tyro.conf.arg(metavar="EXPERIMENT_DIR"), tyro.conf.Positional]
    """The authors' folder <Game>.<network>/<seed>, with config.json and model.pkl."""
    run_dir: Annotated[Path, tyro.conf.arg(metavar="RUN_DIR"), tyro.conf.Positional]
    """The run folder to make."""


@dataclass(frozen=True)
class Games:
    """List all games."""


@dataclass(frozen=True)
class Networks:
    """List the networks, with their parameter counts (4 actions) and attention maps."""
