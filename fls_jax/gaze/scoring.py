"""All metrics of all maps of a batch of observations, in one compiled function.

Pure functions of arrays. Random keys depend only on the trial and the frame, so that a value does not depend
on batching, on other maps that are scored, or on earlier trials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from fls_jax import metrics
from fls_jax.gaze.observations import Protocol, Space

SIGMA: dict[Space, float] = {"screen": 5.0, "input": 2.0}
"""Standard deviation, in pixels, of the Gaussian that makes a density of fixations."""
SEED = 0
OTHER_FRAMES = 10
"""Number of frames whose fixations are the negatives of shuffled AUC under the paper protocol."""


class Evidence(NamedTuple):
    """The data for scoring B observations. `sampling`: the random part of shuffled AUC's protocol."""

    fixations: ArrayLike
    others: ArrayLike
    baseline: ArrayLike
    sigma: float
    sampling: tuple[Literal["closed", "paper"], Array | None]


class Metric(NamedTuple):
    """A column of the results: its heading in tables, and (maps [B, H, W], evidence) -> float32 [B]."""

    heading: str
    score: Callable[[Array, Evidence], Array]


_COLUMNS = {
    "nss": Metric("NSS", lambda maps, e: metrics.nss(maps, e.fixations)),
    "kl": Metric("KL", lambda maps, e: metrics.kl_divergence(maps, e.fixations, e.sigma, "paper")),
    "kl_smoothed": Metric(
        "smooth KL", lambda maps, e: metrics.kl_divergence(maps, e.fixations, e.sigma, "smoothed")
    ),
    "sauc": Metric("sAUC", lambda maps, e: metrics.shuffled_auc(maps, e.fixations, e.others, *e.sampling)),
    "cc": Metric("CC", lambda maps, e: metrics.cc(maps, e.fixations, e.sigma)),
    "sim": Metric("SIM", lambda maps, e: metrics.sim(maps, e.fixations, e.sigma)),
    "auc_judd": Metric("AUC Judd", lambda maps, e: metrics.auc_judd(maps, e.fixations)),
    "information_gain": Metric(
        "info gain", lambda maps, e: metrics.information_gain(maps, e.fixations, e.baseline)
    ),
}
METRICS = tuple(_COLUMNS)
"""Columns of the results. `kl` follows the published rule under both protocols."""
HEADINGS = {name: metric.heading for name, metric in _COLUMNS.items()}
"""Names of the metrics in tables; KL in nats, information gain over `centre` in bits per fixation."""


class FrameKeys(NamedTuple):
    """Random keys [B] of a trial's observations, one for each use."""

    others: Array
    splits: Array
    noise: Array


@jax.jit
def frame_keys(trial: ArrayLike, frames: ArrayLike) -> FrameKeys:
    """The keys of the observations at `frames` int [B] of the trial numbered `trial`."""
    key = jax.random.fold_in(jax.random.key(SEED), trial)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, frames)
    return FrameKeys(*jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0))


def draw_other_frames(keys: Array, own: np.ndarray, count: int) -> np.ndarray:
    """Draw the observations of a trial that give the negatives for others (Nikulin et al. 2019).

    Args:
        keys: one random key each, [B].
        own: int [B], the number of each observation, between 0 and count - 1.
        count: observations of the trial.

    Returns:
        int [B, 10], uniform with replacement among all others; [B, 0] if there is no other.
    """
    if count < 2:
        return np.zeros((len(own), 0), np.int64)
    drawn = np.asarray(_draw(keys, count - 1)).astype(np.int64)
    return drawn + (drawn >= np.asarray(own)[:, None])


@jax.jit
def _draw(keys: Array, below: ArrayLike) -> Array:
    return jax.vmap(lambda key: jax.random.randint(key, (OTHER_FRAMES,), 0, below))(keys)


def score_maps(
    maps: Array,
    fixations: ArrayLike,
    others: ArrayLike,
    baseline: ArrayLike,
    keys: Array,
    space: Space,
    protocol: Protocol,
) -> Array:
    """Every metric of every map of B observations; traceable, `space` and `protocol` static.

    Args:
        maps: float32 [M, B, H, W], M maps of each observation.
        fixations: counts [B, H, W].
        others: [B, H, W], the summed counts from which shuffled AUC takes its negatives: all of them under
            `aligned`; under `paper` as many as there are positives, drawn 100 times.
        baseline: float32 [H, W], positive, for information gain.
        keys: one random key for each observation, [B]; for `paper`.

    Returns:
        float32 [M, B, metrics] in the order of METRICS, NaN where undefined.
    """
    evidence = Evidence(
        fixations,
        others,
        baseline,
        SIGMA[space],
        ("closed", None) if protocol == "aligned" else ("paper", keys),
    )

    def score_one(maps: Array) -> Array:
        return jnp.stack([metric.score(maps, evidence) for metric in _COLUMNS.values()], axis=-1)

    # vmap instead of a loop over the maps: values of the fixations alone are then computed once.
    return jax.vmap(score_one)(maps)
