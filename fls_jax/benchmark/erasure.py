"""Object erasure: replace one object with the background, and measure the change of the output."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax
from scipy.stats import spearmanr

from fls_jax.benchmark.objects import Thing
from fls_jax.networks.chunking import over_blocks
from fls_jax.saliency.averages import background
from fls_jax.saliency.question import Question, compiled

_AT_ONCE = 256
RESAMPLES = 200


class Effects(NamedTuple):
    """The effect of erasing each object: float64 [n].

    policy: KL of the policy without the object from the policy with it, in nats. value: |change of V|.
    """

    policy: np.ndarray
    value: np.ndarray


def erasable(observations: np.ndarray, things: list[Thing]) -> list[Thing]:
    """The objects that differ from the background somewhere: the others cannot be painted over with it.

    Most bricks, or pellets, are in the background themselves, because they are there most of the time.
    """
    differs = (observations != background(observations)[None]).any(axis=-1)
    return [thing for thing in things if differs[thing.frame][thing.mask].any()]


def erase(question: Question, things: list[Thing]) -> Effects:
    """Replace each of n objects with the background, in all four frames, one object at a time."""
    behind = background(question.observations)
    logits, values = [], []
    for start in range(0, len(things), _AT_ONCE):
        some = things[start : start + _AT_ONCE]
        frames = question.observations[[thing.frame for thing in some]].astype(np.float32)
        masks = np.stack([thing.mask for thing in some])[..., None]
        painted = np.where(masks, behind[None], frames).astype(np.float32)
        said = over_blocks(lambda block: compiled(question.apply)(question.params, block)[:2], painted)
        logits.append(said[0])
        values.append(said[1])
    frame = [thing.frame for thing in things]
    before = log_softmax(question.answer.logits[frame].astype(float), axis=-1)
    after = log_softmax(np.concatenate(logits).astype(float), axis=-1)
    policy = (np.exp(before) * (before - after)).sum(axis=-1)
    return Effects(policy, np.abs(np.concatenate(values) - question.answer.value[frame]).astype(float))


def masses(maps: np.ndarray, things: list[Thing]) -> np.ndarray:
    """Share of its frame's mass on each object: non-negative maps [B, H, W] -> float64 [n]."""
    totals = maps.sum(axis=(1, 2), dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([maps[t.frame][t.mask].sum(dtype=float) / totals[t.frame] for t in things])


def rank_agreement(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, seed: int = 0
) -> tuple[float, float, float, int]:
    """Spearman's correlation over objects [n], its 95 % interval from resampled games, their number."""
    defined = np.isfinite(first) & np.isfinite(second)
    first, second, clusters = first[defined], second[defined], clusters[defined]
    games = [np.flatnonzero(clusters == game) for game in np.unique(clusters)]
    value, nan = _spearman(first, second), float("nan")
    if len(games) < 2:
        return value, nan, nan, len(first)
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([games[g] for g in random.integers(0, len(games), len(games))])
        draws.append(_spearman(first[rows], second[rows]))
    draws = np.array(draws)[np.isfinite(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (nan, nan)
    return value, float(low), float(high), len(first)


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)
