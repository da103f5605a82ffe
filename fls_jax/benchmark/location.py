"""How much of a map is on an object, relative to the object's size. Pure functions, NumPy."""

from __future__ import annotations

import numpy as np


def mass_share(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of a map's mass on the mask: non-negative [B, H, W] and bool [B, H, W] -> float64 [B].

    NaN if the map is zero everywhere or the mask is empty.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (maps * masks).sum(axis=(1, 2), dtype=float) / maps.sum(axis=(1, 2), dtype=float)
    return np.where(masks.any(axis=(1, 2)), share, np.nan)


def area_share(masks: np.ndarray) -> np.ndarray:
    """Share of the screen that the mask covers: bool [B, H, W] -> float64 [B], NaN if it is empty."""
    return np.where(masks.any(axis=(1, 2)), masks.mean(axis=(1, 2)), np.nan)


def lift(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the mass divided by share of the area: [B]; 1 is chance. NaN as in `mass_share`."""
    return mass_share(maps, masks) / area_share(masks)


def pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the map's maximum is on the mask (Zhang et al. 2018): [B]; of several maxima, the share.

    NaN if the mask is empty.
    """
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    hit = (largest & masks).sum(axis=(1, 2)) / largest.sum(axis=(1, 2))
    return np.where(masks.any(axis=(1, 2)), hit, np.nan)


def rank_accuracy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Of the K most salient pixels, the share on a mask of K pixels (Arras et al. 2022): [B].

    Pixels tied at rank K count by the share of them that is on the mask, as if drawn at random. NaN if the
    mask is empty.
    """
    scores = np.full(len(maps), np.nan)
    for number, (values, inside) in enumerate(zip(maps, masks, strict=True)):
        count = int(inside.sum())
        if count:
            threshold = np.partition(values.ravel(), -count)[-count]
            above, level = values > threshold, values == threshold
            left = count - above.sum()
            scores[number] = ((above & inside).sum() + left * (level & inside).sum() / level.sum()) / count
    return scores
