"""Properties of a map that do not depend on the screen: sparsity, and steadiness over time. NumPy."""

from __future__ import annotations

import numpy as np


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini coefficient of a map's pixels (Hurley and Rickard 2009): non-negative [B, H, W] -> float64 [B].

    0 if all pixels are equal, close to 1 if all mass is on one pixel. NaN for a map of zeros.
    """
    ordered = np.sort(maps.reshape(len(maps), -1).astype(float), axis=1)
    n = ordered.shape[1]
    weights = (2 * np.arange(1, n + 1) - n - 1) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ordered @ weights) / ordered.sum(axis=1)


def effective_area(maps: np.ndarray) -> np.ndarray:
    """exp(entropy) of a map as a density, as a share of its pixels: non-negative [B, H, W] -> float64 [B].

    The area that a uniform map of the same entropy covers; 1 if all pixels are equal. NaN for zeros.
    """
    flat = maps.reshape(len(maps), -1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        density = flat / flat.sum(axis=1, keepdims=True)
        terms = np.where(density > 0, density * np.log(density), 0)
    entropy = -terms.sum(axis=1)
    return np.where(flat.sum(axis=1) > 0, np.exp(entropy) / flat.shape[1], np.nan)


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation of maps over pixels: [B, H, W] twice -> float64 [B]; NaN if one is constant."""
    a, b = (each.reshape(len(each), -1).astype(float) for each in (first, second))
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
