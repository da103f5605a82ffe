"""Measure training on an accelerator within a time limit.

    python -m benchmarks.accelerator --minutes 8 --out results

Parts in order of importance: the machine and EnvPool alone; correctness against a CPU; speed of policy,
update and whole training; PyTorch for comparison; a real training in the remaining time. accelerator.json and
accelerator.log are written after every measurement, run.tar at the end. Without an accelerator everything is
measured on the CPU, and the results say so. What is begun is cut off at the end of its part's time, once a
compilation has ended.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Without preallocation, memory use can be measured, and PyTorch gets some.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from benchmarks.accelerator import correctness, machine, speed, training
from benchmarks.accelerator.journal import Journal
from fls_jax.config import PRESETS
from fls_jax.networks.specs import NETWORKS
from fls_jax.process.allocator import restart_with_settings

# The parts in their order, with their shares of the time. What one part leaves, the next one gets.
SHARES = {"machine": 0.1, "correctness": 0.15, "speed": 0.3, "pytorch": 0.15, "training": 0.3}
PARTS = tuple(SHARES)
ROOT = Path(__file__).resolve().parents[2]
PYTORCH_SECONDS = 15.0


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


def measure_speed(journal: Journal, rollout_length: int | None) -> None:
    """Policy, update, whole training."""
    for case in speed.cases():
        if rollout_length:
            case = replace(case, config=replace(case.config, rollout_length=rollout_length))
        alone = journal.results.get("envpool", {}).get(str(len(case.seeds) * case.config.num_envs), {})
        journal.measure(
            "speed",
            case.name,
            lambda case=case, alone=alone: speed.measure(
                case, 3, alone.get("steps_per_second"), journal.left()
            ),
            seconds=15,
        )


def measure_pytorch(journal: Journal) -> None:
    """The same algorithm in plain PyTorch, on the same device, in a separate process."""
    backend = journal.results.get("machine", {}).get("description", {}).get("backend", "cpu")
    device = "cuda" if backend == "gpu" else "cpu"
    for share, network in ((0.5, "cnn"), (1.0, "cnn_sparse_fls")):
        journal.measure(
            "pytorch",
            network,
            # It ends a little before it would be cut off: the updates that it has told count.
            lambda n=network, s=share: pytorch(n, device, s * (journal.left() - 2)),
            seconds=PYTORCH_SECONDS,
        )


def pytorch(network: str, device: str, seconds: float) -> dict[str, Any]:
    """PyTorch's steps per second, 8 x 128, in this Python or in that of `make bench-peers`.

    Six updates after the warm-up, or as many as fit into the seconds. Raises RuntimeError if none does.
    """
    of_peers = ROOT / ".venv-peers" / "bin" / "python"
    python = sys.executable if find_spec("torch") or not of_peers.exists() else str(of_peers)
    command = [python, "-m", "benchmarks.peers.pytorch_ppo", "--network", network]
    command += ["--device", device, "--updates", "6", "--warmup-updates", "1"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds, check=False)
        said, failed = done.stderr.decode(), done.returncode != 0
    except subprocess.TimeoutExpired as error:
        said, failed = (error.stderr or b"").decode(), False
    if failed:
        raise RuntimeError((said.strip().splitlines() or ["no message"])[-1])
    each = sorted(float(found) for found in re.findall(r"^update \d+/\d+: ([\d.]+) s", said, re.MULTILINE))
    if not each:
        first = re.search(r"^update 1/\d+ \(warm-up\): ([\d.]+) s", said, re.MULTILINE)
        if first is None:
            raise RuntimeError(f"not even its first update within {seconds:.0f} s")
        why = f"no update after the first, the warm-up, within {seconds:.0f} s"
        return {"seconds_of_warm_up": float(first[1]), "not_run": why}
    steps = PRESETS["paper"].steps_per_update
    return {"seconds_per_update": each, "steps_per_second": steps / each[len(each) // 2]}


def measure_training(journal: Journal, rollout_length: int | None) -> None:
    """Train for the remaining time, at least one update."""
    known = journal.results.get("speed", {}).get(f"{training.NETWORK}, `--preset throughput`", {})
    rate = known.get("steps_per_second", 300.0)
    journal.measure(
        "training", "Pong", lambda: training.train(journal, rate, rollout_length), seconds=-math.inf
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected measurements, in the order of PARTS."""
    options = parse(arguments)
    journal = Journal(options.out, options.minutes)
    work = {
        "machine": lambda: measure_machine(journal),
        "correctness": lambda: measure_correctness(journal),
        "speed": lambda: measure_speed(journal, options.rollout_length),
        "pytorch": lambda: measure_pytorch(journal),
        "training": lambda: measure_training(journal, options.rollout_length),
    }
    parts = [part for part in PARTS if part in options.parts]
    whole = sum(SHARES[part] for part in parts)
    for number, part in enumerate(parts, start=1):
        later = sum(SHARES[each] for each in parts[number:])
        journal.kept = 60 * options.minutes * later / whole
        work[part]()
    journal.say(f"Done; results in {options.out}")
    journal.close()
    return 0


if __name__ == "__main__":
    restart_with_settings()  # as `fls train` does; PyTorch's process inherits them
    sys.exit(main())
