"""The training loop in memory: environments, network, rollouts and updates, without files.

A fleet trains several runs of one configuration together; trainer.py has the single run. All randomness
depends only on a run's key and the number of the update, so a run is the same in a fleet and alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.chunking import default_chunk_size
from fls_jax.networks.modules import ActorCritic, count_parameters, initial_params
from fls_jax.networks.specs import network_spec
from fls_jax.ppo.actor import Collector, Pool, Rollout
from fls_jax.ppo.environments import MakePool, atari_pool, group_count, make_pools, resume_seed
from fls_jax.ppo.episodes import EpisodeStatistics
from fls_jax.ppo.hosts import Hosts, exchange, share
from fls_jax.ppo.lanes import InTurn, Lanes, Mapped
from fls_jax.ppo.losses import ApplyFn
from fls_jax.ppo.rollout import channels_last
from fls_jax.ppo.sharding import Placement
from fls_jax.ppo.update import TrainState, init_train_state
from fls_jax.process.timing import PhaseTimer
from fls_jax.types import NetworkOutput, Params

TINY_NETWORK = 20_000  # parameters
_ROLLOUTS, _UPDATES = 1, 2  # streams of the run's key; 0 is the parameters' (initial_params)
_PHASES = ("policy", "environment", "transfer", "update")


def build_network(config: TrainConfig, num_actions: int, devices: int = 1) -> ActorCritic:
    """The configured network, in the fastest form for the backend."""
    return ActorCritic(
        network_spec(config.network),
        num_actions,
        dtype=jnp.dtype(config.compute_dtype),
        chunk_size=default_chunk_size(devices),
        precision=config.matmul_precision,
    )


def network_apply(network: nn.Module) -> ApplyFn:
    """(params, observations uint8 [N, 4, 84, 84] as EnvPool lays them out) -> NetworkOutput."""

    def apply(params: Params, observations: jax.Array) -> NetworkOutput:
        return cast(NetworkOutput, network.apply({"params": params}, channels_last(observations)))

    return apply


def check_spread(config: TrainConfig, devices: int) -> None:
    """Raise UserError if the samples of a gradient do not divide evenly among the devices."""
    for name, size in (("Minibatches", config.minibatch_size), ("Microbatches", config.microbatch)):
        if size % devices:
            raise UserError(
                f"{name} of {size} samples do not divide among {devices} devices: choose fewer --devices, or "
                "change --microbatch, --minibatches, --num-envs or --rollout-length."
            )


class Fleet:
    """Runs of one configuration that differ only in their seeds, updated together in memory.

    Args:
        config: a validated configuration, its game in EnvPool's spelling; its own seed is not used.
        seeds: one per run, at least one.
        network: another Flax module with ActorCritic's call, in place of the configured one.
        make_pool: (config, seeds) -> as many environments, in place of Atari.
        mapped: compute all runs in one program, or one after the other; None: the faster way on the device.

    Several runs share one device (UserError otherwise).
    """

    def __init__(
        self,
        config: TrainConfig,
        seeds: Sequence[int],
        network: nn.Module | None = None,
        make_pool: MakePool = atari_pool,
        mapped: bool | None = None,
    ) -> None:
        self.config, self.seeds = config, tuple(seeds)
        runs = len(self.seeds)
        if runs > 1 and config.devices > 1:
            raise UserError(
                f"--devices is {config.devices}, but {runs} seeds at once share one device: leave it out."
            )
        tiny = network is not None and count_parameters(network) < TINY_NETWORK
        mine = share(config.num_envs)
        batches = tuple(size * mine // config.num_envs for size in (config.minibatch_size, config.microbatch))
        self.placement = Placement(1 if runs > 1 else config.devices, mine, tiny, batches)
        self.hosts = Hosts(self.placement)
        check_spread(config, self.hosts.devices)
        self._groups = group_count(config, self.hosts.devices)
        self._make_pool = make_pool
        self._pools = self._make_pools(self.seeds)
        self.network = network or build_network(config, self._pools[0].num_actions, self.hosts.devices)
        self._has_attention = network is None and network_spec(config.network).attention is not None
        self.lanes = self._make_lanes(jax.default_backend() != "cpu" if mapped is None else mapped)
        self._keys = self.placement.replicate(jnp.stack([jax.random.key(seed) for seed in self.seeds]))
        self.states: Any = self.hosts.lift(self.lanes.join([self._initial_state(run) for run in range(runs)]))
        self.episodes = [EpisodeStatistics() for _ in self.seeds]
        self.updates = 0
        self._collector = self._make_collector()
        self._actor = ThreadPoolExecutor(1, "actor") if config.overlap else None
        self._pending: Future[Rollout] | None = None

    @property
    def env_step(self) -> int:
        """Agent steps that each run has trained on so far."""
        return self.updates * self.config.steps_per_update

    def advance_all(self) -> list[dict[str, Any]]:
        """One rollout and one update of every run. Returns each run's metrics as Python numbers.

        The seconds of the phases are those of all runs together, the same in all rows. With `overlap` the
        rollout was collected during the previous update, with the parameters from before it.
        """
        rollout = self._next_rollout()
        timer = PhaseTimer()
        with timer("update"):
            keys = self.hosts.lift(self._stream(_UPDATES, self.updates))
            self.states, metrics = self.lanes.update(self.states, self.hosts.join(rollout.trajectory), keys)
            fetched = jax.device_get(metrics)
            rollout = self._games_of_all(rollout)
        self.updates += 1
        seconds = rollout.seconds | timer.seconds
        phases = {f"seconds_{phase}": seconds.get(phase, 0.0) for phase in _PHASES}
        rows = []
        for run, (numbers, episodes) in enumerate(zip(fetched, self.episodes, strict=True)):
            mine = rollout.runs == run
            episodes.add(rollout.returns[mine], rollout.lengths[mine])
            numbers = {name: float(value) for name, value in numbers.items() if self._tells(name)}
            counters = {"update": self.updates, "env_step": self.env_step}
            rows.append(counters | episodes.row() | numbers | phases)
        return rows

    def checkpoint_of(self, run: int) -> tuple[Any, dict[str, Any]]:
        """(params, learner) of a run: copies of all that it needs to resume, alone or in a fleet."""
        copy = _copy(self.lanes.part(self.states, run))
        learner = {
            "optimiser": copy.optimiser,
            "update": copy.update,
            "key": self.hosts.lift(jax.random.key_data(self._keys)[run]),
            "statistics": self.episodes[run].to_arrays(),
        }
        return copy.params, learner

    def restore_all(self, checkpoints: Sequence[tuple[Any, dict[str, Any]]]) -> None:
        """Resume from the runs' checkpoints of one update. New games are started, seeded by the update."""
        updates = {int(learner["update"]) for _, learner in checkpoints}
        if len(updates) != 1 or len(checkpoints) != len(self.seeds):
            raise ValueError(f"{len(self.seeds)} runs must resume from the same update, not from {updates}.")
        if self._pending is not None:  # it was played with other parameters, in games that end here
            self._pending.exception()  # waits until it no longer uses them
            self._pending = None
        states = [
            TrainState(params, learner["optimiser"], learner["update"]) for params, learner in checkpoints
        ]
        self.states = self.hosts.lift(self.lanes.join(states))
        self._keys = jax.random.wrap_key_data(jnp.stack([learner["key"] for _, learner in checkpoints]))
        self.episodes = [
            EpisodeStatistics.from_arrays(jax.device_get(learner["statistics"])) for _, learner in checkpoints
        ]
        (self.updates,) = updates
        self._close_pools()
        self._pools = self._make_pools([resume_seed(seed, self.updates) for seed in self.seeds])
        self._collector = self._make_collector()

    def close(self) -> None:
        """Stop the actor and the environments."""
        if self._actor is not None:
            self._actor.shutdown(wait=True, cancel_futures=True)
        self._close_pools()

    def _make_pools(self, seeds: Sequence[int]) -> list[Pool]:
        hosts = self.hosts
        return make_pools(self._make_pool, self.config, seeds, self._groups, hosts.index, hosts.count)

    def _games_of_all(self, rollout: Rollout) -> Rollout:
        """The rollout with the games that ended in the other processes too."""
        if self.hosts.count == 1:
            return rollout
        own = np.stack([rollout.returns, rollout.lengths.astype(float)])
        told = [np.frombuffer(each).reshape(2, -1) for each in exchange(own.tobytes())]
        returns, lengths = np.concatenate(told, axis=1)
        runs = np.zeros(len(returns), np.int64)
        return rollout._replace(returns=returns, lengths=lengths.astype(np.int64), runs=runs)

    def _close_pools(self) -> None:
        for pool in self._pools:
            pool.close()

    def _make_lanes(self, mapped: bool) -> Lanes:
        apply, runs = network_apply(self.network), len(self.seeds)
        if mapped and runs > 1:
            return Mapped(apply, self.config, runs)
        return InTurn(apply, self.config, runs, self.hosts.mesh if self.hosts.devices > 1 else None)

    def _make_collector(self) -> Collector:
        length, runs, hosts = self.config.rollout_length, len(self.seeds), self.hosts
        return Collector(
            self._pools, self.lanes.apply, length, self.placement, runs, hosts.index, hosts.count
        )

    def _params(self) -> Params:
        """The runs' parameters for acting."""
        return self.hosts.own(self.lanes.params(self.states))

    def _tells(self, metric: str) -> bool:
        """Whether a metric exists for this network."""
        return self._has_attention or not metric.startswith("attention_")

    def _next_rollout(self) -> Rollout:
        if self._actor is None:
            return self._collector.collect(self._params(), self._stream(_ROLLOUTS, self.updates))
        rollout = (self._pending or self._start_rollout(self._actor, self.updates)).result()
        self._pending = self._start_rollout(self._actor, self.updates + 1)
        return rollout

    def _start_rollout(self, actor: ThreadPoolExecutor, number: int) -> Future[Rollout]:
        # The update donates its parameters, so the actor plays with copies.
        params = _copy(self._params())
        return actor.submit(self._collector.collect, params, self._stream(_ROLLOUTS, number))

    def _stream(self, purpose: int, number: int) -> jax.Array:
        """The runs' keys [S] for a purpose and an update."""
        return _fold(self._keys, self.placement.replicate(np.array([purpose, number], np.uint32)))

    def _initial_state(self, run: int) -> TrainState:
        params = jax.jit(partial(initial_params, self.network))(self._keys[run])
        return self.placement.replicate(init_train_state(params, self.config))


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


@jax.jit
def _fold(keys: jax.Array, numbers: jax.Array) -> jax.Array:
    """Keys [S], each folded with the numbers, one after the other."""
    for number in numbers:
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
    return keys
