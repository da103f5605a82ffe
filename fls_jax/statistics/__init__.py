"""Statistics of scores: aggregates with their uncertainty, and human-normalised scores."""

from __future__ import annotations

from fls_jax.statistics.aggregates import (
    Interval,
    bootstrap_intervals,
    interquartile_mean,
    iqm,
    mean,
    median,
    median_of_means,
    optimality_gap,
)
from fls_jax.statistics.comparisons import (
    Band,
    bootstrap_band,
    iqm_curve,
    performance_profile,
    probability_of_improvement,
)
from fls_jax.statistics.human_scores import REFERENCES, human_normalised

__all__ = [
    "REFERENCES",
    "Band",
    "Interval",
    "bootstrap_band",
    "bootstrap_intervals",
    "human_normalised",
    "interquartile_mean",
    "iqm",
    "iqm_curve",
    "mean",
    "median",
    "median_of_means",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
]
