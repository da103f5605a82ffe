"""Provenance: the commands that reproduce each number, from the stored options."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from typing import Any

from fls_jax.config import TrainConfig
from fls_jax.networks.specs import NETWORKS
from fls_jax.networks.summary import describe
from fls_jax.report.page import shown
from fls_jax.report.sources import Source
from fls_jax.runs.contents import Evaluation, shipped_sessions

_COMPARISON = re.compile(r"([0-9]+)-([0-9]+)-([0-9]+)")
_SESSION = ("env_step", "commit", "versions", "machine", "backend")


def agent_record(run: Source, name: str, label: str) -> dict[str, Any]:
    """An agent's entry in the document. name: its id there."""
    spec = NETWORKS.get(run.config.network)
    actions = run.details.get("action_names")
    return {
        "id": name,
        "label": label,
        "path": shown(run.path),
        "game": run.game,
        "network": run.network,
        "seed": run.config.seed,
        "env_step": run.env_step,
        "total_steps": run.config.total_steps,
        "description": describe(spec) if spec else "a network that is not known here",
        "actions": [shown(action) for action in actions] if isinstance(actions, list) else [],
        "config": {key: _words(value) for key, value in dataclasses.asdict(run.config).items()},
        "sessions": [{key: row[key] for key in _SESSION if key in row} for row in _sessions(run)],
        "commands": commands(run),
    }


def _sessions(run: Source) -> list[dict[str, Any]]:
    return shipped_sessions(run.details.get("pretrained") or {}) or run.sessions


def commands(run: Source) -> list[dict[str, str]]:
    """{what, command} for the training and every result: evaluations, replaced attention, gaze, saliency."""
    found = [{"what": "training", "command": shown(train_command(run.config))}]
    found += [
        {"what": f"evaluation, {each.mode}", "command": shown(evaluate_command(run, each))}
        for each in run.evaluations
    ]
    for summary in run.gaze:
        words = ["fls", "gaze", str(run.path), "--atari-head", "DIR", "--protocol", summary["protocol"]]
        words += ["--space", summary["space"], "--step", str(summary["env_step"])]
        found.append({"what": f"gaze, {summary['protocol']}", "command": shown(shlex.join(words))})
    found += [
        {"what": "replaced attention", "command": shown(attention_command(run, content))}
        for content in run.attention
    ]
    for name, scores in run.saliency.items():
        if match := _COMPARISON.fullmatch(name):
            methods = [each for each in dict.fromkeys(scores["method"]) if " - " not in each]
            step, frames, seed = match.groups()
            words = ["fls", "saliency", str(run.path), "--step", step, "--frames", frames, "--seed", seed]
            faithful = scores.attrs.get("faithful")
            words += ["--faithful", str(faithful)] if faithful else []
            words += ["--methods", *methods, "--targets", *dict.fromkeys(scores["target"])]
            found.append({"what": f"saliency, {name}", "command": shown(shlex.join(words))})
    return found


def attention_command(run: Source, content: dict[str, Any]) -> str:
    """The command that plays the games with replaced attention again; content: of the table's file."""
    words = ["fls", "evaluate", str(run.path), "--step", str(content["env_step"])]
    for name in ("num_envs", "games_per_env", "protocol", "seed"):
        if name in content:
            words += [f"--{name.replace('_', '-')}", str(content[name])]
    words += ["--greedy"] if content.get("greedy") else []
    return shlex.join([*words, "--attention", *content["replacements"]])


def train_command(config: TrainConfig) -> str:
    """The command of this training, without options at their defaults."""
    words = ["fls", "train", "--game", config.game, "--network", config.network, "--seed", str(config.seed)]
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if each.name in ("game", "network", "seed") or value == each.default:
            continue
        flag = f"--{each.name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def evaluate_command(run: Source, evaluation: Evaluation) -> str:
    """The command that repeats this evaluation."""
    content = json.loads(evaluation.path.read_text())
    words = ["fls", "evaluate", str(run.path), "--step", str(evaluation.env_step)]
    for name in ("num_envs", "games_per_env", "protocol", "seed"):
        if name in content:
            words += [f"--{name.replace('_', '-')}", str(content[name])]
    words += ["--greedy"] if content.get("greedy") else []
    words += ["--infinite-breakout"] if content.get("infinite_breakout") else []
    return shlex.join(words)


def _words(value: object) -> object:
    return shown(value) if isinstance(value, str) else value
