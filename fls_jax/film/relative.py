"""A clip's attention less what does not change: what is left shows what attention reacts to."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np

from fls_jax.errors import UserError
from fls_jax.networks.geometry import attention_geometry
from fls_jax.networks.specs import NetworkSpec

Relative = Literal["none", "mean", "background"]
SCALE_NAMES: dict[Relative, str] = {
    "none": "saliency", "mean": "less its mean", "background": "less background",
}  # fmt: skip
"""What the colour bar is called."""


def relative_attention(
    attention: np.ndarray, frames: np.ndarray, spec: NetworkSpec, relative: Relative
) -> np.ndarray:
    """Attention float32 [T, h, w] of a clip, less something: float32 [T, h, w], of either sign.

    `none`: as it is. `mean`: less its mean over the clip at every position. `background`: less the mean at
    that moment over the positions whose patch, of all four frames, is the clip's commonest.
    frames: uint8 [T, 4, 84, 84], what the agent saw. Raises UserError for `background` where fields overlap.
    """
    if relative == "none" or spec.attention is None:
        return attention
    if relative == "mean":
        return attention - attention.mean(axis=0)
    common = _commonest(_patches(frames, spec))
    return attention - _background(attention, common)[:, None, None]


def _patches(frames: np.ndarray, spec: NetworkSpec) -> np.ndarray:
    """The pixels of every position of every frame as bytes: [T, h, w]."""
    field, stride, padding = attention_geometry(spec)
    if field != stride or padding:
        raise UserError(
            f"--relative background is for maps of disjoint patches, and {spec.name} sees {field} pixels "
            f"every {stride}: use --relative mean, or a patch network."
        )
    side = 84 // stride
    cut = frames.reshape(-1, 4, side, stride, side, stride).transpose(0, 2, 4, 1, 3, 5)
    size = 4 * stride * stride
    return np.ascontiguousarray(cut).reshape(-1, side, side, size).view(f"V{size}")[..., 0]


def _commonest(patches: np.ndarray) -> np.ndarray:
    """bool [T, h, w]: where the patch is that of which there are most."""
    flat = [patch.tobytes() for patch in patches.ravel()]
    (content, _), *_ = Counter(flat).most_common(1)
    return np.array([patch == content for patch in flat]).reshape(patches.shape)


def _background(attention: np.ndarray, common: np.ndarray) -> np.ndarray:
    """float32 [T]: mean over the common positions; where a frame has none, that of the whole clip."""
    counts = common.sum(axis=(1, 2))
    sums = np.where(common, attention, 0).sum(axis=(1, 2), dtype=np.float64)
    whole = sums.sum() / counts.sum()
    return np.where(counts > 0, sums / np.maximum(counts, 1), whole).astype(np.float32)
