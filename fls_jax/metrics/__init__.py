"""Scores saliency maps against gaze in batches, in JAX.

Every metric takes `saliency` [N, H, W] and `fixations` [N, H, W] (how many gaze samples fell on each pixel),
as NumPy or JAX arrays of any real dtype, computes in float32 and returns float32 [N], with NaN where the
metric is undefined. All run under `jax.jit`, and a frame's value does not depend on the rest of the batch.
Several metrics or maps of the same frames under one jit share the work on the fixations.

The names and families are those of Bylinskii et al., "What do different evaluation metrics tell us about
saliency models?" (TPAMI 2019); the undefined cases and the "paper" protocols are those of Nikulin et al.,
"Free-Lunch Saliency via Attention in Atari Agents" (arXiv 1908.02511).
"""

from __future__ import annotations

from fls_jax.metrics.auc import auc_judd, shuffled_auc
from fls_jax.metrics.density import blur_fixations, smoothed_density
from fls_jax.metrics.distribution import cc, kl_divergence, sim
from fls_jax.metrics.location import information_gain, nss
from fls_jax.metrics.maps import as_batch

__all__ = [
    "as_batch",
    "auc_judd",
    "blur_fixations",
    "cc",
    "information_gain",
    "kl_divergence",
    "nss",
    "shuffled_auc",
    "sim",
    "smoothed_density",
]
