"""What a machine cannot do is a sentence before anything is made."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from fls_jax.errors import UserError
from fls_jax.process import machine
from tests.processes import SMALLEST, assert_refused, run_fls, run_training


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"JAX_PLATFORMS": "cuda"}, ["JAX_PLATFORMS='cuda'", "make setup ACCEL="]),
        ({"JAX_PLATFORMS": "nonsense"}, ["JAX_PLATFORMS='nonsense'", "unset it"]),
        ({"JAX_PLATFORMS": "cpu", "JAX_TRANSFER_GUARD": "disallow"}, ["JAX_TRANSFER_GUARD is disallow"]),
    ],
)
def test_a_jax_that_cannot_compute_is_a_sentence(tmp_path, variables, words):
    assert_refused(run_training(tmp_path / "run", **variables), *words)
    assert not (tmp_path / "run").exists()


def test_too_few_files_are_a_sentence(tmp_path):
    command = [sys.executable, "-m", "fls_jax", "train", *SMALLEST, f"--run-dir={tmp_path / 'run'}"]
    shell = ["bash", "-c", 'ulimit -n 24 && exec "$@"', "bash"]
    done = subprocess.run([*shell, *command], capture_output=True, text=True, timeout=240, check=False)
    assert_refused(done, "only 24 files", "ulimit -n")
    assert not (tmp_path / "run").exists()


def test_the_command_gives_openblas_one_thread_before_it_is_loaded():
    code = (
        "import contextlib, sys; from fls_jax.__main__ import main; sys.argv = ['fls', 'networks']\n"
        "assert not {'numpy', 'scipy', 'jax'} & set(sys.modules)\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "import scipy.linalg, threadpoolctl\n"
        "print({pool['num_threads'] for pool in threadpoolctl.ThreadpoolController().info()})"
    )
    free = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=free)
    assert done.stdout.splitlines()[-1] == "{1}"


def test_a_low_soft_limit_is_raised():
    code = (
        "import resource; _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))\n"
        "from fls_jax.process.machine import check_machine; check_machine()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == machine.FILES
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= machine.FILES


@pytest.mark.parametrize("length", [5_000_000, 1_000_000_000_000])
def test_a_rollout_larger_than_the_memory_leaves_nothing_behind(tmp_path, length):
    run = run_training(tmp_path / "run", f"--rollout-length={length}", f"--total-steps={10**15}")
    assert_refused(run, "GiB of memory", "--rollout-length")
    assert not (tmp_path / "run").exists()


def test_more_games_than_the_memory_holds_are_refused_by_evaluate(tmp_path):
    done = run_fls("evaluate", "experiments/pretrained/Pong/cnn_sparse_fls", "--num-envs=60000")
    assert_refused(done, "60,000 games need", "--num-envs")
    done = run_fls("evaluate", "experiments/pretrained/Pong/cnn_sparse_fls", "--num-envs=200000")
    assert_refused(done, "--num-envs is 200000")


def test_memory_is_the_containers_where_that_is_less(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", limit)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory() == physical
    limit.write_text("max\n")
    assert machine.memory() == physical
    limit.write_text(f"{2**30}\n")
    assert machine.memory() == 2**30
    machine.check_memory(2**30, "They", "have fewer")
    with pytest.raises(UserError, match=r"They need 2 GiB of memory, and there are 1: have fewer\."):
        machine.check_memory(2**31, "They", "have fewer")
