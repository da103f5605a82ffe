"""The machine: card, driver, versions, cores, and EnvPool alone on them."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import jax
import numpy as np

from benchmarks.machine import describe_machine
from fls_jax.config import TrainConfig
from fls_jax.ppo.environments import atari_pool, environment_seeds
from fls_jax.runs.provenance import commit, versions

ENVPOOL_SIZES = (8, 64, 128, 256)


def describe() -> dict[str, Any]:
    """Cards with driver and memory, JAX's device, versions, processor, commit."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "platform": getattr(device.client, "platform_version", "").splitlines()[:3],
        "cards": cards(),
        "versions": versions(),
        "machine": describe_machine(),
        "commit": commit(),
    }


def cards() -> list[str]:
    """What nvidia-smi says: name, driver, memory, power limit; empty without nvidia-smi."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,power.limit",
        "--format=csv,noheader",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()


def envpool_alone(num_envs: int, seconds: float = 2.0) -> dict[str, float]:
    """Agent steps per second of EnvPool itself, with random actions and no network."""
    pool = atari_pool(config := TrainConfig(num_envs=num_envs), environment_seeds(config, 1))
    pool.reset()
    generator = np.random.default_rng(0)
    actions = generator.integers(0, pool.num_actions, (64, num_envs), dtype=np.int32)
    inner = pool._pool.envpool
    inner.step(actions[0])
    start, steps = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        inner.step(actions[steps // num_envs % len(actions)])
        steps += num_envs
    return {"steps_per_second": steps / taken}
