"""Two processes train as one: real processes on loopback, real updates, real signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from fls_jax.errors import UserError
from fls_jax.process.cluster import connect
from fls_jax.runs.checkpoints import load_params
from fls_jax.runs.contents import checkpoint_steps
from tests.processes import (
    PATIENCE,
    TOTAL,
    UPDATE_STEPS,
    Training,
    forced_devices,
    read_rows,
    run_fls,
    run_python,
    run_training,
)

UPDATES = """
import dataclasses, sys
import jax, numpy as np
from fls_jax.config import TrainConfig
from fls_jax.ppo.trainer import Trainer
from fls_jax.process.cluster import connect

file, devices, coordinator, process = sys.argv[1:]
if coordinator != "none":
    connect(coordinator, 2, int(process))
config = TrainConfig(
    network="cnn_sparse_fls_pool", num_envs=4, rollout_length=8, minibatches=2, epochs=2, total_steps=3200,
    learning_rate=1e-3, max_episode_steps=20, devices=int(devices),
)
trainer = Trainer(config)
assert trainer.hosts.devices == 2
rows = [trainer.advance() for _ in range(4)]
if jax.process_index() == 0:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(trainer.hosts.own(trainer.state.params))]
    told = np.array([[row[name] for name in ("loss", "grad_norm", "episodes")] for row in rows])
    np.savez(file, *leaves, told=told)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


def test_two_processes_have_the_parameters_of_two_devices_bit_for_bit(tmp_path):
    coordinator = free_port()
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", UPDATES, str(tmp_path / "pair.npz"), "1", coordinator, str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in (0, 1)
    ]
    for process in pair:
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output[-3000:]
    two = {"XLA_FLAGS": forced_devices(2)["XLA_FLAGS"]}
    run_python(["-c", UPDATES, str(tmp_path / "mesh.npz"), "2", "none", "0"], **two)
    processes, mesh = (np.load(tmp_path / f"{name}.npz") for name in ("pair", "mesh"))
    assert processes["told"][-1, 2] == 4, "the games of both processes: four environments, one game each"
    for name in mesh.files:
        np.testing.assert_array_equal(processes[name], mesh[name], err_msg=name)


class Pair:
    """The smallest training by two processes in one folder."""

    def __init__(self, folder, *options):
        self.run_dir = folder / "run"
        coordinator = free_port()
        self.trainings = [
            Training(
                self.run_dir, folder / f"log{process}", *options, "--processes=2",
                f"--coordinator={coordinator}", f"--process-id={process}",
            )
            for process in (0, 1)
        ]  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for training in self.trainings:
            training.kill()

    def wait_for_rows(self, rows):
        self.trainings[0].wait_for_rows(rows)

    def codes(self):
        return [training.wait() for training in self.trainings]

    def output(self):
        return "\n---\n".join(training.output() for training in self.trainings)


def test_a_signal_to_one_saves_both_at_one_update_and_one_process_goes_on(tmp_path):
    with Pair(tmp_path, "--checkpoint-every=1000") as pair:
        pair.wait_for_rows(3)
        pair.trainings[1].process.send_signal(signal.SIGTERM)
        assert pair.codes() == [0, 0], pair.output()
    rows = read_rows(pair.run_dir)
    step = rows[-1]["env_step"]
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1)), "one process writes"
    assert checkpoint_steps(pair.run_dir / "checkpoints") == [step]
    assert f"Stopped at step {step:,}" in pair.trainings[0].output()
    assert "Stopped at step" not in pair.trainings[1].output(), "process 0 alone prints"

    alone = run_training(pair.run_dir)
    assert alone.returncode == 0, alone.stderr
    assert f"at step {step:,}; the games start anew" in alone.stdout
    assert checkpoint_steps(pair.run_dir / "checkpoints")[-1] == TOTAL


def test_two_processes_go_on_from_one(tmp_path):
    with Training(tmp_path / "run", tmp_path / "log") as alone:
        alone.wait_for_rows(2)
        alone.process.terminate()
        assert alone.wait() == 0, alone.output()
    before = load_params(tmp_path / "run" / "checkpoints")[0]
    with Pair(tmp_path) as pair:
        assert pair.codes() == [0, 0], pair.output()
    assert f"at step {before:,}; the games start anew" in pair.trainings[0].output()
    assert [row["env_step"] for row in read_rows(pair.run_dir)] == list(
        range(UPDATE_STEPS, TOTAL + 1, UPDATE_STEPS)
    )
    assert load_params(pair.run_dir / "checkpoints")[0] == TOTAL


@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_is_killed_the_other_says_so_and_ends(tmp_path, victim):
    with Pair(tmp_path, "--checkpoint-every=2") as pair:
        pair.wait_for_rows(5)  # saving update 4 has waited until the checkpoint of update 2 was whole
        pair.trainings[victim].kill()
        began = time.monotonic()
        survivor = pair.trainings[1 - victim]
        assert survivor.wait() == 2, survivor.output()
        assert time.monotonic() - began < 60
        assert "fls: Another process of this training has ended" in survivor.output()
        assert "Traceback" not in survivor.output()
    assert checkpoint_steps(pair.run_dir / "checkpoints")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("host:1", None, None), "go together"),
        (("host", 2, 0), "host:port"),
        (("host:99999", 2, 0), "host:port"),
        (("host:1", 2, 2), "--process-id is 2 of --processes 2"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, words):
    with pytest.raises(UserError, match=words):
        connect(*arguments)


def test_nothing_is_connected_unless_asked(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    connect(None, None, None)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # as every job of the grid is started
    connect(None, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((["--num-envs=3"], ["--num-envs=3"]), "--num-envs is 3, which does not divide among 2 processes"),
        ((["--seeds=1,9"], ["--seeds=1,9"]), "--seeds trains in one process, and there are 2"),
        ((["--gamma=0.5"], []), "Process 1 was started with gamma 0.99, process 0 with 0.5"),
    ],
)
def test_what_processes_cannot_do_together_is_a_sentence(tmp_path, options, words):
    coordinator = free_port()
    both = [
        Training(
            tmp_path / "run", tmp_path / f"log{process}", *own, "--processes=2",
            f"--coordinator={coordinator}", f"--process-id={process}",
        )
        for process, own in enumerate(options)
    ]  # fmt: skip
    assert [training.wait() for training in both] == [2, 2], [training.output() for training in both]
    for training in both:
        assert "Traceback" not in training.output()
    assert any(f"fls: {words}" in training.output() for training in both), both[0].output()


def test_other_commands_know_no_processes():
    refused = run_fls("evaluate", "run", "--processes=2")
    assert refused.returncode == 2
    assert "Unrecognized options: --processes=2" in refused.stderr
    assert "Traceback" not in refused.stderr
