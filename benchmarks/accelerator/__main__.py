"""Measure training on an accelerator within a time limit.

    python -m benchmarks.accelerator --minutes 8 --out results

Parts in order of importance: the machine and EnvPool alone; correctness against a CPU; speed of policy,
update and whole training; PyTorch for comparison; a real training in the remaining time. accelerator.json and
accelerator.log are written after every measurement, run.tar at the end. Without an accelerator everything is
measured on the CPU, and the results say so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Without preallocation, memory use can be measured, and PyTorch gets some.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from benchmarks.accelerator import correctness, machine, speed, training
from benchmarks.accelerator.journal import Journal
from fls_jax.networks.specs import NETWORKS

PARTS = ("machine", "correctness", "speed", "pytorch", "training")
ROOT = Path(__file__).resolve().parents[2]
# Share of the time reserved for the training at the end.
TRAINING_SHARE = 0.3


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.accelerator", description="Measure an accelerator.")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit; 8")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "accelerator")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which parts; all")
    parser.add_argument("--rollout-length", type=int, help="shorter rollouts, to try the benchmark")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes}; give more than 0.")
    return options


def measure_machine(journal: Journal) -> None:
    """Card, driver, versions, cores; EnvPool alone."""
    journal.measure("machine", "description", machine.describe, seconds=0)
    for size in machine.ENVPOOL_SIZES:
        journal.measure("envpool", str(size), lambda size=size: machine.envpool_alone(size), seconds=5)


def measure_correctness(journal: Journal) -> None:
    """Compare the accelerator's results with the CPU's."""
    reference = correctness.cpu().device_kind
    journal.measure("correctness", "reference", lambda: reference, seconds=0)
    journal.measure("correctness", "updates", correctness.update_errors)
    journal.measure("correctness", "repeat", correctness.repeat_error)
    journal.measure("correctness", "checkpoint", correctness.checkpoint_error)
    for name in NETWORKS:
        journal.measure("correctness", name, lambda name=name: correctness.network_error(name))


def measure_speed(journal: Journal, rollout_length: int | None, spare: float) -> None:
    """Policy, update, whole training; the last `spare` seconds are reserved for later parts."""
    for case in speed.cases():
        if rollout_length:
            case = replace(case, config=replace(case.config, rollout_length=rollout_length))
        alone = journal.results.get("envpool", {}).get(str(len(case.seeds) * case.config.num_envs), {})
        journal.measure(
            "speed",
            case.name,
            lambda case=case, alone=alone: speed.measure(case, 3, alone.get("steps_per_second")),
            seconds=spare + 15,
        )


def measure_pytorch(journal: Journal, spare: float) -> None:
    """The same algorithm in plain PyTorch, on the same device, in a separate process."""
    backend = journal.results.get("machine", {}).get("description", {}).get("backend", "cpu")
    device = "cuda" if backend == "gpu" else "cpu"
    for network in ("cnn", "cnn_sparse_fls"):
        limit = journal.left() - spare
        journal.measure(
            "pytorch", network, lambda n=network, s=limit: pytorch(n, device, s), seconds=spare + 15
        )


def pytorch(network: str, device: str, seconds: float) -> dict[str, Any]:
    """PyTorch's steps per second, 8 x 128."""
    command = [sys.executable, "-m", "benchmarks.peers.pytorch_ppo", "--network", network]
    command += ["--device", device, "--updates", "6", "--warmup-updates", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    report = json.loads(done.stdout.splitlines()[-1])
    each = sorted(report["seconds_per_update"])
    return report | {"steps_per_second": report["steps_per_update"] / each[len(each) // 2]}


def measure_training(journal: Journal, rollout_length: int | None) -> None:
    """Train for the remaining time."""
    known = journal.results.get("speed", {}).get(f"{training.NETWORK}, `--preset throughput`", {})
    rate = known.get("steps_per_second", 300.0)
    journal.measure("training", "Pong", lambda: training.train(journal, rate, rollout_length), seconds=25)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected measurements, in the order of PARTS."""
    options = parse(arguments)
    journal = Journal(options.out, options.minutes)
    spare = 60 * options.minutes * TRAINING_SHARE if "training" in options.parts else 0.0
    work = {
        "machine": lambda: measure_machine(journal),
        "correctness": lambda: measure_correctness(journal),
        "speed": lambda: measure_speed(journal, options.rollout_length, spare),
        "pytorch": lambda: measure_pytorch(journal, spare),
        "training": lambda: measure_training(journal, options.rollout_length),
    }
    for part in PARTS:
        if part in options.parts:
            work[part]()
    journal.say(f"Done; results in {options.out}")
    journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
