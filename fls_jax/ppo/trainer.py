"""PPO in motion: environments, network, rollouts and updates, without files.

`Trainer.advance` is one update. Everything random follows from the run's key and the update's number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.atari.pool import AtariPool
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.chunking import default_chunk_size
from fls_jax.networks.modules import ActorCritic, count_parameters, initial_params
from fls_jax.networks.specs import network_spec
from fls_jax.ppo.actor import Collector, Rollout, channels_last
from fls_jax.ppo.losses import ApplyFn
from fls_jax.ppo.sharding import Placement
from fls_jax.ppo.update import TrainState, init_train_state, make_update
from fls_jax.process.timing import PhaseTimer
from fls_jax.types import NetworkOutput, Params

SCORE_WINDOW = 100
TINY_NETWORK = 20_000  # parameters
_ROLLOUTS, _UPDATES = 1, 2  # streams of the run's key; 0 is the parameters' (initial_params)
_PHASES = ("policy", "environment", "transfer", "update")


class EpisodeStatistics:
    """Raw returns and lengths of the last 100 whole games, and how many have finished in all."""

    def __init__(self) -> None:
        self.returns: deque[float] = deque(maxlen=SCORE_WINDOW)
        self.lengths: deque[int] = deque(maxlen=SCORE_WINDOW)
        self.games = 0

    def add(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Count k finished games: float [k], int [k]."""
        self.returns.extend(returns.tolist())
        self.lengths.extend(lengths.tolist())
        self.games += len(returns)

    def row(self) -> dict[str, Any]:
        """eprewmean (Baselines), eprewmedian, eplenmean (agent steps), None before a game has ended."""
        if not self.returns:
            return {"eprewmean": None, "eprewmedian": None, "eplenmean": None, "episodes": self.games}
        return {
            "eprewmean": float(np.mean(self.returns)),
            "eprewmedian": float(np.median(self.returns)),
            "eplenmean": float(np.mean(self.lengths)),
            "episodes": self.games,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint: windows of 100 padded with NaN and 0, and the count."""
        returns, lengths = np.full(SCORE_WINDOW, np.nan), np.zeros(SCORE_WINDOW, np.int64)
        returns[: len(self.returns)] = self.returns
        lengths[: len(self.lengths)] = self.lengths
        return {"returns": returns, "lengths": lengths, "games": np.asarray(self.games, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> EpisodeStatistics:
        """Read back what to_arrays gave."""
        statistics = cls()
        window = np.asarray(arrays["returns"])
        present = ~np.isnan(window)
        statistics.add(window[present], np.asarray(arrays["lengths"])[present])
        statistics.games = int(arrays["games"])
        return statistics


def build_network(config: TrainConfig, num_actions: int, devices: int = 1) -> ActorCritic:
    """The configured network, in the form that suits the backend."""
    return ActorCritic(
        network_spec(config.network),
        num_actions,
        dtype=jnp.dtype(config.compute_dtype),
        chunk_size=default_chunk_size(devices),
    )


def network_apply(network: nn.Module) -> ApplyFn:
    """(params, observations uint8 [N, 4, 84, 84] as EnvPool lays them out) -> NetworkOutput."""

    def apply(params: Params, observations: jax.Array) -> NetworkOutput:
        return cast(NetworkOutput, network.apply({"params": params}, channels_last(observations)))

    return apply


def environment_seeds(seed: int, num_envs: int) -> list[int]:
    """A seed below 2^31 for each environment, drawn from (seed, environment): other seeds share none."""
    sequences = (np.random.SeedSequence([seed, i]) for i in range(num_envs))
    return [int(sequence.generate_state(1)[0] >> 1) for sequence in sequences]


def atari_pool(config: TrainConfig, seed: int) -> AtariPool:
    """The environments that a configuration asks for."""
    return AtariPool(
        config.game,
        config.num_envs,
        environment_seeds(seed, config.num_envs) if config.environment_seeds == "spread" else seed,
        max_episode_steps=config.max_episode_steps,
        sticky_actions=config.sticky_actions,
        threads=config.env_threads,
    )


def check_spread(config: TrainConfig, devices: int) -> None:
    """UserError where the samples of a gradient do not divide evenly among the devices."""
    for name, size in (("Minibatches", config.minibatch_size), ("Microbatches", config.microbatch)):
        if size % devices:
            raise UserError(
                f"{name} of {size} samples do not divide among {devices} devices: choose fewer --devices, or "
                "change --microbatch, --minibatches, --num-envs or --rollout-length."
            )


class Trainer:
    """A training run in memory.

    Args:
        config: a validated configuration, its game in EnvPool's spelling.
        network: another Flax module with ActorCritic's call, in place of the configured one.
        make_pool: (config, seed) -> environments with AtariPool's methods, in place of Atari.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module | None = None,
        make_pool: Callable[[TrainConfig, int], AtariPool] = atari_pool,
    ) -> None:
        self.config = config
        tiny = network is not None and count_parameters(network) < TINY_NETWORK
        batches = (config.minibatch_size, config.microbatch)
        self.placement = Placement(config.devices, config.num_envs, tiny, batches)
        check_spread(config, self.placement.count)
        self._make_pool = make_pool
        self._pool = make_pool(config, config.seed)
        self.network = network or build_network(config, self._pool.num_actions, self.placement.count)
        self._has_attention = network is None and network_spec(config.network).attention is not None
        self._apply = network_apply(self.network)
        self._key = jax.random.key(config.seed)
        self.state: TrainState = self._initial_state()
        self.statistics = EpisodeStatistics()
        self.updates = 0
        self._update = make_update(
            self._apply, config, self.placement.mesh if self.placement.count > 1 else None
        )
        self._collector = Collector(self._pool, self._apply, config.rollout_length, self.placement)
        self._actor = ThreadPoolExecutor(1, "actor") if config.overlap else None
        self._pending: Future[Rollout] | None = None

    @property
    def env_step(self) -> int:
        """Agent steps trained on so far."""
        return self.updates * self.config.steps_per_update

    def advance(self) -> dict[str, Any]:
        """One rollout and one update; the metrics as Python numbers, seconds by phase included.

        With `overlap` the rollout was collected during the update before, by the parameters before it.
        """
        rollout = self._next_rollout()
        timer = PhaseTimer()
        with timer("update"):
            key = self._stream(_UPDATES, self.updates)
            self.state, metrics = self._update(self.state, rollout.trajectory, key)
            numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not self._has_attention:
                numbers = {k: v for k, v in numbers.items() if not k.startswith("attention_")}
        self.updates += 1
        self.statistics.add(rollout.returns, rollout.lengths)
        seconds = rollout.seconds | timer.seconds
        return (
            {"update": self.updates, "env_step": self.env_step}
            | self.statistics.row()
            | numbers
            | {f"seconds_{phase}": seconds.get(phase, 0.0) for phase in _PHASES}
        )

    def checkpoint(self) -> tuple[Any, dict[str, Any]]:
        """(params, learner): copies of everything that a resumed run needs."""
        copy = jax.tree.map(jnp.copy, self.state)
        learner = {
            "optimiser": copy.optimiser,
            "update": copy.update,
            "key": jax.random.key_data(self._key),
            "statistics": self.statistics.to_arrays(),
        }
        return copy.params, learner

    def restore(self, params: Any, learner: dict[str, Any]) -> None:
        """Go on from what `checkpoint` gave; the games start anew, seeded by the update reached."""
        if self._pending is not None:  # played with other parameters, in the games that end here
            self._pending.exception()  # waits until it no longer uses them
            self._pending = None
        self.state = TrainState(params, learner["optimiser"], learner["update"])
        self._key = jax.random.wrap_key_data(learner["key"])
        self.statistics = EpisodeStatistics.from_arrays(jax.device_get(learner["statistics"]))
        self.updates = int(learner["update"])
        self._pool.close()
        sequence = np.random.SeedSequence([self.config.seed, self.updates])
        self._pool = self._make_pool(self.config, int(sequence.generate_state(1)[0] >> 2))
        self._collector = Collector(self._pool, self._apply, self.config.rollout_length, self.placement)

    def close(self) -> None:
        """Stop the actor and the environments."""
        if self._actor is not None:
            self._actor.shutdown(wait=True, cancel_futures=True)
        self._pool.close()

    def _next_rollout(self) -> Rollout:
        if self._actor is None:
            return self._collector.collect(self.state.params, self._stream(_ROLLOUTS, self.updates))
        rollout = (self._pending or self._start_rollout(self._actor, self.updates)).result()
        self._pending = self._start_rollout(self._actor, self.updates + 1)
        return rollout

    def _start_rollout(self, actor: ThreadPoolExecutor, number: int) -> Future[Rollout]:
        # The update donates its parameters, so the actor plays with copies.
        params = jax.tree.map(jnp.copy, self.state.params)
        return actor.submit(self._collector.collect, params, self._stream(_ROLLOUTS, number))

    def _stream(self, purpose: int, number: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(self._key, purpose), number)

    def _initial_state(self) -> TrainState:
        params = jax.jit(partial(initial_params, self.network))(self._key)
        return self.placement.replicate(init_train_state(params, self.config))
