"""Ships a trained agent: its configuration, one checkpoint's parameters, and a model card.

    python -m experiments.commands.ship runs/Pong/cnn_sparse_fls/seed1

writes experiments/pretrained/Pong/cnn_sparse_fls/, which every command except training accepts as a
run. Parameters are rounded to float16, which halves the size; the card states how much that changes the
policy. What was measured since then is added from the run's record, whose checkpoints may be gone:

    python -m experiments.commands.ship experiments/results/pilot/Pong/cnn_sparse_fls/seed1 --update
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy.special import log_softmax

from experiments.commands.command_line import print_folder, run_command
from experiments.pages.cards import model_card
from fls_jax.agent import Agent, load_agent
from fls_jax.atari.pool import AtariPool
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.checkpoints import load_item, save_item
from fls_jax.runs.contents import (
    attention_tables,
    evaluation_files,
    last_step,
    read_evaluation,
    read_sessions,
)
from fls_jax.runs.files import replacing, write_whole
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import read_record
from fls_jax.train.preparation import resolve

HOME = Path(__file__).resolve().parents[1] / "pretrained"
_EVALUATED = (
    "environment", "protocol", "num_envs", "games_per_env", "seed", "greedy", "max_episode_steps",
    "sticky_actions", "summary", "versions", "commit", "machine",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Make a folder with a run's agent for inference only, with a model card."""

    run: Annotated[Path, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a finished and evaluated run."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to take, in agent steps."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """Folder of the shipped agents; this one goes to <Game>/<network>/ in it."""
    unfinished: bool = False
    """Also accept a checkpoint before the training's end; the card then says so."""
    replace: bool = False
    """Replace an existing agent of that game and network."""
    update: bool = False
    """Only add the run's present evaluations and tables to the shipped agent's configuration and card."""


def ship(settings: Settings) -> Path:
    """Write the folder atomically; returns it. Raises UserError for errors that the user can correct."""
    if settings.update:
        return update(settings)
    agent = load_agent(settings.run, settings.step)  # an agent that cannot be loaded is not shipped
    folder = RunFolder(settings.run)
    config = folder.read_config()
    for kind in ("imported", "pretrained"):
        if kind in config:
            raise UserError(f"{settings.run} holds an agent that was {kind}, not trained here: name its run.")
    facts = _facts(folder, config, agent.step, settings.unfinished)
    target = settings.out / agent.game / agent.config.variant
    if target.exists() and not settings.replace:
        raise UserError(f"{target} exists: give --replace to put this agent in its place, or another --out.")
    facts["rounding"] = rounding(agent)
    with replacing(target) as part:
        _write(part, folder, config | {"pretrained": facts}, agent.step)
        load_agent(part)
    return target


def update(settings: Settings) -> Path:
    """Write configuration and card of the shipped agent anew, from what its run's record holds now."""
    folder = RunFolder(settings.run)
    run = folder.read_config()
    train = resolve(TrainConfig.from_json(run, str(folder.config_file)))
    target = settings.out / train.game / train.variant
    shipped = RunFolder(target).read_config()
    if any(shipped.get(name) != value for name, value in run.items()) or "pretrained" not in shipped:
        raise UserError(f"{target} is no agent of {settings.run}: their configurations differ.")
    before = shipped["pretrained"]
    facts = _facts(folder, run, before["env_step"], unfinished=True)
    config = run | {"pretrained": facts | {"rounding": before["rounding"]}}
    write_whole(target / "README.md", model_card(config))
    write_whole(target / "config.json", json.dumps(config, indent=2) + "\n")
    return target


def _facts(folder: RunFolder, config: dict[str, Any], step: int, unfinished: bool) -> dict[str, Any]:
    """The card's data that are not in config.json: the training's progress, all evaluations of this step."""
    end = last_step(config, str(folder.config_file))
    if step < end and not unfinished:
        raise UserError(
            f"{folder.path} is at step {step:,} of {end:,}: train it to its end, or give --unfinished, which "
            "the card then says."
        )
    evaluations = []
    for path in evaluation_files(folder):
        if read_evaluation(path).env_step == step:
            content = json.loads(path.read_text())
            evaluations.append({name: content.get(name) for name in _EVALUATED})
    evaluations.sort(key=lambda each: each["environment"] != config["game"] or bool(each["greedy"]))
    if not evaluations or evaluations[0]["environment"] != config["game"] or evaluations[0]["greedy"]:
        raise UserError(
            f"{folder.path} has no evaluation of step {step:,} with sampled actions: run `fls evaluate "
            f"{folder.path} --step {step}` first."
        )
    rows = [row for row in read_record(folder.record_file) if row["env_step"] <= step]
    last = rows[-1] if rows and rows[-1]["env_step"] == step else {}
    return {
        "env_step": step,
        "last_step": end,
        "seconds_total": last.get("seconds_total"),
        "eprewmean": last.get("eprewmean"),
        "attention_mean": last.get("attention_mean"),
        "sessions": [row for row in read_sessions(folder, config) if row["env_step"] < step],
        "evaluations": evaluations,
        "attention": [each for each in attention_tables(folder) if each["env_step"] == step],
    }


def _write(part: Path, folder: RunFolder, config: dict[str, Any], step: int) -> None:
    """Write config.json, the card, and the checkpoint's `params` as float16."""
    part.mkdir()
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (part / "README.md").write_text(model_card(config))
    params = load_item(folder.checkpoints, step, "params")
    save_item(part / "checkpoints", step, "params", cast_floats(params, np.float16))


def cast_floats(tree: Any, dtype: Any) -> Any:
    """Cast a pytree's floating-point arrays of up to 32 bits to `dtype`."""

    def cast(x: np.ndarray) -> np.ndarray:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) and x.itemsize <= 4 else x

    return jax.tree.map(cast, tree)


def rounding(agent: Agent) -> dict[str, Any]:
    """How much float16 parameters change the agent's policy, on frames of its game under random actions.

    kl: mean and maximum over the frames of KL(policy || rounded policy), in nats. same_action: the share of
    frames whose most probable action stays.
    """
    frames = _frames(agent.game, len(agent.actions))
    rounded = Agent(
        agent.config,
        cast_floats(cast_floats(jax.device_get(agent.params), np.float16), np.float32),
        agent.step,
        agent.actions,
        agent.preprocessing,
    )
    before, after = (np.asarray(each(frames).logits, float) for each in (agent, rounded))
    log_p, log_q = log_softmax(before, axis=1), log_softmax(after, axis=1)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return {
        "dtype": "float16",
        "frames": len(frames),
        "kl_mean": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same_action": float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
    }


@lru_cache(maxsize=1)
def _frames(game: str, num_actions: int, steps: int = 64, num_envs: int = 8) -> np.ndarray:
    """Observations uint8 [steps * num_envs, 84, 84, 4] of a game under uniformly random actions."""
    pool = AtariPool(game, num_envs, seed=0)
    random = np.random.default_rng(0)
    actions = random.integers(0, num_actions, (steps - 1, num_envs))
    seen = [pool.reset().copy(), *(pool.step(now).observations.copy() for now in actions)]
    pool.close()
    return np.moveaxis(np.concatenate(seen), 1, -1)


def main() -> int:
    """The command line."""
    return run_command("ship", Settings, lambda settings: print_folder(ship(settings)))


if __name__ == "__main__":
    sys.exit(main())
