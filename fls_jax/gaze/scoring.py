"""All metrics of all maps of a batch of observations, in one compiled function.

Pure: arrays in, arrays out. Random numbers come from keys that belong to a trial and a frame, so a value does
not depend on how observations are batched, which maps are scored beside it or which trials came before.
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
"""Frames whose fixations are shuffled AUC's negatives under the paper protocol."""


class Evidence(NamedTuple):
    """What B observations are scored against; `sampling` is what shuffled AUC takes of its protocol."""

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
"""Columns of the results. `kl` is the published rule under either protocol."""
HEADINGS = {name: metric.heading for name, metric in _COLUMNS.items()}
"""Metrics as tables name them; KL in nats, information gain over `centre` in bits a fixation."""


class FrameKeys(NamedTuple):
    """Random keys [B] of the observations of a trial, one for each thing that is drawn."""

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
    """Which observations of a trial of `count` give the negatives of others (Nikulin et al. 2019).

    Args:
        keys: one random key each, [B].
        own: int [B]: which observation each is, between 0 and count - 1.
        count: observations of the trial.

    Returns:
        int [B, 10], uniform with replacement among all but the own; [B, 0] where there is no other.
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
        others: [B, H, W], the summed counts that shuffled AUC takes its negatives from: under `aligned` every
            one of them, under `paper` as many as there are positives, drawn 100 times.
        baseline: float32 [H, W], positive: what information gain is over.
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

    # vmap, and not a loop over the maps: what depends on the fixations alone is then computed once.
    return jax.vmap(score_one)(maps)
