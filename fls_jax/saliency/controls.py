"""Controls: maps that do not depend on the network's parameters, for comparison with saliency maps.

A map drawn through receptive fields, or one that favours the centre or motion, can score well without the
network. Each control isolates one of these causes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.networks.chunking import over_blocks
from fls_jax.networks.geometry import attention_shape
from fls_jax.networks.specs import NetworkSpec
from fls_jax.saliency.projection import Protocol, project
from fls_jax.saliency.question import CannotExplainError, Question


def random(question: Question) -> np.ndarray:
    """Each pixel of each frame uniform in [0, 1), independent: [T, B, H, W], the same for all targets."""
    return for_all_targets(question, random_maps(question.keys, question.observations.shape[1:3]))


def centre(question: Question) -> np.ndarray:
    """A Gaussian at the centre with std H/4 and W/4 and maximum 1: [T, B, H, W]."""
    return for_all_targets(question, centre_map(question.observations.shape[1:3])[None])


def uniform(question: Question, painted: np.ndarray | None = None) -> np.ndarray:
    """Uniform attention: [T, B, H, W].

    painted: [H, W], attention of 1 at every position, drawn through the network's receptive fields (which
    makes it non-uniform). Agents pass their own; without it the map is 1 everywhere.
    """
    flat = np.ones(question.observations.shape[1:3], np.float32)
    return for_all_targets(question, (flat if painted is None else painted)[None])


def frame_difference(question: Question) -> np.ndarray:
    """Change between the last two frames, |newest - second newest| / 255: [T, B, H, W].

    Raises CannotExplainError if an observation is a single frame.
    """
    if question.observations.shape[-1] < 2:
        raise CannotExplainError("frame_difference needs observations of two frames or more.")
    return for_all_targets(question, over_blocks(_frame_differences, question.observations))


def for_all_targets(question: Question, maps: ArrayLike) -> np.ndarray:
    """Maps [B, H, W], or one [1, H, W], for every target and frame: float32 [T, B, H, W]."""
    shape = len(question.targets), *question.observations.shape[:3]
    return np.broadcast_to(np.asarray(maps, np.float32)[None], shape)


def centre_map(shape: tuple[int, int]) -> np.ndarray:
    """A Gaussian at the centre of a map with std H/4 and W/4: float32 [H, W], 1 at its centre."""
    rows, columns = (np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (size / 4)) ** 2) for size in shape)
    return np.outer(rows, columns).astype(np.float32)


def uniform_map(spec: NetworkSpec, protocol: Protocol = "aligned") -> Array:
    """Attention of 1 at every position, drawn like the network's own: float32 [84, 84].

    For a network without attention, the geometry is that of its last features.
    """
    return project(np.ones((1, *attention_shape(spec)), np.float32), spec, protocol)[0]


def frame_differences(stacks: ArrayLike) -> Array:
    """|newest - second newest| / 255 of each stack: uint8 [B, H, W, C] -> float32 [B, H, W]."""
    planes = jnp.asarray(stacks).astype(jnp.float32)
    return jnp.abs(planes[..., -1] - planes[..., -2]) / 255


_frame_differences = jax.jit(frame_differences)


def random_maps(keys: Array, shape: tuple[int, int]) -> Array:
    """Each pixel of each frame uniform in [0, 1), independent: float32 [B, *shape].

    keys: one random key per frame, [B].
    """
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)
