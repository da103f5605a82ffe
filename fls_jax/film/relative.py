"""A clip's attention minus its constant part: the rest shows what attention reacts to."""

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
"""Labels of the colour bar."""


def relative_attention(
    attention: np.ndarray, frames: np.ndarray, spec: NetworkSpec, relative: Relative
) -> np.ndarray:
    """Attention float32 [T, h, w] of a clip minus a reference: float32 [T, h, w], signed.

    `none`: unchanged. `mean`: minus the mean over the clip at every position. `background`: minus the mean
    at that moment over the positions whose patch (in all four frames) is the most frequent in the clip.
    frames: uint8 [T, 4, 84, 84], the agent's inputs. Raises UserError for `background` if fields overlap.
    """
    if relative == "none" or spec.attention is None:
        return attention
    if relative == "mean":
        return attention - attention.mean(axis=0)
    common = _commonest(_patches(frames, spec))
    return attention - _background(attention, common)[:, None, None]


def _patches(frames: np.ndarray, spec: NetworkSpec) -> np.ndarray:
    """The pixels of every position and frame as bytes: [T, h, w]."""
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
    """bool [T, h, w]: whether the patch is the most frequent one."""
    flat = [patch.tobytes() for patch in patches.ravel()]
    (content, _), *_ = Counter(flat).most_common(1)
    return np.array([patch == content for patch in flat]).reshape(patches.shape)


def _background(attention: np.ndarray, common: np.ndarray) -> np.ndarray:
    """float32 [T]: mean over the common positions; if a frame has none, the mean of the whole clip."""
    counts = common.sum(axis=(1, 2))
    sums = np.where(common, attention, 0).sum(axis=(1, 2), dtype=np.float64)
    whole = sums.sum() / counts.sum()
    return np.where(counts > 0, sums / np.maximum(counts, 1), whole).astype(np.float32)
