"""The same frames through every kept checkpoint of a run: how the numbers of each method went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fls_jax.benchmark.figures import write_image
from fls_jax.benchmark.plot import Series, lines
from fls_jax.benchmark.results import REFERENCES, UNTRAINED, write_tables

DRAWN = ("insertion_blurred_probability", "deletion_blurred_probability", "effective_area", "lift:")
"""Metrics that are drawn; `lift:` for each kind of object."""


def write_over_training(folder: Path, sets: dict[int, Path], target: str) -> pd.DataFrame:
    """Write the tables of a run's checkpoints as one, over_training.csv and .parquet, and the figures.

    sets: folders of results by env_step. The columns are `env_step` and those of scores.csv.
    """
    tables = [pd.read_csv(sets[step] / "scores.csv").assign(env_step=step) for step in sorted(sets)]
    table = pd.concat(tables, ignore_index=True)
    table = table[["env_step", *(name for name in table.columns if name != "env_step")]]
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, table, "over_training")
    own = table[~table.agent.str.endswith(UNTRAINED) & ~table.method.str.contains(" - ", regex=False)]
    own = own[(own.target == target) & np.isfinite(own.value)]
    name = own.agent.iloc[0].rpartition("/")[0]
    for metric, rows in own.groupby("metric", sort=False):
        if str(metric).startswith(DRAWN):
            series: Series = {
                str(method): (each.env_step.to_numpy(float), each.value.to_numpy(float))
                for method, each in rows.groupby("method", sort=False)
            }
            picture = lines(series, f"{name}: {metric}, target {target}", "env_step", REFERENCES)
            write_image(folder / f"{str(metric).replace(':', '-')}.png", picture)
    return table
