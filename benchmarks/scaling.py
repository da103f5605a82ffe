"""Predicts training speed on a machine from arithmetic; writes the tables of docs/scaling.md.

    python -m benchmarks.scaling            # after a change, or after `make bench-accelerator`

Every number is either counted (benchmarks/arithmetic.py), from a data sheet, measured here, or assumed; the
last two are named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.arithmetic import forward_flops, outputs, parameters, step_cost, training_flops
from fls_jax.config import PRESETS, TrainConfig
from fls_jax.networks.specs import network_spec

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "scaling.md"
NETWORKS = ("cnn", "cnn_sparse_fls", "cnn_patch_fls", "cnn_dense_fls")
NOT_RUN = "not run"
BEGIN, END = "<!-- written by benchmarks/scaling.py -->", "<!-- end -->"
# Assumed, until they are measured: how near real kernels come to the data sheet, what a policy step waits for
# its transfer, launch and fetch, and what a step of the optimiser costs beside its arithmetic.
EFFICIENCY = 0.3
ROUND_TRIP_SECONDS = 250e-6
OPTIMISER_STEP_SECONDS = 300e-6


@dataclass(frozen=True)
class Machine:
    """Devices and cores; operations a second by arithmetic (matmul precision or compute type) and bytes a
    second of one device, from its data sheet."""

    name: str
    devices: int
    cores: int
    flops: dict[str, float]
    device_bandwidth: float
    host_bandwidth: float


# NVIDIA's data sheet and architecture white paper of the H100, SXM5, without sparsity; 3.35 TB/s of memory,
# PCIe 5.0 x16, 64 GB/s each way. `default` multiplies float32 as TF32, `highest` in the float32 units.
H100 = {"highest": 66.9e12, "default": 494.7e12, "bfloat16": 989.4e12}
# https://cloud.google.com/tpu/docs/v5e: bfloat16 alone, 819 GB/s, 224 virtual cores for 8 chips. `highest`
# takes six passes of bfloat16. Nothing is published of the way from the host: 32 GB/s is assumed.
V5E = {"highest": 197e12 / 6, "default": 197e12, "bfloat16": 197e12}
MACHINES = (
    Machine("1 H100, 16 cores", 1, 16, H100, 3.35e12, 64e9),
    Machine("8 H100, 128 cores", 8, 128, H100, 3.35e12, 64e9),
    Machine("TPU v5e-8 host, 112 cores", 8, 112, V5E, 0.819e12, 32e9),
)


@dataclass(frozen=True)
class Workload:
    """Something to train: a configuration, how many runs of it at once, and in how many groups."""

    name: str
    config: TrainConfig
    runs: int = 1
    groups: int = 2

    @property
    def environments(self) -> int:
        """Of all runs together."""
        return self.runs * self.config.num_envs


PAPER, FAST = PRESETS["paper"], PRESETS["throughput"]


def workloads(machine: Machine) -> list[Workload]:
    """The workloads to predict for a machine. Several seeds share one device; groups divide among all."""
    if machine.devices == 1:
        return [
            Workload("the paper's 8 x 128", PAPER),
            Workload("five seeds of it at once", PAPER, runs=5),
            Workload("`--preset throughput`", FAST),
        ]
    many = replace(FAST, num_envs=FAST.num_envs * machine.devices)
    return [
        Workload("the paper's 8 x 128", PAPER, groups=1),
        Workload("`--preset throughput`", FAST),
        Workload(f"the same, `--num-envs {many.num_envs}`", many),
    ]


class Limits(NamedTuple):
    """Agent steps per second over all runs: limits of each part, and both together."""

    emulators: float
    collection: float
    update: float
    together: float
    binds: str


def emulator_speed() -> float:
    """Agent steps a second of one core, EnvPool alone: measured (benchmarks/results/throughput.json)."""
    record = json.loads((RESULTS / "throughput.json").read_text())
    rows = [row for row in record["rows"] if "seconds_envpool" in row]
    best = max(row["steps"] / median(row["seconds_envpool"]) for row in rows)
    return best / record["machine"]["cores"]


def limits(network: str, workload: Workload, machine: Machine, core_speed: float) -> Limits:
    """The prediction: emulators at `core_speed` steps a second a core, the device as assumed above."""
    config, spec = workload.config, network_spec(network)
    arithmetic = "bfloat16" if config.compute_dtype == "bfloat16" else config.matmul_precision
    speed = EFFICIENCY * machine.flops.get(arithmetic, machine.flops["default"])
    together, group = workload.environments, workload.environments / workload.groups

    per_device = group / machine.devices
    round_trip = (
        ROUND_TRIP_SECONDS
        + per_device * forward_flops(spec) / speed
        + group * 28_224 / machine.host_bandwidth
    )
    emulators = machine.cores * core_speed
    play = -(-group // machine.cores) / core_speed  # the last wave of games is waited for
    step = max(workload.groups * round_trip, round_trip + play, together / emulators)

    samples = together * config.rollout_length
    optimiser_steps = config.epochs * config.minibatches
    work = samples * config.epochs * training_flops(spec) / (machine.devices * speed)
    traffic = samples * step_cost(spec, config).device_bytes / (machine.devices * machine.device_bandwidth)
    update = optimiser_steps * OPTIMISER_STEP_SECONDS + max(work, traffic)

    collect = step * config.rollout_length
    total = max(collect, update) if config.overlap else collect + update
    parts = {
        "emulators": together / emulators * config.rollout_length,
        "round trips": workload.groups * round_trip * config.rollout_length,
        "round trip, then emulators": (round_trip + play) * config.rollout_length,
        "update's arithmetic": work,
        "update's memory": traffic,
        "update's launches": optimiser_steps * OPTIMISER_STEP_SECONDS,
    }
    binds = max(parts, key=lambda name: parts[name])
    return Limits(emulators, samples / collect, samples / update, samples / total, binds)


def network_table() -> str:
    """The cost of each network with the paper's configuration."""
    header = (
        "network",
        "parameters",
        "forward, MFLOP",
        "trained sample, MFLOP",
        "agent step, GFLOP",
        "layers' outputs, KB",
        "memory traffic a step, MB",
        "sent / fetched a step",
    )
    rows = []
    for name in NETWORKS:
        spec = network_spec(name)
        cost = step_cost(spec, PAPER)
        rows.append(
            (
                name,
                f"{parameters(spec):,}",
                f"{forward_flops(spec) / 1e6:,.0f}",
                f"{training_flops(spec) / 1e6:,.0f}",
                f"{cost.flops / 1e9:,.2f}",
                f"{4 * outputs(spec) / 1e3:,.0f}",
                f"{cost.device_bytes / 1e6:,.1f}",
                f"{cost.sent_bytes / 1e3:.1f} KB / {cost.fetched_bytes} B",
            )
        )
    return markdown(header, rows)


def prediction_table(machine: Machine, measured: dict[str, float]) -> str:
    """Predicted speeds on a machine beside the measured ones."""
    header = ("network", "workload", "collecting", "updating", "together", "what binds", "measured")
    core = emulator_speed()
    rows = []
    for network in NETWORKS:
        for workload in workloads(machine):
            found = limits(network, workload, machine, core)
            speed = measured.get(f"{network}, {workload.name}")
            rows.append(
                (
                    network,
                    workload.name,
                    _round(found.collection),
                    _round(found.update),
                    _round(found.together),
                    found.binds,
                    NOT_RUN if speed is None else f"{speed:,.0f}",
                )
            )
    return markdown(header, rows)


def _round(speed: float) -> str:
    """Round to two digits, because the assumptions are rough."""
    return f"{float(f'{speed:.2g}'):,.0f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measured_speeds() -> dict[str, dict[str, float]]:
    """Machine -> `network, workload` -> steps a second, from the records of `make bench-accelerator`."""
    found: dict[str, dict[str, float]] = {}
    for file in sorted(RESULTS.glob("accelerator*/accelerator.json")):
        record = json.loads(file.read_text())
        device = record["machine"]["description"]["device"]
        rows = record.get("speed", {}).items()
        speeds = {name: row["steps_per_second"] for name, row in rows if "steps_per_second" in row}
        for machine in MACHINES:
            if machine.devices == 1 and "H100" in device and "H100" in machine.name:
                found[machine.name] = speeds
    return found


def tables() -> str:
    """All tables of the page."""
    measured = measured_speeds()
    parts = ["### What a network costs", network_table()]
    for machine in MACHINES:
        parts += [f"### {machine.name}", prediction_table(machine, measured.get(machine.name, {}))]
    return "\n\n".join(parts)


def written(page: str) -> str:
    """The page with updated tables between the two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main() -> None:
    """Write the tables into docs/scaling.md."""
    PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
