"""Where arrays live: the mesh of local devices, batches spread over it, parameters copied to all."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fls_jax.errors import UserError


class Placement:
    """Data-parallel placement over the axis `data` of a mesh of local devices.

    Args:
        devices: how many local devices; 0 is all on an accelerator and one on a CPU.
        num_envs: environments, which must divide evenly among the devices (UserError otherwise).
    """

    def __init__(self, devices: int, num_envs: int) -> None:
        local = jax.local_devices()
        count = devices or (1 if jax.default_backend() == "cpu" else len(local))
        if count > len(local):
            raise UserError(f"--devices is {count}, but this machine shows {len(local)}: ask for fewer.")
        if num_envs % count:
            raise UserError(
                f"--num-envs is {num_envs}, which does not divide among {count} devices: "
                f"choose a multiple of {count}, or fewer --devices."
            )
        self.mesh: Mesh = jax.make_mesh(
            (count,), ("data",), axis_types=(AxisType.Auto,), devices=local[:count]
        )
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.by_env = NamedSharding(self.mesh, PartitionSpec("data"))
        self.by_time_and_env = NamedSharding(self.mesh, PartitionSpec(None, "data"))

    @property
    def count(self) -> int:
        """Devices in use."""
        return self.mesh.size

    def replicate(self, tree: Any) -> Any:
        """The tree's arrays on every device, in memory of their own (the caller's may be donated)."""
        return jax.tree.map(lambda x: jax.device_put(x, self.replicated, may_alias=False), tree)

    def spread(self, batch: np.ndarray) -> Array:
        """[N, ...] spread over the devices by environment."""
        return jax.device_put(batch, self.by_env)

    def spread_rollout(self, columns: np.ndarray) -> Array:
        """[T, N] spread over the devices by environment."""
        return jax.device_put(columns, self.by_time_and_env)
