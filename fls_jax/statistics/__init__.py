"""Scores summarised: aggregates with their uncertainty, and scores relative to a human's."""

from __future__ import annotations

from fls_jax.statistics.aggregates import (
    Interval,
    bootstrap_intervals,
    interquartile_mean,
    iqm,
    mean,
    median,
    median_of_means,
)
from fls_jax.statistics.human_scores import REFERENCES, human_normalised

__all__ = [
    "REFERENCES",
    "Interval",
    "bootstrap_intervals",
    "human_normalised",
    "interquartile_mean",
    "iqm",
    "mean",
    "median",
    "median_of_means",
]
