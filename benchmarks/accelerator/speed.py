"""Speeds of policy, update and whole training on the accelerator, the most important ones first."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import jax

from benchmarks.accelerator.journal import OutOfTimeError
from benchmarks.arithmetic import step_cost, training_flops
from benchmarks.parts import policy_seconds, timed, update_seconds
from fls_jax.config import PRESETS, TrainConfig
from fls_jax.networks.specs import network_spec
from fls_jax.ppo.fleet import Fleet

SEEDS = (1, 9, 17, 25, 33)
PAPER, FAST = PRESETS["paper"], PRESETS["throughput"]
DENSE = "cnn_dense_fls"
# A minibatch of 4,096 samples of the dense networks does not fit into memory; microbatches of this size do.
DENSE_MICROBATCH = 256


@dataclass(frozen=True)
class Case:
    """A configuration to time. Seeds are trained together, mapped in one program or one after the other."""

    name: str
    config: TrainConfig
    seeds: tuple[int, ...] = (1,)
    mapped: bool = True


def cases() -> list[Case]:
    """All cases. Names give the difference to the paper's 8 x 128 in true float32, in two groups."""
    paper = replace(PAPER, env_groups=2)
    listed = []
    for network in ("cnn_sparse_fls", "cnn", "cnn_patch_fls"):
        own = replace(paper, network=network)
        listed += [
            Case(f"{network}, the paper's 8 x 128", own),
            Case(f"{network}, `--preset throughput`", replace(FAST, network=network)),
            Case(f"{network}, five seeds of it at once", own, SEEDS),
        ]
    own = replace(paper, network="cnn_sparse_fls")
    dense = replace(paper, network=DENSE)
    listed += [
        Case("cnn_sparse_fls, one group", replace(own, env_groups=1)),
        Case("cnn_sparse_fls, overlapped", replace(own, overlap=True)),
        Case("cnn_sparse_fls, default precision", replace(own, matmul_precision="default")),
        Case("cnn_sparse_fls, bfloat16", replace(own, compute_dtype="bfloat16")),
        Case("cnn_sparse_fls, 128 environments", replace(own, num_envs=128)),
        Case("cnn_sparse_fls, 128 environments, one group", replace(own, num_envs=128, env_groups=1)),
        Case("cnn_sparse_fls, five seeds in turn", own, SEEDS, mapped=False),
        Case(f"{DENSE}, the paper's 8 x 128", dense),
        Case(f"{DENSE}, default precision", replace(dense, matmul_precision="default")),
        Case(
            f"{DENSE}, `--preset throughput`",
            replace(FAST, network=DENSE, microbatch=DENSE_MICROBATCH),
        ),
        Case(f"{DENSE}, five seeds of it at once", dense, SEEDS),
    ]
    return listed


def measure(case: Case, repeats: int, alone: float | None, seconds: float = math.inf) -> dict[str, Any]:
    """Steps per second of policy, update and end to end, over all runs; memory; shares of the two limits.

    alone: EnvPool's steps per second without a network. The limits are this and the update alone.
    seconds: time available; each part is repeated as often as this allows, at most `repeats` times. If the
    journal cuts it off after that, `cut_off` says so and the rest is missing; if nothing was measured,
    OutOfTimeError is raised.
    """
    result: dict[str, Any] = {}
    start = time.perf_counter()
    try:
        with contextlib.closing(Fleet(case.config, case.seeds, mapped=case.mapped)) as fleet:
            fleet.advance_all()  # compiles
            result["seconds_to_first_update"] = time.perf_counter() - start
            _measure_whole(fleet, result, repeats, alone, seconds - result["seconds_to_first_update"])
            _measure_parts(fleet, result)
    except OutOfTimeError as error:
        if not result:
            raise
        result["cut_off"] = str(error)
    return result


def _measure_whole(
    fleet: Fleet, result: dict[str, Any], repeats: int, alone: float | None, seconds: float
) -> None:
    """Add the speed end to end: of one update, and of as many as the time allows."""
    config, runs = fleet.config, len(fleet.seeds)
    steps, flops = runs * config.steps_per_update, step_cost(network_spec(config.network), config).flops
    rows: list[dict[str, Any]] = []

    def tell(seconds_each: list[float]) -> None:
        speed = steps / median(seconds_each)
        result.update(
            repeats=len(seconds_each),
            steps_per_second=speed,
            per_run=speed / runs,
            loss=rows[-1]["loss"],
            seconds={name: value for name, value in rows[-1].items() if name.startswith("seconds_")},
            tflops=speed * flops / 1e12,
            share_of_envpool=None if alone is None else speed / alone,
            peak_device_gib=peak_memory(),
        )

    once = timed(lambda: rows.extend(fleet.advance_all()))
    tell(once)
    # Each of the three parts takes at most as long as a whole update, and once more to begin with.
    allowed = max(1, int(min(repeats, seconds / (3 * once[0]) - 1)))
    tell(timed(lambda: rows.extend(fleet.advance_all()), allowed))


def _measure_parts(fleet: Fleet, result: dict[str, Any]) -> None:
    """Add the speeds of update and policy alone."""
    config = fleet.config
    steps, repeats = len(fleet.seeds) * config.steps_per_update, result["repeats"]
    update = steps / median(update_seconds(fleet, repeats))
    result["update_per_second"] = update
    result["update_tflops"] = update * config.epochs * training_flops(network_spec(config.network)) / 1e12
    result["share_of_update"] = result["steps_per_second"] / update
    result["policy_per_second"] = steps / median(policy_seconds(fleet, repeats))


def peak_memory() -> float | None:
    """The device's peak memory in this process in GiB, if it reports it."""
    statistics = jax.devices()[0].memory_stats() or {}
    peak = statistics.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30
