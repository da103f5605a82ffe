"""Parameter counts of the networks with 4 actions, both heads included."""

from __future__ import annotations

from fls_jax.statistics import paper

OURS = {"cnn_patch": 1_680_549, "cnn_patch_fls": 1_682_726}
"""Networks that are not in the paper."""
COUNTS = paper.PARAMETERS | OURS
