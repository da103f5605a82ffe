"""Placement of arrays: the mesh of local devices, sharded batches and replicated parameters."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from typing import Any, runtime_checkable

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fls_jax.errors import UserError
from fls_jax.ppo.rollout import join_observations


@runtime_checkable
class RolloutStore(typing.Protocol):
    """Stores the observations of one rollout, step by step, and within a step group by group."""

    def add(self, observations: np.ndarray) -> Array:
        """Store the next group's [N, ...]; returns them in the form that the policy takes."""
        ...

    def joined(self) -> Array:
        """All steps of all environments [T, N, ...], on the devices."""
        ...


def largest_divisor(most: int, sizes: Sequence[int]) -> int:
    """The largest number up to `most` that divides all sizes.

    >>> largest_divisor(6, (8, 256)), largest_divisor(8, (8, 0)), largest_divisor(3, (7,))
    (4, 8, 1)
    """
    return max(count for count in range(1, most + 1) if not any(size % count for size in sizes))


class Placement:
    """Data-parallel placement over the axis `data` of a mesh of local devices.

    Args:
        devices: number of local devices. 0: one on a CPU; on an accelerator as many as divide the
            environments and `batches` evenly.
        num_envs: environments of this process. Raises UserError if they do not divide among the devices.
        batches: sizes of other batches that are sharded; 0: no batch.
        inline: a CPU computes on the calling thread. This is faster for tiny networks, for which handing
            a program to another thread takes longer than the program. Large networks gain nothing.
    """

    def __init__(
        self, devices: int, num_envs: int, inline: bool = False, batches: Sequence[int] = ()
    ) -> None:
        if inline:  # has an effect only if this process has made no array yet
            jax.config.update("jax_cpu_enable_async_dispatch", False)
        local = jax.local_devices()
        everywhere = min(len(jax.local_devices(process)) for process in range(jax.process_count()))
        most = 1 if jax.default_backend() == "cpu" else everywhere
        count = devices or largest_divisor(most, (num_envs, *batches))
        if count > everywhere:
            raise UserError(f"--devices is {count}, but this machine has {everywhere}: choose fewer.")
        if num_envs % count:
            raise UserError(
                f"--num-envs is {num_envs}, which does not divide among {count} devices: "
                f"choose a multiple of {count}, or fewer --devices."
            )
        self.unused = 0 if devices else most - count
        """Devices left out because the environments and batches do not divide among all."""
        self.mesh: Mesh = jax.make_mesh(
            (count,), ("data",), axis_types=(AxisType.Auto,), devices=local[:count]
        )
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.by_env = NamedSharding(self.mesh, PartitionSpec("data"))
        self.by_time_and_env = NamedSharding(self.mesh, PartitionSpec(None, "data"))

        self._on_host = count == 1 and local[0].platform == "cpu"

    @property
    def count(self) -> int:
        """Devices in use."""
        return self.mesh.size

    def replicate(self, tree: Any) -> Any:
        """Copy the tree's arrays to every device, into new memory (the caller's may be donated)."""
        return jax.tree.map(lambda x: jax.device_put(x, self.replicated, may_alias=False), tree)

    def spread(self, batch: np.ndarray) -> Array:
        """Shard [N, ...] over the devices by environment."""
        return jax.device_put(batch, self.by_env)

    def fetch(self, array: Array) -> np.ndarray:
        """Wait for an array and return it as a host array."""
        # On a CPU no transfer is needed, and JAX's call for one takes longer than a small network.
        return np.asarray(array) if self._on_host else jax.device_get(array)

    def rollout_store(self, length: int, groups: int = 1, runs: int = 1) -> RolloutStore:
        """A store for the observations of a rollout of `length` steps.

        groups, runs: the environments are played in groups that take turns, and belong to several runs
        (see ppo/rollout.py for the order).
        """
        if self._on_host and 1 in (groups, runs):
            return _HostStore(length, groups)
        return _DeviceStore(self, groups, runs)

    def spread_rollout(self, columns: np.ndarray | Array) -> Array:
        """Shard [T, N, ...] over the devices by environment."""
        return jax.device_put(columns, self.by_time_and_env)


class _DeviceStore:
    """Each step is sent to the devices once, and joined there."""

    def __init__(self, placement: Placement, groups: int = 1, runs: int = 1) -> None:
        self._placement, self._runs = placement, runs
        self._steps: list[list[Array]] = [[] for _ in range(groups)]

    def add(self, observations: np.ndarray) -> Array:
        sent = self._placement.spread(observations)
        min(self._steps, key=len).append(sent)  # the groups come in turn
        return sent

    def joined(self) -> Array:
        return join_observations(self._steps, self._runs)


class _HostStore:
    """For a CPU: steps are written in place into memory that JAX then uses without a copy."""

    def __init__(self, length: int, groups: int = 1) -> None:
        self._length, self._groups, self._count = length, groups, 0
        self._steps = np.empty(0, np.uint8)

    def add(self, observations: np.ndarray) -> Array:
        size, *shape = observations.shape
        if self._count == 0:
            self._steps = _aligned((self._length, self._groups * size, *shape), observations.dtype)
        t, group = divmod(self._count, self._groups)
        kept = self._steps[t, group * size : (group + 1) * size]
        kept[...] = observations
        self._count += 1
        return jax.dlpack.from_dlpack(kept)  # faster than jax.device_put

    def joined(self) -> Array:
        return jax.device_put(self._steps)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array aligned to 64 bytes, which JAX uses without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
