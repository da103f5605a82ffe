"""Interesting moments: advantages, important states, and the bookmarks made from them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from fls_jax.benchmark.highlights import importance
from fls_jax.ppo.losses import advantages as gae
from fls_jax.types import Trajectory

HIGHLIGHTS = 4
_APART = 30  # steps between two bookmarks of a kind: two seconds of play


def advantages(
    rewards: np.ndarray, values: np.ndarray, ends: np.ndarray, gamma: float, gae_lambda: float
) -> np.ndarray:
    """Generalised advantage estimates of a clip: float32 [T]; the last is NaN because nothing follows it.

    rewards: float [T], raw; only their sign is used, as in training. values: float [T]. ends: bool [T].
    """
    known = slice(0, len(values) - 1)
    ours, signs = (jnp.asarray(each[known, None], jnp.float32) for each in (values, np.sign(rewards)))
    nothing, never = jnp.zeros_like(ours), jnp.zeros(ours.shape, bool)
    trajectory = Trajectory(
        observations=nothing,
        actions=nothing,
        log_probs=nothing,
        values=ours,
        rewards=signs,
        terminated=jnp.asarray(ends[known, None], bool),
        truncated=never,
        truncation_values=nothing,
        last_value=jnp.asarray(values[-1:], jnp.float32),
    )
    found = np.full(len(values), np.nan, np.float32)
    if len(values) > 1:
        found[known] = np.asarray(gae(trajectory, gamma, gae_lambda))[:, 0]
    return found


def peaks(values: np.ndarray, count: int, apart: int = _APART) -> list[int]:
    """The steps of the largest values, largest first, none within `apart` of a larger one; NaN is ignored."""
    chosen: list[int] = []
    for step in np.argsort(-values, kind="stable"):
        if len(chosen) == count or not np.isfinite(values[step]):
            break
        if all(abs(int(step) - other) >= apart for other in chosen):
            chosen.append(int(step))
    return chosen


def bookmarks(
    advantage: np.ndarray,
    logits: np.ndarray,
    ends: np.ndarray,
    games: np.ndarray,
    change: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Bookmarks in order of time: {frame, kind, text}. change: of the policy without the map, if any."""
    found = [_mark(t, "highest", f"highest advantage ({advantage[t]:+.2f})") for t in peaks(advantage, 2)]
    found += [_mark(t, "lowest", f"lowest advantage ({advantage[t]:+.2f})") for t in peaks(-advantage, 2)]
    found += highlights(logits, change)
    for t in np.flatnonzero(ends):
        over = t + 1 < len(games) and games[t + 1] > games[t]
        found.append(_mark(int(t), "life", "game over" if over else "life lost"))
    return sorted(found, key=lambda mark: mark["frame"])


def highlights(logits: np.ndarray, change: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Bookmarks where the choice matters, and where it depends on the map most; see `bookmarks`."""
    weight = importance(logits)
    found = [
        _mark(t, "highlight", f"choice matters (logits span {weight[t]:.1f})")
        for t in peaks(weight, HIGHLIGHTS)
    ]
    if change is not None:
        words = "depends on the map (policy changes by"
        found += [_mark(t, "depends", f"{words} {change[t]:.0%})") for t in peaks(change, 2)]
    return found


def _mark(frame: int, kind: str, text: str) -> dict[str, Any]:
    return {"frame": frame, "kind": kind, "text": text}


def effective_area(maps: np.ndarray) -> np.ndarray:
    """exp(entropy) of maps float [T, h, w] over their pixels: float [T], 1 if all pixels are equal.

    NaN for a map of zeros. The distribution over pixels is made of absolute values.
    """
    flat = np.abs(maps.reshape(len(maps), -1)).astype(np.float64)
    mass = flat.sum(axis=1, keepdims=True)
    share = np.divide(flat, mass, out=np.full_like(flat, np.nan), where=mass > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.exp(-(share * logs).sum(axis=1)) / flat.shape[1]


def policy_change(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Total variation between policies, probabilities float [T, A] each: float [T], 0 to 1."""
    return np.abs(one - other).sum(axis=1) / 2
