"""States that matter, each unlike the others: HIGHLIGHTS-DIV (Amir and Amir, AAMAS 2018). NumPy."""

from __future__ import annotations

import numpy as np

CANDIDATES = 5
"""Frames played for each that is chosen."""
_PAIRS = 1000


def importance(logits: np.ndarray) -> np.ndarray:
    """How much it matters which action is taken: float [T], the range of the logits float [T, A].

    HIGHLIGHTS uses the range of Q. The logits of a softmax policy over Q differ by the differences of Q
    divided by the temperature.
    """
    return logits.max(axis=1) - logits.min(axis=1)


def diverse(weights: np.ndarray, pictures: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of `count` of T states, int64 ascending: the weightiest of which no two are alike.

    In descending order of weight [T], a state is selected if its picture uint8 [T, H, W] is further than a
    limit from all selected ones (root of the sum of squared differences). The limit is half the median
    distance of random pairs; it is halved until enough states are found. HIGHLIGHTS-DIV has the same two
    aims, but compares a state with the most similar selected one and keeps that with the larger weight.
    """
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    random = np.random.default_rng(seed)
    one, other = random.integers(0, len(flat), (2, _PAIRS))
    limit = float(np.median(np.linalg.norm(flat[one] - flat[other], axis=1))) / 2
    while len(chosen := _apart(weights, flat, count, limit)) < count:
        limit = limit / 2 if limit > 1 else -1.0
    return np.sort(chosen)


def _apart(weights: np.ndarray, flat: np.ndarray, count: int, limit: float) -> np.ndarray:
    """At most `count`, the weightiest first, each further than `limit` from those before."""
    nearest = np.full(len(flat), np.inf)  # distance to those taken
    chosen: list[int] = []
    for number in np.argsort(-weights, kind="stable"):
        if nearest[number] > limit:
            chosen.append(int(number))
            if len(chosen) == count:
                break
            nearest = np.minimum(nearest, np.linalg.norm(flat - flat[number], axis=1))
    return np.array(chosen, np.int64)
