"""The commands of `fls` that run agents, and their options, as dataclasses that tyro parses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fls_jax.atari_head.metadata import TrialFilter
from fls_jax.cli.data_commands import AtariHead, Games, ImportBaselines, Networks, Sync
from fls_jax.config import TrainConfig
from fls_jax.evaluation.settings import EvaluationSettings


@dataclass(frozen=True)
class Train:
    """Train an agent, or resume a run that stopped.

    The same command resumes the run. SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 saves a checkpoint after
    the current update and stops.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    preset: Literal["paper", "smoke", "throughput"] = "paper"
    """Defaults of the other options. paper: the paper's hyper-parameters; smoke: a run of a minute;
    throughput: keeps an accelerator busy, with hyper-parameters other than the paper's (docs/scaling.md)."""
    run_dir: Annotated[
        Path | None,
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/<Game>/<network>/seed<k>)"),
    ] = None
    """Folder of the run; with --seeds, of the runs seed<k>."""
    seeds: Annotated[
        str | None, tyro.conf.arg(metavar="N,N,...", help_behavior_hint="(default: --seed alone)")
    ] = None
    """Train one run for each of these seeds, all at once on one device. Each run has its own folder."""
    fresh: bool = False
    """Set an existing run folder aside (renamed to <name>.old-<n>) and start anew."""
    wandb: Literal["auto", "offline", "off"] = "auto"
    """Weights & Biases: auto is online if a key is found, else offline."""
    wandb_project: str = "fls-jax"
    """Project of the W&B run."""
    coordinator: Annotated[
        str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="(one process, or Slurm's tasks)")
    ] = None
    """Train together with other processes, on this machine or others: where process 0 listens."""
    processes: Annotated[
        int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(with --coordinator)")
    ] = None
    """How many there are; each plays its share of --num-envs and needs the same options and run folder."""
    process_id: Annotated[
        int | None, tyro.conf.arg(metavar="I", help_behavior_hint="(with --coordinator)")
    ] = None
    """Which of them this is, from 0; process 0 alone writes the record."""
    allocator: Literal["tuned", "default"] = "tuned"
    """tuned: on glibc, restart the process once with MALLOC_* and GLIBC_TUNABLES set so that memory is kept
    between steps (more than a third faster on a CPU); default: do not restart."""


@dataclass(frozen=True)
class Evaluate:
    """Play whole games with a trained agent and summarise them.

    The result is RUN/evaluation/<env_step>-<standard|infinite|greedy>.json. The same command resumes an
    evaluation that stopped: finished rounds of games are kept. With --attention the same games are played
    with attention replaced by other maps, and a table compares the results.
    """

    run: Annotated[Path, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of the run."""
    settings: Annotated[EvaluationSettings, tyro.conf.arg(name="")] = field(
        default_factory=EvaluationSettings
    )
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to evaluate, in agent steps."""
    attention: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="(default: trained)")
    ] = ()
    """Maps that multiply the features: trained, mean, uniform, shuffled, other, constant:V."""
    fresh: bool = False
    """Set an earlier result aside (renamed to <name>.old-<n>) and start anew."""
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: RUN/evaluation)")
    ] = None
    """Folder for the result, if the run folder cannot be written."""


@dataclass(frozen=True)
class Video:
    """Film trained agents as they play, with saliency drawn over the game and over the input.

    The film is RUN/video/<env_step>.mp4. Several runs of one game appear side by side.
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(one or more)"),
        tyro.conf.Positional,
    ]
    """Folders of the runs."""
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: RUN/video/<env_step>.mp4)"),
    ] = None
    """The MP4 file; an existing one is replaced."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to film, in agent steps."""
    steps: int = 1000
    """Agent steps to play; each is one frame of the film."""
    protocol: Literal["aligned", "paper"] = "aligned"
    """Receptive fields through which attention is drawn. aligned: the true ones; paper: those published."""
    seed: int = 1000
    """Seed of the game and of the sampled actions."""
    fps: int = 15
    """Frames a second; 15 is the speed of the game."""
    greedy: bool = False
    """Take the most probable action instead of sampling."""
    relative: Literal["none", "mean", "background"] = "none"
    """Draw the attention minus its mean over the clip, or minus its value on the most frequent patch."""
    map_only: bool = False
    """Show the map alone beside the game."""
    attention: Annotated[str, tyro.conf.arg(metavar="NAME")] = "trained"
    """Map that multiplies the features: trained, mean, uniform, shuffled, other, constant:V."""
    method: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD [METHOD ...]")] = ("attention",)
    """Saliency methods to draw, side by side; docs/saliency.md lists them."""


@dataclass(frozen=True)
class Gaze:
    """Score agents' saliency, and controls, against human gaze from Atari-HEAD.

    Results are in RUN/gaze/<protocol>-<space>/. The same command keeps the trials already scored.
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(one or more)"),
        tyro.conf.Positional,
    ]
    """Folders of the runs, or folders that hold runs."""
    atari_head: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of Atari-HEAD, either release, as downloaded or unpacked."""
    trials: Annotated[
        tuple[int, ...], tyro.conf.arg(metavar="N [N ...]", help_behavior_hint="(default: all)")
    ] = ()
    """Numbers of the trials to score; the game's other trials contribute only their gaze, to the controls."""
    protocol: Annotated[
        Literal["aligned", "paper", "both"] | None,
        tyro.conf.arg(
            metavar="{aligned,paper,both}", help_behavior_hint="(default: aligned; with --out both)"
        ),
    ] = None
    """aligned: correct; paper: as published, with gaze one frame early."""
    space: Literal["screen", "input"] = "screen"
    """Compare on the 210x160 screen, or on the agent's 84x84 input."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to score, in agent steps."""
    methods: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="METHOD [METHOD ...]", help_behavior_hint="(default: attention)"),
    ] = ()
    """Saliency methods to score in addition to attention (docs/saliency.md), or all."""
    controls: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: all controls)")] = True
    """Leave out the controls, for speed."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(optional)")] = None
    """Write the study over all runs here: mean and std over seeds beside the paper's figures. Results of run
    folders that cannot be written also go here."""
    video: bool = False
    """Film every trial with its gaze and saliency: RUN/video/<env_step>-gaze-<trial>.mp4."""
    fresh: bool = False
    """Score again; earlier results are renamed to <name>.old-<n>."""
    trial_filter: Annotated[TrialFilter, tyro.conf.arg(name="")] = field(default_factory=TrialFilter)


@dataclass(frozen=True)
class Saliency:
    """Compare saliency methods on an agent's own frames: faithfulness, objects, sanity, sparsity, cost.

    Results are in RUN/saliency/<env_step>-<frames>-<seed>/. The same command adds what is missing.
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(one or more)"),
        tyro.conf.Positional,
    ]
    """Folders of the runs, or folders that hold runs."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD [METHOD ...]")] = ("all",)
    """Saliency methods (docs/saliency.md), or all."""
    targets: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET [TARGET ...]")] = ("action",)
    """Output to explain: action (the most probable), policy, value, an action's name or number."""
    frames: int = 500
    """Frames of the agent's own games."""
    faithful: int = 100
    """How many of these frames insertion, deletion and erasure use; each takes hundreds of passes."""
    frames_from: Annotated[
        Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: each run its own)")
    ] = None
    """Run whose agent plays the frames for all runs."""
    highlights: bool = False
    """Use frames where the choice of the action matters most, each different from the others."""
    seed: int = 1000
    """Seed of the games from which the frames are taken."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to explain, in agent steps."""
    every_checkpoint: bool = False
    """Explain every kept checkpoint on the same frames: RUN/saliency/over-training-<frames>-<seed>/."""
    fresh: bool = False
    """Measure again; earlier results are renamed to <name>.old-<n>."""


@dataclass(frozen=True)
class Report:
    """Make one HTML file about trained agents: curves, tables, and clips of play with saliency.

    The file opens from disk, offline. If the output is a folder (`-o site/`), it holds one page per game and
    an index.
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(one or more)"),
        tyro.conf.Positional,
    ]
    """Folders of the runs, or folders that hold runs."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=("-o",))] = Path("report.html")
    """The .html file, or a folder for one page per game; existing files are replaced."""
    steps: int = 900
    """Agent steps that each agent plays (15 per second of game time). 0: only records, no player."""
    seed: int = 1000
    """Seed of the games and of the sampled actions."""
    greedy: bool = False
    """Take the most probable action instead of sampling."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD [METHOD ...]")] = ("attention",)
    """Saliency methods whose maps are recorded, docs/saliency.md lists them."""
    targets: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET [TARGET ...]")] = ("action",)
    """What these explain: action (each frame's most probable), policy, value; one map each."""
    atari_head: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Atari-HEAD: the agents look at a person's trial too, and its gaze is shown."""
    trials: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N [N ...]")] = ()
    """Trials of Atari-HEAD; default: the first of each game."""
    records: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR [DIR ...]")] = ()
    """Folders with the records of runs that have none themselves, as shipped agents."""
    make: bool = False
    """First make missing results: evaluations, replaced attention, saliency methods, gaze."""
    games: int = 32
    """Whole games of an evaluation that --make plays."""


Command = (
    Train
    | Evaluate
    | Video
    | Gaze
    | Saliency
    | Report
    | AtariHead
    | Sync
    | ImportBaselines
    | Games
    | Networks
)
