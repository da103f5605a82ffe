"""Writes the trainings of a grid as a W&B sweep."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.data.grid import Experiment, product
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError

_AXES = ("game", "network", "seed")


def sweep(experiment: Experiment) -> dict[str, Any]:
    """The sweep's configuration: all combinations of game, network and seed, each run by `fls train`.

    Agents write their runs to runs/<Game>/<network>/seed<k>. Raises UserError if the experiment does not have
    all combinations of its games, networks and seeds.
    """
    values = {name: list(dict.fromkeys(getattr(cell, name) for cell in experiment.cells)) for name in _AXES}
    if set(product(*values.values())) != set(experiment.cells):
        raise UserError(
            f"A sweep is every combination of its values, and {experiment.name} is not: give --games, "
            "--networks and --seeds."
        )
    config = experiment.config(experiment.cells[0])
    fixed = {
        field.name: {"value": getattr(config, field.name)}
        for field in dataclasses.fields(config)
        if field.name not in _AXES and getattr(config, field.name) != getattr(TrainConfig(), field.name)
    }
    return {
        "name": experiment.name,
        "method": "grid",
        "parameters": {name: {"values": value} for name, value in values.items()} | fixed,
        "command": ["${env}", "python", "-m", "fls_jax", "train", "${args_no_boolean_flags}"],
    }


def write_sweep(experiment: Experiment, path: Path) -> None:
    """Write the sweep as JSON, which is valid YAML. Raises UserError if it cannot be written."""
    text = json.dumps(sweep(experiment), indent=2) + "\n"
    try:
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another place.") from error
