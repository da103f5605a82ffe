"""Control maps, which show how much a map scores for reasons other than the agent.

Even a map that does not depend on the game scores well above chance once it is drawn through receptive
fields: these overlap most in the middle of the screen, where people look. Each control isolates one such
reason; `untrained` differs from the model only by the training.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax.gaze.observations import Protocol, Space, map_shape
from fls_jax.gaze.scoring import SIGMA
from fls_jax.metrics import blur_fixations
from fls_jax.networks.specs import NetworkSpec
from fls_jax.saliency import controls
from fls_jax.saliency.projection import interpolation, project

MODEL = "model"
UNTRAINED = "untrained"
OTHER_TRIALS, OTHER_HUMANS = "other_trials", "other_humans"
CONTROLS = ("uniform", "centre", OTHER_TRIALS, OTHER_HUMANS, "frame_difference", "random", UNTRAINED)
"""In the order of every table. `untrained` is the network itself with fresh random weights."""


def place(maps: ArrayLike, space: Space) -> Array:
    """Maps float [B, 84, 84] of the observation in the `space` of the scores: float32 [B, H, W].

    On the screen this equals saliency.projection.to_screen, but interpolates as a + f (b - a), so that equal
    neighbours stay equal to the last bit. Drawn maps have plateaus, and the area under the ROC curve counts
    ties as one half. Interpolating as (1 - f) a + f b would break ties, which can change a frame's AUC by
    0.03.
    """
    maps = jnp.asarray(maps, jnp.float32)
    if space == "screen":
        for axis, size in zip((1, 2), map_shape(space), strict=True):
            before, after, share = _neighbours(maps.shape[axis], size)
            low = jnp.take(maps, before, axis=axis)
            high = jnp.take(maps, after, axis=axis)
            maps = low + jnp.expand_dims(share, (0, 3 - axis)) * (high - low)
    return maps


def _neighbours(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new_size` pixels, the two of `size` that surround it and the weight of the second.

    int32, int32 and float32 [new_size]. Pixel centres are at half integers; an axis is mirrored at its ends.
    """
    weights = interpolation(size, new_size)
    before = np.argmax(weights > 0, axis=1).astype(np.int32)
    after = np.minimum(before + 1, size - 1).astype(np.int32)
    share = np.where(after > before, weights[np.arange(new_size), after], 0)
    return before, after, share.astype(np.float32)


def network_maps(attention: ArrayLike, spec: NetworkSpec, protocol: Protocol, space: Space) -> Array:
    """Attention [B, h, w] drawn through the network's receptive fields into `space`: float32 [B, H, W]."""
    return place(project(attention, spec, protocol), space)


def uniform_map(spec: NetworkSpec, protocol: Protocol, space: Space) -> np.ndarray:
    """`uniform`: attention of 1 at every position, drawn like the network's own: float32 [H, W]."""
    return np.asarray(place(controls.uniform_map(spec, protocol)[None], space)[0])


def centre_map(space: Space) -> np.ndarray:
    """`centre`: a Gaussian at the centre of the map with std H/4 and W/4: float32 [H, W], maximum 1."""
    return controls.centre_map(map_shape(space))


def gaze_map(counts: np.ndarray, space: Space) -> np.ndarray:
    """`other_trials`, `other_humans`: gaze that is not of this trial, pooled and blurred: float32 [H, W].

    counts: [H, W], the samples at each pixel (see game_gaze.py). The blur is that of the fixations.
    """
    return np.asarray(blur_fixations(counts, SIGMA[space]))


def frame_differences(stacks: ArrayLike, space: Space) -> Array:
    """`frame_difference`: change between the last two planes of each stack, in `space`: float32 [B, H, W].

    |newest - second newest| / 255 of uint8 [B, 84, 84, 4]. At a trial's first observation the second newest
    is black.
    """
    return place(controls.frame_differences(stacks), space)


def random_maps(keys: Array, space: Space) -> Array:
    """`random`: each pixel of each frame uniform in [0, 1), independent: float32 [B, H, W].

    keys: one random key per frame, [B].
    """
    return controls.random_maps(keys, map_shape(space))
