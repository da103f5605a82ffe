"""The same frames through every checkpoint of a run."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from fls_jax import load_agent
from fls_jax.benchmark.frames import load_frames
from fls_jax.benchmark.job import compare
from fls_jax.benchmark.shape import gini
from tests.oracles import networks as oracle
from tests.run_folders import ACTIONS, add_checkpoint, write_run


def test_every_checkpoint_sees_the_frames_that_the_latest_plays(tmp_path):
    """Two checkpoints, one table by env_step, whose numbers are each agent's own on the same frames."""
    write_run(tmp_path, "cnn", "Pong", step=32)
    other = oracle.random_parameters("cnn", len(ACTIONS["Pong"]), np.random.default_rng(5))
    add_checkpoint(tmp_path, 64, other)
    *sets, over = compare([tmp_path], ["gradient"], frames=8, faithful=1, every_checkpoint=True)
    assert [path.name for path in sets] == ["32-8-1000-of-cnn-64", "64-8-1000"]
    assert over == tmp_path / "saliency" / "over-training-8-1000"
    seen = [load_frames(path / "frames.npz").observations for path in sets]
    np.testing.assert_array_equal(*seen)
    table = pd.read_csv(over / "over_training.csv")
    assert list(table)[:3] == ["env_step", "agent", "method"]
    pd.testing.assert_frame_equal(pd.read_parquet(over / "over_training.parquet"), table, rtol=1e-4)
    found = table[(table.method == "gradient") & (table.metric == "gini")]
    for step in (32, 64):
        own = found[(found.env_step == step) & (found.agent == f"Pong/cnn/{step}")]
        expected = gini(load_agent(tmp_path, step).saliency(seen[0], "gradient")).mean()
        np.testing.assert_allclose(own.value, expected, rtol=1e-4)
    figures = {path.stem for path in over.glob("*.png")}
    assert {"effective_area", "deletion_blurred_probability", "insertion_blurred_probability"} <= figures
    assert cv2.imread(str(over / "effective_area.png")).shape == (560, 1100, 3)
