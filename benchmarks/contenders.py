"""The trainers that are compared with ours: settings, commands, and one run of one of them."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.peer_results import OURS, Report, Track, parse_report
from fls_jax.errors import UserError
from fls_jax.process.allocator import Allocator, environment

ROOT = Path(__file__).resolve().parents[1]
STEPS = 128  # of every environment, between two updates
OURS_COMMAND = (
    ".venv/bin/python -m benchmarks.end_to_end --game {game} --network {network} --num-envs {num_envs} "
    "--updates {updates} --warmup-updates {warmup_updates}"
)
PEER_COMMAND = (
    "{peers_python} -m benchmarks.peers.{script} --game {game} --network {network} --num-envs {num_envs} "
    "--updates {updates} --warmup-updates {warmup_updates}"
)
Network = Literal["cnn", "cnn_sparse_fls"]


@dataclass(frozen=True)
class Settings:
    """Measure our trainer and its peers in alternation, end to end."""

    game: str = "Pong"
    """game, as EnvPool spells it"""
    networks: tuple[Network, ...] = ("cnn", "cnn_sparse_fls")
    """networks to measure; Stable-Baselines3 and SBX have only the first"""
    num_envs: int = 8
    """games played in parallel"""
    updates: int = 4
    """timed updates of every trainer in every round (1024 steps each with 8 games)"""
    warmup_updates: int = 1
    """updates before those, not timed (compilation)"""
    allocators: tuple[Allocator, ...] = ("tuned", "default")
    """memory settings under which every trainer is run, ours and the peers alike"""
    rounds: int = 3
    """times that every trainer is run"""
    ours_command: str = OURS_COMMAND
    """command of our trainer; names in braces are filled in"""
    output: Path = ROOT / "benchmarks" / "results" / "peers.json"
    """file of the record; until it is complete, `<name>.partial.json`"""
    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 1800.0
    """time limit of one run of one trainer, in seconds"""
    peers_venv: Path = ROOT / ".venv-peers"
    """the peers' virtual environment; created if missing"""
    markdown: bool = False
    """also print the table as Markdown"""


@dataclass(frozen=True)
class Contender:
    """A trainer on a network, and how it is run."""

    track: Track
    command: str


def contenders(settings: Settings) -> list[Contender]:
    """Ours and the peers for every network and allocator asked for, with their commands filled in.

    Raises:
        UserError: our command has an unknown name in braces.
    """
    torch, layout, sbx = (
        "plain PyTorch, NCHW",
        "plain PyTorch, NHWC",
        "two networks, trained in turn: more work",
    )
    peers = {
        "cnn": (
            ("pytorch", "pytorch_ppo", True, torch),
            ("stable-baselines3", "sb3_ppo", True, "PyTorch, its own CnnPolicy"),
            ("pytorch channels_last", "pytorch_ppo --channels-last", False, layout),
            ("sbx", "sbx_ppo", False, sbx),
        ),
        "cnn_sparse_fls": (
            ("pytorch", "pytorch_ppo", True, torch),
            ("pytorch channels_last", "pytorch_ppo --channels-last", False, layout),
        ),
    }
    values = asdict(settings) | {"peers_python": _relative(settings.peers_venv / "bin" / "python")}
    result = []
    for network, allocator in product(settings.networks, settings.allocators):
        values["network"] = network
        try:
            command = settings.ours_command.format_map(values)
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(
                f"--ours-command cannot be filled in ({error}): {settings.ours_command!r}. The names are "
                "{game}, {network}, {num_envs}, {updates} and {warmup_updates}."
            ) from error
        result.append(Contender(Track(OURS, network, allocator=allocator), command))
        for name, script, yardstick, note in peers[network]:
            script, _, options = script.partition(" ")
            command = f"{PEER_COMMAND.format_map(values | {'script': script})} {options}".strip()
            result.append(Contender(Track(name, network, yardstick, note, allocator), command))
    return result


def run(command: str, settings: Settings, network: str, allocator: Allocator = "default") -> Report:
    """Run one trainer to its end in the project's folder, under these memory settings.

    Raises:
        ValueError: it could not be started, failed, took too long or did other work; see the message.
    """
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=ROOT,
            env=environment(allocator),
            capture_output=True,
            text=True,
            timeout=settings.timeout,
        )
    except OSError as error:
        raise ValueError(f"it cannot be started ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"it took longer than {settings.timeout:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"exit code {done.returncode}: {last.replace(f'{ROOT}{os.sep}', '')}")
    return parse_report(
        done.stdout,
        network=network,
        updates=settings.updates,
        steps_per_update=settings.num_envs * STEPS,
        allocator=allocator,
    )


def _relative(path: Path) -> str:
    """The path relative to the project's folder, without resolving links."""
    return os.path.relpath(path, ROOT)


def check(settings: Settings) -> None:
    """Raise UserError for impossible settings."""
    for name, least in (
        ("num_envs", 1),
        ("updates", 1),
        ("warmup_updates", 0),
        ("rounds", 1),
        ("timeout", 1),
    ):
        value = getattr(settings, name)
        if not value >= least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give {least} or more.")
    for name in ("networks", "allocators"):
        value = getattr(settings, name)
        if not value or len(set(value)) < len(value):
            raise UserError(f"--{name} is {value}; give at least one, each once.")
