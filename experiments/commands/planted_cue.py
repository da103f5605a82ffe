"""Trains an agent on a planted cue, and asks every saliency method where it looks.

    python -m experiments.commands.planted_cue

writes experiments/results/planted_cue/: scores.csv, and summary.json with the training.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from experiments.analysis.planted import CORNER, CuePool, play, score_methods
from experiments.commands.command_line import print_folder, run_command
from fls_jax.agent import Agent
from fls_jax.atari.emulator import action_names
from fls_jax.atari.pool import games
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.environments import environment_seeds
from fls_jax.ppo.trainer import Trainer
from fls_jax.process.display import ProgressDisplay
from fls_jax.runs.files import part_of, write_whole
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.saliency import METHODS
from fls_jax.train.preparation import resolve

HOME = Path(__file__).resolve().parents[1] / "results" / "planted_cue"
PLAYED = 1000
"""Added to the training's seed: the frames are of games that it never saw."""


@dataclass(frozen=True)
class Settings:
    """Train an agent whose reward is written into a corner, and measure where every method looks."""

    game: str = "Breakout"
    """A game with four actions."""
    network: str = "cnn_patch_fls"
    """Network by its published name."""
    seed: int = 1
    """Seed of the training."""
    total_steps: int = 24_576
    """Agent steps of the training."""
    frames: int = 64
    """Frames on which the methods are compared."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """Folder of the record."""


def configuration(settings: Settings) -> TrainConfig:
    """PPO as for Atari but for the discount, because a cue is worth one step, and shorter rollouts."""
    return resolve(
        TrainConfig(
            game=settings.game,
            network=settings.network,
            seed=settings.seed,
            total_steps=settings.total_steps,
            rollout_length=32,
            gamma=0.0,
            learning_rate=1e-3,
        )
    )


def train(config: TrainConfig) -> tuple[Agent, list[dict[str, float]]]:
    """The trained agent, and for every update the share of cues followed in the last 100 games."""
    trainer, curve = Trainer(config, make_pool=CuePool), []
    with ProgressDisplay(f"{config.game}, {config.network}, planted cue", config.total_steps) as display:
        for _ in range(config.num_updates):
            row = trainer.advance()
            if row["episodes"]:
                share = row["eprewmean"] / row["eplenmean"]
                curve.append({"env_step": row["env_step"], "followed": round(share, 4)})
            display.count(int(row["env_step"]), "steps")
    params, _ = trainer.checkpoint()
    trainer.close()
    agent = Agent(
        config, jax.device_get(params), trainer.env_step, action_names(games()[config.game]), "envpool"
    )
    return agent, curve


def planted_cue(settings: Settings) -> Path:
    """Train, measure and write; returns the folder. Raises UserError if the agent did not learn the cue."""
    config = configuration(settings)
    agent, curve = train(config)
    pool = CuePool(config, [seed + PLAYED for seed in environment_seeds(config, config.seed)])
    observations, played, followed = play(agent, pool, settings.frames)
    pool.close()
    if followed < 0.95:
        raise UserError(
            f"The agent follows {followed:.0%} of the cues after {config.total_steps:,} steps, so that where "
            "it looks proves nothing: raise --total-steps."
        )
    agents = {"trained": agent, "untrained": agent.untrained(config.seed + PLAYED)}
    methods = [m for m in METHODS if agent.spec.attention is not None or METHODS[m].family != "attention"]
    table = score_methods(agents, methods, observations, played)
    settings.out.mkdir(parents=True, exist_ok=True)
    with part_of(settings.out / "scores.csv") as part:
        table.to_csv(part, index=False, float_format="%.4g")
    summary = {
        "config": asdict(config),
        "cues_followed": round(followed, 4),
        "corner": CORNER,
        "frames": len(observations),
        "curve": curve[:: max(1, len(curve) // 32)],
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    write_whole(settings.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    return settings.out


def main() -> int:
    """Run the command; see run_command for the exit codes."""
    return run_command("planted_cue", Settings, lambda settings: print_folder(planted_cue(settings)))


if __name__ == "__main__":
    sys.exit(main())
