"""Similarity of two maps for sanity checks (Adebayo et al. 2018): Spearman, SSIM, HOG. NumPy."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from fls_jax.benchmark.shape import correlation

_SIGMA = 1.5
_CELL = 12
_BINS = 9


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation, ties at their mean rank: [B, H, W] twice -> float64 [B]; NaN if one is constant."""
    return correlation(
        *(rankdata(each.reshape(len(each), -1), axis=1)[..., None] for each in (first, second))
    )


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004): [B, H, W] twice -> float64 [B], 1 for maps that are the same.

    Each map is first scaled to [0, 1], because attribution maps have no common scale. The window is the
    paper's Gaussian of std 1.5 over 11 pixels, with K1 = 0.01 and K2 = 0.03. The mean leaves out 5 pixels at
    the border.
    """
    return np.array([_ssim(a, b) for a, b in zip(to_unit(first), to_unit(second), strict=True)])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, _SIGMA, truncate=3.5)

    ma, mb = mean(a), mean(b)
    va, vb, covariance = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * ma * mb + c1) * (2 * covariance + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(values[5:-5, 5:-5].mean())


def hog_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of the maps' histograms of oriented gradients: [B, H, W] twice -> float64 [B].

    NaN if a map has no gradient.
    """
    features = (np.stack([hog(each) for each in to_unit(maps)])[..., None] for maps in (first, second))
    return correlation(*features)


def hog(picture: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005): float [H, W] -> float64 [cells * 9].

    Cells of 12 x 12 pixels, 9 unsigned orientations weighted by the gradient's length without interpolation
    between them, every cell a block of its own, normalised as L2-Hys.
    """
    rows, columns = np.zeros_like(picture, float), np.zeros_like(picture, float)
    rows[1:-1] = picture[2:] - picture[:-2]
    columns[:, 1:-1] = picture[:, 2:] - picture[:, :-2]
    length, angle = np.hypot(rows, columns), np.rad2deg(np.arctan2(rows, columns)) % 180
    place = np.minimum(angle / (180 / _BINS), _BINS - 1).astype(int)
    votes = np.eye(_BINS)[place] * length[..., None]
    high, wide = picture.shape[0] // _CELL, picture.shape[1] // _CELL
    cells = votes[: high * _CELL, : wide * _CELL].reshape(high, _CELL, wide, _CELL, _BINS).mean(axis=(1, 3))
    return _hys(_hys(cells, None), 0.2).ravel()


def _hys(cells: np.ndarray, limit: float | None) -> np.ndarray:
    cells = cells if limit is None else np.minimum(cells, limit)
    return cells / np.sqrt((cells**2).sum(axis=-1, keepdims=True) + 1e-5**2)


def to_unit(maps: np.ndarray) -> np.ndarray:
    """Scale each map to [0, 1], a constant one to 0: [B, H, W] -> float64 [B, H, W]."""
    low, high = (of(maps.astype(float), axis=(1, 2), keepdims=True) for of in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)
