"""Several processes that train together: arrays joined across them, and messages between them.

Each process plays its own share of the environments with its own devices. Their parts are joined to arrays
over the devices of all processes. With a single process every function here returns its argument.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fls_jax.errors import UserError
from fls_jax.ppo.sharding import Placement
from fls_jax.process.cluster import wait_for_all
from fls_jax.types import Trajectory

_SMALLEST = 1024  # bytes of a message; sizes are powers of two, so that little is compiled


class Hosts:
    """The processes of this training, each with as many devices as `placement` has here.

    index, count: the number of this process, and of all. mesh: all devices, process by process.
    """

    def __init__(self, placement: Placement) -> None:
        self.index, self.count = jax.process_index(), jax.process_count()
        self._here = placement
        self.mesh: Mesh = placement.mesh
        if self.count > 1:
            by_process = [jax.local_devices(process)[: placement.count] for process in range(self.count)]
            devices = [device for own in by_process for device in own]
            self.mesh = jax.make_mesh(
                (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
            )

    @property
    def devices(self) -> int:
        """Devices of all processes."""
        return self.mesh.size

    def lift(self, tree: Any) -> Any:
        """Equal arrays that every process has in full, as arrays on all devices."""
        if self.count == 1:
            return tree
        return jax.tree.map(lambda x: self._join(self._here.replicate(x), PartitionSpec()), tree)

    def own(self, tree: Any) -> Any:
        """The inverse of `lift`: arrays on all devices as this process's own, without a copy."""
        if self.count == 1:
            return tree
        return jax.tree.map(self._own, tree)

    def join(self, trajectory: Trajectory) -> Trajectory:
        """Join each process's [T, N / count, ...] to [T, N, ...], process by process."""
        if self.count == 1:
            return trajectory
        wait_for_all()  # the update follows
        specs = [PartitionSpec("data") if x.ndim == 1 else PartitionSpec(None, "data") for x in trajectory]
        placed = [
            jax.device_put(x, NamedSharding(self._here.mesh, spec))
            for x, spec in zip(trajectory, specs, strict=True)
        ]
        return Trajectory(*(self._join(x, spec) for x, spec in zip(placed, specs, strict=True)))

    def _join(self, array: Array, spec: PartitionSpec) -> Array:
        """This process's array, sharded by `spec` over its devices, as its part of one over all devices."""
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._join(jax.random.key_data(array), spec))
        shape = list(array.shape)
        if "data" in spec:
            shape[spec.index("data")] *= self.count
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(tuple(shape), NamedSharding(self.mesh, spec), shards)

    def _own(self, array: Array) -> Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, self._here.replicated, shards)


def exchange(payload: bytes) -> list[bytes]:
    """The payloads of all processes, in their order; all must call this together."""
    if jax.process_count() == 1:
        return [payload]
    wait_for_all()
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(payload)))).ravel()
    room = max(_SMALLEST, 1 << int(sizes.max() - 1).bit_length())
    padded = np.zeros(room, np.uint8)
    padded[: len(payload)] = np.frombuffer(payload, np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def in_any_process(flag: bool) -> bool:
    """Whether the flag is true in any process; all must call this together."""
    if jax.process_count() == 1:
        return flag
    wait_for_all()
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def share(num_envs: int) -> int:
    """Environments of each process. Raises UserError if they do not divide among the processes."""
    count = jax.process_count()
    if num_envs % count:
        raise UserError(
            f"--num-envs is {num_envs}, which does not divide among {count} processes: choose a multiple of "
            f"{count}."
        )
    return num_envs // count
