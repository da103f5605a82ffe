"""The gaze benchmark: its parts really run, small, and what it compares computes the same."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gaze as benchmark
from benchmarks import gaze_measure
from benchmarks import gaze_metrics_reference as reference
from benchmarks.gaze_data import write_run, write_trial
from fls_jax.gaze.settings import GazeSettings


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("benchmark")
    write_run(home / "run", "cnn_sparse_fls_pool")
    write_trial(home / "data", 60, 2)
    return home


def test_speeds_are_of_all_observations(home):
    row = gaze_measure.measure_pass(home / "run", home / "data", GazeSettings(controls=False))
    assert row["observations"] == 15
    assert row["observations_per_second"] == 15 / row["seconds"]
    assert row["seconds_with_compilation"] > 0


def test_memory_is_measured_beside_what_may_grow(home):
    row = gaze_measure.measure_memory(home / "run", home / "data", GazeSettings(controls=False))
    assert (row["frames"], row["observations"]) == (60, 15)
    assert row["peak_bytes"] >= row["peak_bytes_before"] > 2**20
    assert 30 * 500 < row["encoded_bytes"] < 30 * 10_000  # the half of the pictures that are shown


def test_both_sides_of_the_comparison_compute_the_same(rng):
    attention = reference.synthetic_attention(2, rng)
    maps, counts = reference.synthetic_trial(2, rng, samples=400)
    assert counts.sum(axis=(1, 2)).tolist() == [400, 400]
    drawn = np.stack([reference.draw_other_frames(counts, i, rng) for i in range(2)])
    ours = reference.three_at_once(*(jnp.asarray(array) for array in (maps, counts, drawn)))
    exact = maps.astype(np.float64)
    for i in range(2):
        theirs = (
            reference.nss(exact[i], counts[i]),
            reference.kl_divergence(exact[i], counts[i], 5),
            reference.shuffled_auc(exact[i], counts[i], drawn[i], rng),
        )
        for value, expected, tolerance in zip(ours, theirs, (1e-4, 1e-4, 0.02), strict=True):
            assert value[i] == pytest.approx(expected, abs=tolerance)
    painted = np.stack([reference.saliency_map(grid.astype(np.float64)) for grid in attention])
    from_attention = reference.map_and_three(jnp.asarray(attention), jnp.asarray(counts), jnp.asarray(drawn))
    from_maps = reference.three_at_once(jnp.asarray(painted, jnp.float32), counts, drawn)
    for value, expected in zip(from_attention[:2], from_maps[:2], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_the_metrics_are_timed(monkeypatch):
    monkeypatch.setattr(gaze_measure, "BATCHES", (2,))
    row = gaze_measure.measure_metrics(16, reference_frames=1, repeats=1)
    times = row["reference_ms"]
    assert times["metrics"] == pytest.approx(times["nss"] + times["kl"] + times["sauc"])
    assert row["ratio"] == pytest.approx(times["metrics"] / row["ours_ms"]["metrics"])
    assert row["ratio_with_map"] > 0
    json.dumps(row)


def test_what_failed_is_told_in_the_tables():
    record = {part: [{"error": "MemoryError"}] for part in ("metrics", "memory")}
    record["pass"] = [{"trial": "one", "protocol": "paper", "controls": True, "error": "MemoryError"}]
    assert len(benchmark.tables(record)) == 3
    assert "error" in benchmark.run("pass", "/nowhere", "/nowhere")
