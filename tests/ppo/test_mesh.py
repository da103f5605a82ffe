"""Training spread over four devices of this machine's CPU, by real convolutions, against one device."""

from __future__ import annotations

import numpy as np
import pytest

from tests.processes import assert_refused, forced_devices, optimised, read_rows, run_python, run_training

FOUR = forced_devices(4)


@pytest.fixture(scope="module")
def distances(tmp_path_factory):
    """distance(a, b): between the parameters of two variants after an update, over the way that they went."""
    file = tmp_path_factory.mktemp("mesh") / "updates.npz"
    run_python(["-m", "tests.ppo.mesh_updates", str(file)], JAX_ENABLE_X64="1", **optimised(FOUR))
    with np.load(file) as ends:
        ends = dict(ends)
    way = np.linalg.norm(ends["float64"] - ends["start"])
    return lambda a, b: np.linalg.norm(ends[a] - ends[b]) / way


@pytest.mark.parametrize("variant", ["float64-mesh", "float64-mesh-scanned-micro"])
def test_the_update_on_a_mesh_is_the_update(distances, variant):
    """In float64 nothing is left of the differences: they come from the order of sums, not from the maths.

    So for four devices and one, for one program and several, for microbatches and whole minibatches.
    """
    assert distances(variant, "float64") < 1e-10


@pytest.mark.parametrize("variant", ["float32-mesh", "float32-mesh-scanned"])
def test_in_float32_a_mesh_rounds_no_worse_than_one_device(distances, variant):
    """One device's own error, against float64, is what other orders of its sums may change."""
    rounding = distances("float32", "float64")
    assert rounding < 1e-3
    assert distances(variant, "float32") < rounding
    assert distances(variant, "float64") < 1.5 * rounding


def test_in_bfloat16_a_mesh_rounds_no_worse_than_one_device(distances):
    rounding = distances("bfloat16", "float64")
    assert distances("float32", "float64") < rounding < 0.2
    assert distances("bfloat16-mesh-scanned-micro", "bfloat16") < rounding
    assert distances("bfloat16-mesh-scanned-micro", "float64") < 1.5 * rounding


def test_devices_through_the_command_line(tmp_path):
    """Four devices, real games, a microbatch, bfloat16, against one device."""
    options = ("--num-envs=4", "--rollout-length=8", "--microbatch=16", "--compute-dtype=bfloat16")
    done = run_training(tmp_path / "run", *options, "--total-steps=64", "--devices=4", **FOUR)
    assert done.returncode == 0, done.stderr
    assert "4 " in done.stdout
    rows = read_rows(tmp_path / "run")
    assert [row["env_step"] for row in rows] == [32, 64]
    alone = run_training(tmp_path / "alone", *options, "--total-steps=64", "--devices=1", **FOUR)
    assert alone.returncode == 0, alone.stderr
    first = read_rows(tmp_path / "alone")[0]
    assert rows[0]["loss"] == pytest.approx(first["loss"], rel=0.05, abs=1e-3)
    assert rows[0]["entropy"] == pytest.approx(first["entropy"], rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--devices=5",), "--devices is 5, but this machine has 4"),
        (("--devices=4",), "--num-envs is 2, which does not divide among 4 devices"),
        (("--devices=2", "--seeds=1,9"), "2 seeds at once share one device"),
    ],
)
def test_devices_that_cannot_be_are_refused(tmp_path, options, words):
    assert_refused(run_training(tmp_path / "run", *options, **FOUR), words)
