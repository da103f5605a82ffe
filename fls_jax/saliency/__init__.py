"""Saliency: which pixels of an observation mattered to the agent. Maps: float32 [B, H, W], not normalised.

`METHODS` holds all methods by name; `compute` applies one to any function of parameters and observations.
"""

from fls_jax.saliency.effects import changes
from fls_jax.saliency.methods import METHODS, Method, compute, compute_targets
from fls_jax.saliency.question import Question
from fls_jax.saliency.variants import answers

__all__ = ["METHODS", "Method", "Question", "answers", "changes", "compute", "compute_targets"]
