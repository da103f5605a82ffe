"""Makes one measurement in this process and prints the result as one JSON line.

    .venv/bin/python -m benchmarks.measure end-to-end --network cnn --num-envs 8

`benchmarks/throughput.py` runs these one after the other. Times are wall clock, including everything.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from fls_jax.config import TrainConfig
from fls_jax.process.allocator import restart_with_settings

PROXY = "block_mean"
Part = Literal["loop", "policy", "update", "end-to-end", "memory"]


@dataclass(frozen=True)
class Measure:
    """Measure one part of training."""

    part: Annotated[Part, tyro.conf.Positional]
    game: str = "Pong"
    """game, as EnvPool spells it"""
    network: str = "cnn"
    """published name of the network, or block_mean: a network of almost no cost"""
    num_envs: int = 8
    """games played in parallel"""
    updates: int = 4
    """timed repeats (updates, or the same number of steps), after one that is not timed"""
    overlap: bool = False
    """collect rollouts while updating"""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the extractor's arithmetic"""
    microbatch: int = 0
    """samples per accumulated gradient; 0: the whole minibatch at once"""
    allocator: Literal["tuned", "default"] = "tuned"
    """memory settings of the process, as in `fls train`"""

    def config(self) -> TrainConfig:
        """The paper's configuration with these options."""
        known = {} if self.network == PROXY else {"network": self.network}
        return replace(
            TrainConfig(),
            game=self.game,
            num_envs=self.num_envs,
            overlap=self.overlap,
            compute_dtype=self.compute_dtype,
            microbatch=self.microbatch,
            **known,
        ).validated()


def loop(options: Measure) -> dict[str, Any]:
    """Whole updates, alternating with as many steps of EnvPool alone with random actions.

    They alternate because a machine's speed drifts. EnvPool's auto-reset steps count as steps.
    """
    from benchmarks.parts import timed
    from fls_jax.ppo.environments import atari_pool, environment_seeds

    trainer = make_trainer(options)
    pool = atari_pool(options.config(), environment_seeds(options.config(), 1))
    inner = pool._pool.envpool  # EnvPool itself, without our bookkeeping
    inner.reset()
    generator = np.random.default_rng(0)
    shape = (options.config().rollout_length, options.num_envs)
    actions = generator.integers(0, pool.num_actions, shape, dtype=np.int32)
    alone: list[float] = []
    whole: list[float] = []
    for _ in range(options.updates + 1):
        alone += timed(lambda: [inner.step(row) for row in actions])
        whole += timed(trainer.advance)
    trainer.close()
    return {"seconds": whole[1:], "seconds_envpool": alone[1:]}


def policy_alone(options: Measure) -> dict[str, Any]:
    """Actions sampled for a rollout's worth of observations, copied to the device and back each step."""
    from benchmarks.parts import policy_seconds

    return {"seconds": policy_seconds(make_trainer(options), options.updates)}


def update_alone(options: Measure) -> dict[str, Any]:
    """Epochs of minibatches on one collected rollout."""
    from benchmarks.parts import update_seconds

    return {"seconds": update_seconds(make_trainer(options), options.updates)}


def end_to_end(options: Measure) -> dict[str, Any]:
    """Whole updates as `fls train` runs them, and the seconds of each phase in the median one."""
    from benchmarks.parts import timed

    trainer = make_trainer(options)
    rows: list[dict[str, Any]] = []
    seconds = timed(lambda: rows.append(trainer.advance()), options.updates)
    trainer.close()
    phases = [name for name in rows[-1] if name.startswith("seconds_")]
    return {
        "seconds": seconds,
        "phases": {
            name.removeprefix("seconds_"): float(np.median([r[name] for r in rows[1:]])) for name in phases
        },
        "losses": {name: rows[-1][name] for name in ("loss_policy", "loss_value")},
    }


def compiled_memory(options: Measure) -> dict[str, Any]:
    """Bytes of the compiled update, from JAX's analysis of the whole-batch lax.conv form, which is not run.

    This is a proxy for device memory: the CPU backend's buffers, without temporaries inside convolutions.
    """
    os.environ["JAX_PLATFORMS"] = (
        "cpu"  # even with an accelerator, so that the proxy is the same on all machines
    )
    import jax
    import jax.numpy as jnp

    from fls_jax.networks.modules import ActorCritic
    from fls_jax.networks.specs import network_spec
    from fls_jax.ppo.fleet import network_apply
    from fls_jax.ppo.update import init_train_state, make_update
    from fls_jax.types import Trajectory

    config = options.config()
    network = ActorCritic(network_spec(config.network), 6, dtype=jnp.dtype(config.compute_dtype))

    def fresh(key: jax.Array) -> Any:
        params = network.init(key, jnp.zeros((1, 84, 84, 4), jnp.uint8))["params"]
        return init_train_state(params, config)

    T, N = config.rollout_length, config.num_envs
    shape: Any = jax.ShapeDtypeStruct
    numbers, flags = shape((T, N), jnp.float32), shape((T, N), jnp.bool_)
    trajectory = Trajectory(
        observations=shape((T, N, 4, 84, 84), jnp.uint8),
        actions=shape((T, N), jnp.int32),
        log_probs=numbers,
        values=numbers,
        rewards=numbers,
        terminated=flags,
        truncated=flags,
        truncation_values=numbers,
        last_value=shape((N,), jnp.float32),
    )
    key = jax.random.key(0)
    update: Any = make_update(network_apply(network), config, scanned=True)
    start = time.perf_counter()
    analysis = update.lower(jax.eval_shape(fresh, key), trajectory, key).compile().memory_analysis()
    return {
        "compile_seconds": time.perf_counter() - start,
        "temporary_bytes": analysis.temp_size_in_bytes,
        "argument_bytes": analysis.argument_size_in_bytes,
        "total_bytes": analysis.temp_size_in_bytes
        + analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes,
    }


def make_trainer(options: Measure) -> Any:
    """A Trainer on the configured network, or around the proxy."""
    from benchmarks.proxy import BlockMeanNetwork
    from fls_jax.atari.emulator import action_names
    from fls_jax.atari.pool import games
    from fls_jax.ppo.trainer import Trainer

    network = None
    if options.network == PROXY:
        network = BlockMeanNetwork(len(action_names(games()[options.game])))
    return Trainer(options.config(), network=network)


PARTS: dict[Part, Callable[[Measure], dict[str, Any]]] = {
    "loop": loop,
    "policy": policy_alone,
    "update": update_alone,
    "end-to-end": end_to_end,
    "memory": compiled_memory,
}


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Measure, config=(tyro.conf.FlagCreatePairsOff,))
    if options.allocator == "tuned":
        restart_with_settings()
    result = PARTS[options.part](options)
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    result |= {
        "steps": options.config().steps_per_update,
        "trained_samples": options.config().steps_per_update * options.config().epochs,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_device_bytes": statistics.get("peak_bytes_in_use"),
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
