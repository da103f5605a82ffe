"""A trained agent for others: its configuration, one checkpoint's parameters, and a card about it.

    python -m experiments.commands.ship runs/Pong/cnn_sparse_fls/seed1

writes experiments/pretrained/Pong/cnn_sparse_fls/, a folder that whatever takes a run takes, training apart.
The same run gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.analysis.runs import read_sittings
from experiments.commands.command_line import print_folder, run_command
from experiments.pages.cards import model_card
from fls_jax.agent import load_agent
from fls_jax.errors import UserError
from fls_jax.runs.contents import evaluation_files, last_step, read_evaluation
from fls_jax.runs.files import replacing
from fls_jax.runs.folder import RunFolder
from fls_jax.runs.record import read_record

HOME = Path(__file__).resolve().parents[1] / "pretrained"
_EVALUATED = (
    "environment", "protocol", "num_envs", "games_per_env", "seed", "greedy", "max_episode_steps",
    "sticky_actions", "summary", "versions", "commit", "machine",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Make a folder for inference only, with a model card, of a run's agent."""

    run: Annotated[Path, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of the run, which is finished and evaluated."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: the latest)")] = None
    """Checkpoint to take, in agent steps."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = HOME
    """Where pretrained agents lie; this one goes to <Game>/<network>/ in it."""
    unfinished: bool = False
    """Take a checkpoint before the training's end too; the card then says so."""
    replace: bool = False
    """Replace the agent of that game and network that is there."""


def ship(settings: Settings) -> Path:
    """Write the folder, whole or not at all; returns it. UserError for what the user can put right."""
    agent = load_agent(settings.run, settings.step)  # what cannot be loaded is not shipped
    folder = RunFolder(settings.run)
    config = folder.read_config()
    for kind in ("imported", "pretrained"):
        if kind in config:
            raise UserError(f"{settings.run} holds an agent that was {kind}, not trained here: name its run.")
    facts = _facts(folder, config, agent.step, settings.unfinished)
    target = settings.out / agent.game / agent.network
    if target.exists() and not settings.replace:
        raise UserError(f"{target} exists: give --replace to put this agent in its place, or another --out.")
    with replacing(target) as part:
        _write(part, folder, config | {"pretrained": facts}, agent.step)
        load_agent(part)
    return target


def _facts(folder: RunFolder, config: dict[str, Any], step: int, unfinished: bool) -> dict[str, Any]:
    """What the card says beside config.json: how far the training was, and all evaluations of this step."""
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
        "sittings": [row for row in read_sittings(folder, config) if row["env_step"] < step],
        "evaluations": evaluations,
    }


def _write(part: Path, folder: RunFolder, config: dict[str, Any], step: int) -> None:
    """config.json, the card, and the checkpoint's `params` byte by byte."""
    part.mkdir()
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (part / "README.md").write_text(model_card(config))
    place = Path("checkpoints") / str(step) / "params"
    copy_item(folder.path / place, part / place)


def copy_item(source: Path, target: Path) -> None:
    """Copy an item of a checkpoint, but for the file that says where it was saved to; nothing reads that."""
    shutil.copytree(
        source, target, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("commit_success.txt")
    )


def main() -> int:
    """The command line."""
    return run_command("ship", Settings, lambda settings: print_folder(ship(settings)))


if __name__ == "__main__":
    sys.exit(main())
