"""Shared by all peers: the command line, the games, the hyper-parameters and the JSON line at the end.

This runs in the peers' own virtual environment, so it does not import this project's package.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import envpool

STEPS = 128  # of every environment, between two updates
EPOCHS = 4
MINIBATCHES = 4
GAMMA = 0.99
GAE_LAMBDA = 0.95
LEARNING_RATE = 2.5e-4
ADAM_EPSILON = 1e-5
CLIP_RANGE = 0.1
VALUE_COEFFICIENT = 0.5
ENTROPY_COEFFICIENT = 0.01
MAX_GRADIENT_NORM = 0.5
TOTAL_STEPS = 50_000_000  # sets the slope of the learning rate, not how long a benchmark runs


class Arguments(NamedTuple):
    """The command line of a peer."""

    game: str
    network: str
    channels_last: bool
    num_envs: int
    updates: int
    warmup_updates: int
    seed: int
    device: str


def parse_arguments(
    description: str, networks: Sequence[str] = ("cnn",), *, channels_last_option: bool = False
) -> Arguments:
    """Read the command line. An impossible value ends the program with a message and exit code 2."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--game", default="Pong", help="as EnvPool spells it")
    parser.add_argument("--network", default="cnn", choices=networks, help="published name of the network")
    parser.add_argument("--num-envs", type=int, default=8, help="games played in parallel")
    parser.add_argument("--updates", type=int, default=4, help="timed updates")
    parser.add_argument("--warmup-updates", type=int, default=1, help="updates before those, not timed")
    parser.add_argument("--seed", type=int, default=1, help="of the games and of the network")
    if channels_last_option:
        parser.add_argument("--channels-last", action="store_true", help="NHWC in memory instead of NCHW")
        parser.add_argument("--device", default="cpu", help="PyTorch's name of the device: cpu, cuda")
    options = vars(parser.parse_args())
    for name, least in (("num_envs", 1), ("updates", 1), ("warmup_updates", 0), ("seed", 0)):
        if options[name] < least:
            parser.error(f"--{name.replace('_', '-')} is {options[name]}; give {least} or more.")
    if f"{options['game']}-v5" not in envpool.list_all_envs():
        parser.error(f"--game is {options['game']!r}, which EnvPool does not have; try Pong or Breakout.")
    options.setdefault("channels_last", False)
    options.setdefault("device", "cpu")
    return Arguments(**options)


def make_games(arguments: Arguments) -> Any:
    """EnvPool's games with 'NoFrameskip-v4' behaviour, lives as episodes, rewards clipped to their sign."""
    return envpool.make_gymnasium(
        f"{arguments.game}-v5",
        num_envs=arguments.num_envs,
        seed=arguments.seed,
        episodic_life=True,
        reward_clip=True,
        use_fire_reset=True,
        noop_max=30,
        repeat_action_probability=0.0,
    )


def learning_rate(update: int, num_envs: int) -> float:
    """Rate of update number `update`, counted from 1: it falls linearly to zero over `TOTAL_STEPS`."""
    return LEARNING_RATE * (1.0 - (update - 1) / (TOTAL_STEPS // (num_envs * STEPS)))


def show_progress(update: int, arguments: Arguments, seconds: float) -> None:
    """One line on stderr per update; stdout is kept for the JSON line."""
    total = arguments.warmup_updates + arguments.updates
    rate = arguments.num_envs * STEPS / seconds
    kind = " (warm-up)" if update <= arguments.warmup_updates else ""
    print(f"update {update}/{total}{kind}: {seconds:.2f} s, {rate:.0f} steps/s", file=sys.stderr, flush=True)


def print_report(
    peer: str,
    arguments: Arguments,
    seconds_per_update: Sequence[float],
    packages: Sequence[str],
    *,
    parameters: int,
    losses: Mapping[str, float],
) -> None:
    """Print the JSON line that `benchmarks/bench_peers.py` reads; exit code 1 if a loss is not finite.

    Args:
        peer: the peer's name in tables.
        arguments: the command line.
        seconds_per_update: wall-clock seconds of every update, rollout and all, warm-up included.
        packages: distributions whose versions are recorded.
        parameters: number of trained parameters.
        losses: means over the last update, as evidence that it trained.
    """
    broken = [f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        sys.exit(f"{peer} diverged, so its speed means nothing: {', '.join(broken)}.")
    report = {
        "peer": peer,
        "network": arguments.network,
        "device": arguments.device,
        "seconds_per_update": list(seconds_per_update[arguments.warmup_updates :]),
        "steps_per_update": arguments.num_envs * STEPS,
        "allocator": os.environ.get("FLS_ALLOCATOR", "default"),
        "versions": {name: version(name) for name in ("envpool", "numpy", *packages)},
        "parameters": parameters,
        "losses": dict(losses),
    }
    print(json.dumps(report), flush=True)
