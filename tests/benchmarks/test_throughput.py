"""The throughput benchmark: one measurement really runs; the arithmetic around it is right."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import throughput
from benchmarks.parts import policy_seconds
from benchmarks.proxy import BlockMeanNetwork
from fls_jax.config import TrainConfig
from fls_jax.networks.specs import NETWORKS
from fls_jax.ppo.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


def test_the_proxy_reads_every_byte(rng):
    observations = rng.integers(0, 256, (3, 84, 84, 4), dtype=np.uint8)
    network = BlockMeanNetwork(num_actions=6)
    params = network.init(jax.random.key(0), jnp.asarray(observations))["params"]
    means = observations.reshape(3, 7, 12, 7, 12, 4).mean(axis=(2, 4)).reshape(3, -1) / 255
    hidden = np.maximum(means @ np.asarray(params["Dense_0"]["kernel"]), 0)
    output = network.apply({"params": params}, jnp.asarray(observations))
    np.testing.assert_allclose(
        output.value, (hidden @ np.asarray(params["Dense_1"]["kernel"]))[:, 0], atol=1e-5
    )
    assert output.logits.shape == (3, 6)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_policy_is_timed_as_training_places_it(groups, monkeypatch):
    config = replace(TrainConfig(), num_envs=2, env_groups=groups, rollout_length=3, minibatches=1)
    fleet = Trainer(config.validated(), network=BlockMeanNetwork(num_actions=6))
    collector, placed = fleet._collector, []

    def describe(array):
        return array.shape, array.dtype, array.sharding, array.committed

    step = collector._policy_step

    def noting(*arguments):
        placed.append(jax.tree.map(describe, arguments))
        return step(*arguments)

    monkeypatch.setattr(collector, "_policy_step", noting)
    fleet.advance()
    trained, placed[:] = list(placed), []
    policy_seconds(fleet, repeats=0)
    fleet.close()
    assert len(placed) == len(trained) == 3 * groups
    assert placed == trained


@pytest.mark.parametrize("part", ["loop", "update"])
def test_a_measurement_runs(part):
    command = [
        sys.executable,
        "-m",
        "benchmarks.measure",
        part,
        "--network",
        "block_mean",
        "--num-envs",
        "2",
        "--updates",
        "2",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["seconds"]) == 2
    assert min(result["seconds"]) > 0
    assert result["steps"] == 2 * 128
    assert result["trained_samples"] == 4 * 2 * 128


def test_speeds_and_loop_efficiency():
    rows = [
        {
            "part": "loop",
            "network": "block_mean",
            "num-envs": 8,
            "seconds": [2.5, 2.0, 4.0],
            "seconds_envpool": [2.0, 1.0, 4.0],
            "steps": 1000,
            "trained_samples": 4000,
        },
        {
            "part": "update",
            "network": "cnn",
            "num-envs": 8,
            "seconds": [2.0],
            "steps": 1000,
            "trained_samples": 4000,
        },
    ]
    assert [throughput.speed(row) for row in rows] == [400.0, 2000.0]
    assert [throughput.envpool_speed(row) for row in rows] == [500.0, None]
    assert [throughput.loop_efficiency(row) for row in rows] == [pytest.approx(0.8), None]  # of 0.8, 0.5, 1


def test_a_failed_measurement_says_why():
    row = throughput.run({"part": "loop", "game": "Pongg"})
    assert "error" in row
    assert throughput.speed(row | {"part": "loop"}) is None


def test_every_network_is_in_the_memory_table_and_dense_ones_twice():
    todo = list(throughput.memory_measurements())
    assert len(todo) == len(NETWORKS) + 2
    assert {options["network"] for options in todo} == set(NETWORKS)
    assert sum("microbatch" in options for options in todo) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--updates", "0"], "--updates is 0; give 1 or more."),
        (["--num-envs", "8", "0"], "--num-envs is (8, 0); give 1 or more."),
        (["--networks", "cnm"], "There is no network 'cnm'; choose one of: cnn, "),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(arguments, words, tmp_path, capsys):
    assert throughput.main([*arguments, "--output", str(tmp_path / "none")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
