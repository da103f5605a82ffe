"""The actor: plays the policy in the environments and returns a trajectory.

Groups of environments take turns: the device chooses actions for one group while the threads of the other
pools play.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import NamedTuple, runtime_checkable

import jax
import numpy as np

from fls_jax.ppo.losses import ApplyFn
from fls_jax.ppo.rollout import (
    PolicyStep,
    group_noise,
    join_columns,
    join_steps,
    make_policy_step,
    put_values,
)
from fls_jax.ppo.sharding import Placement
from fls_jax.process.timing import PhaseTimer
from fls_jax.types import EnvStep, Params, Trajectory


@runtime_checkable
class Pool(typing.Protocol):
    """Environments that are stepped together, with the interface of AtariPool."""

    num_envs: int
    num_actions: int

    def reset(self) -> np.ndarray:
        """Restart every game: observations [N, 4, 84, 84]."""
        ...

    def send(self, actions: np.ndarray) -> None:
        """Send an action int [N] to every environment, without waiting for the result."""
        ...

    def receive(self) -> EnvStep:
        """Wait for the result."""
        ...

    def close(self) -> None:
        """Stop the environments."""
        ...


class Rollout(NamedTuple):
    """A trajectory, the whole games that ended in it, and the seconds of its phases.

    With several runs, the trajectory's N environments are ordered run after run.
    returns: float64 [k], raw returns. lengths: int64 [k], agent steps. runs: int64 [k], the run of each game.
    """

    trajectory: Trajectory
    returns: np.ndarray
    lengths: np.ndarray
    runs: np.ndarray
    seconds: dict[str, float]


class Collector:
    """Steps environments with a policy; each rollout continues where the previous one stopped.

    Args:
        pools: one per group, of equal sizes (started by the first rollout); each holds the same
            environments of every run, run after run.
        apply: (params, observations [N, 4, 84, 84]) -> NetworkOutput, for the environments of a group.
        length: T, agent steps of each environment in a rollout.
        placement: where the arrays go.
        runs: S, runs that share the pools.
        host, hosts: of several processes, each with its share of the environments, which this one is; the
            sampling noise is that of one process with all of them.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        apply: ApplyFn,
        length: int,
        placement: Placement,
        runs: int = 1,
        host: int = 0,
        hosts: int = 1,
    ) -> None:
        self._pools, self._length, self._placement, self._runs = pools, length, placement, runs
        self._host, self._hosts = host, hosts
        self._policy_step = make_policy_step(apply)
        self._value = jax.jit(lambda params, observations: apply(params, observations).value)
        self._observations: list[np.ndarray] = []

    def collect(self, params: Params, keys: jax.Array) -> Rollout:
        """T steps in every environment, actions sampled by the runs' keys [S]; arrays stay on the devices.

        A step sends only observations to the device and fetches only actions.
        """
        timer, place = PhaseTimer(), self._placement
        if not self._observations:
            with timer("environment"):
                self._observations = [pool.reset() for pool in self._pools]
        store = place.rollout_store(self._length, len(self._pools), self._runs)
        outcomes = _Outcomes(self._length, self._pools, self._runs)
        steps: list[list[PolicyStep]] = [[] for _ in self._pools]
        with timer("policy"):
            noise = [place.spread_rollout(part) for part in self._noise(keys)]
            clocks = [place.replicate(np.int32(0)) for _ in self._pools]
        for t in range(self._length + 1):
            for group, pool in enumerate(self._pools):
                if t > 0:
                    with timer("environment"):
                        step = pool.receive()
                    self._observations[group] = step.observations
                    outcomes.add(t - 1, group, step)
                    if step.final_observations is not None:
                        with timer("policy"):
                            values = self._value(params, place.spread(step.final_observations))
                            outcomes.add_values(t - 1, group, values, place)
                if t < self._length:
                    with timer("transfer"):
                        seen = store.add(self._observations[group])
                    with timer("policy"):
                        policy, clocks[group] = self._policy_step(params, seen, noise[group], clocks[group])
                        actions = place.fetch(policy.actions)
                    with timer("environment"):
                        pool.send(actions)
                    steps[group].append(policy)
        with timer("policy"):
            last = [self._value(params, place.spread(seen)) for seen in self._observations]
        with timer("transfer"):
            trajectory = Trajectory(
                store.joined(),
                *join_steps(steps, self._runs),
                *(join_columns(parts, self._runs, 1) for parts in outcomes.placed(place)),
                join_columns(last, self._runs, 0),
            )
            jax.block_until_ready(trajectory)
        return Rollout(trajectory, *outcomes.games(), timer.seconds)

    def _noise(self, keys: jax.Array) -> list[jax.Array]:
        """The sampling noise of each group, [T, N, A]."""
        pool, groups = self._pools[0], len(self._pools)
        num_envs = pool.num_envs * groups * self._hosts // self._runs
        noise = group_noise(keys, self._length, num_envs, pool.num_actions, groups * self._hosts)
        return noise[self._host * groups : (self._host + 1) * groups]


class _Outcomes:
    """The results of the environments in one rollout: [T, N] per group, and the games that ended."""

    def __init__(self, length: int, pools: Sequence[Pool], runs: int) -> None:
        self._runs = runs
        shapes = [(length, pool.num_envs) for pool in pools]
        self._rewards = [np.zeros(shape, np.float32) for shape in shapes]
        self._terminated = [np.zeros(shape, bool) for shape in shapes]
        self._truncated = [np.zeros(shape, bool) for shape in shapes]
        self._values: dict[int, jax.Array] = {}
        self._games: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, t: int, group: int, step: EnvStep) -> None:
        """Store step t of a group."""
        self._rewards[group][t] = step.rewards
        self._terminated[group][t] = step.terminated
        self._truncated[group][t] = step.truncated
        of_a_run = len(step.rewards) // self._runs
        self._games.append(
            (step.finished_returns, step.finished_lengths, step.finished_environments // of_a_run)
        )

    def add_values(self, t: int, group: int, values: jax.Array, place: Placement) -> None:
        """Store values float32 [N] of the last real observations of step t where it was truncated."""
        rows = self._values.get(group)
        if rows is None:
            rows = place.spread_rollout(np.zeros_like(self._rewards[group]))
        truncated = place.spread(self._truncated[group][t])
        self._values[group] = put_values(rows, place.replicate(np.int32(t)), values, truncated)

    def placed(self, place: Placement) -> list[list[jax.Array]]:
        """Rewards, terminated, truncated and truncation values, of each group, on the devices."""
        columns = [
            [place.spread_rollout(x) for x in c] for c in (self._rewards, self._terminated, self._truncated)
        ]
        values = [
            self._values[group] if group in self._values else place.spread_rollout(np.zeros_like(rewards))
            for group, rewards in enumerate(self._rewards)
        ]
        return [*columns, values]

    def games(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns, lengths and runs of the games that ended, in order of time."""
        returns, lengths, runs = zip(*self._games, strict=True)
        return np.concatenate(returns), np.concatenate(lengths), np.concatenate(runs)
