"""The saliency benchmark: its parts really run, small, and what it compares computes the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import saliency as benchmark
from benchmarks.gaze_data import write_run
from fls_jax import load_agent
from fls_jax.saliency import METHODS
from fls_jax.saliency.perturbation import grid

NETWORK = "cnn_sparse_fls_pool"


def test_the_loop_and_ours_compute_the_same(tmp_path, rng):
    agent = load_agent(write_run(tmp_path / "run", NETWORK))
    frame = rng.integers(0, 256, (84, 84, 4), dtype=np.uint8)
    ours = agent.saliency(frame[None], "greydanus", "value")[0]
    theirs = benchmark.one_pass_at_a_time(agent, frame)
    points = grid(84, 5)
    near = np.ix_(points.astype(int), points.astype(int))  # half way from one point to the next pixel
    assert theirs.shape == (17, 17)
    assert np.corrcoef(ours[near].ravel(), theirs.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(ours.max(), theirs.max(), rtol=0.2)


def test_a_record_has_speeds_limits_and_the_ratio(tmp_path, capsys):
    settings = benchmark.Settings(
        (NETWORK,), ("attention", "greydanus"), frames=2, turns=1, output=tmp_path / "saliency.json"
    )
    benchmark.main(settings)
    record = json.loads(settings.output.read_text())
    rows = {row["what"]: row for row in record["rows"]}
    ours, loop = rows["greydanus"], rows[benchmark.LOOP]
    assert ours["passes"] == loop["passes"] == 289
    assert ours["times_the_loop"] == pytest.approx(ours["frames_per_second"] / loop["frames_per_second"])
    limit = rows["network, variants"]["frames_per_second"] / 289
    assert ours["limit"] == pytest.approx(limit)
    assert ours["share_of_limit"] == pytest.approx(ours["frames_per_second"] / limit)
    assert "greydanus" in capsys.readouterr().out


def test_what_is_measured_is_there():
    assert benchmark.METHODS.keys() <= METHODS.keys()
