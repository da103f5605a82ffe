"""How several runs share a device: one after the other, or all in one program mapped over their parameters.

`join` combines the runs' trees (train states or parameters) into one; `part` extracts one run's tree again.
Both forms do the arithmetic of single runs, but may sum in another order.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from functools import partial
from typing import Any, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from fls_jax.config import TrainConfig
from fls_jax.ppo.losses import ApplyFn, Metrics
from fls_jax.ppo.update import make_update
from fls_jax.types import NetworkOutput, Params, Trajectory


@runtime_checkable
class Lanes(typing.Protocol):
    """S runs on a device. N: the environments of one run, or of one group of them."""

    def join(self, trees: Sequence[Any]) -> Any:
        """Combine the runs' trees of arrays into one."""
        ...

    def part(self, joined: Any, run: int) -> Any:
        """One run's tree from the joined one."""
        ...

    def params(self, states: Any) -> Params:
        """The joined parameters of joined train states."""
        ...

    def apply(self, params: Params, observations: Array) -> NetworkOutput:
        """Joined parameters, observations [S * N, ...] run after run -> the output for [S * N]."""
        ...

    def update(self, states: Any, trajectory: Trajectory, keys: Array) -> tuple[Any, list[Metrics]]:
        """Joined train states, the trajectory of [T, S * N], keys [S] -> new states, metrics of each run."""
        ...


class InTurn:
    """One run after the other: fastest on a CPU, and the form of a single run, with or without a mesh."""

    def __init__(self, apply: ApplyFn, config: TrainConfig, runs: int, mesh: Mesh | None = None) -> None:
        self._apply, self._runs = apply, runs
        self._update = make_update(apply, config, mesh)

    def join(self, trees: Sequence[Any]) -> tuple[Any, ...]:
        """See Lanes."""
        return tuple(trees)

    def part(self, joined: Any, run: int) -> Any:
        """See Lanes."""
        return joined[run]

    def params(self, states: Any) -> Params:
        """See Lanes."""
        return tuple(state.params for state in states)

    def apply(self, params: Params, observations: Array) -> NetworkOutput:
        """See Lanes."""
        batches = jnp.split(observations, self._runs)
        outputs = [self._apply(own, batch) for own, batch in zip(params, batches, strict=True)]
        return outputs[0] if self._runs == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *outputs)

    def update(self, states: Any, trajectory: Trajectory, keys: Array) -> tuple[Any, list[Metrics]]:
        """See Lanes."""
        done = [
            self._update(state, own, _item(keys, run))
            for run, (state, own) in enumerate(zip(states, _by_run(trajectory, self._runs), strict=True))
        ]
        return tuple(state for state, _ in done), [metrics for _, metrics in done]


class Mapped:
    """All runs in one program: every array has a leading axis of runs, over which it is vmapped."""

    def __init__(self, apply: ApplyFn, config: TrainConfig, runs: int) -> None:
        self._apply, self._runs = jax.vmap(apply), runs
        self._update = make_update(apply, config, runs=runs)

    def join(self, trees: Sequence[Any]) -> Any:
        """See Lanes."""
        return _stack(list(trees))

    def part(self, joined: Any, run: int) -> Any:
        """See Lanes."""
        return _item(joined, run)

    def params(self, states: Any) -> Params:
        """See Lanes."""
        return states.params

    def apply(self, params: Params, observations: Array) -> NetworkOutput:
        """See Lanes."""
        output = self._apply(params, observations.reshape(self._runs, -1, *observations.shape[1:]))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), output)

    def update(self, states: Any, trajectory: Trajectory, keys: Array) -> tuple[Any, list[Metrics]]:
        """See Lanes."""
        states, metrics = self._update(states, trajectory, keys)
        return states, [_item(metrics, run) for run in range(self._runs)]


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnums=1)
def _item(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def _by_run(trajectory: Trajectory, runs: int) -> list[Trajectory]:
    return [trajectory] if runs == 1 else _split(trajectory, runs)


@partial(jax.jit, static_argnums=1)
def _split(trajectory: Trajectory, runs: int) -> list[Trajectory]:
    """Each run's trajectory [T, N] from that of all runs [T, S * N]."""
    parts = [jnp.split(x, runs, axis=min(x.ndim, 2) - 1) for x in trajectory]
    return [Trajectory(*columns) for columns in zip(*parts, strict=True)]
