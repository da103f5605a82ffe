"""The original's formulas for NSS, KL divergence and shuffled AUC, a frame at a time, as a speed reference.

Nikulin et al. (arXiv 1908.02511) score each frame with NumPy, `scipy.stats.entropy`, OpenCV's Gaussian blur
and 100 calls of scikit-learn's `roc_auc_score`, after a transposed convolution and scikit-image's `resize`.
The functions below are those formulas in float64, without batching, caching or short cuts beyond what these
libraries do; `None` is an undefined frame. They share no code with `fls_jax`, so they check its values as
well as its speed.

    python benchmarks/gaze_metrics_reference.py [--frames 32] [--reference-frames 8]

times both on the same synthetic frames and prints milliseconds a frame, the ratio and the largest difference.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from statistics import median

import cv2
import jax
import numpy as np
import scipy.stats
import skimage.transform
from sklearn.metrics import roc_auc_score

from fls_jax import metrics
from fls_jax.gaze.controls import network_maps
from fls_jax.networks.specs import network_spec

SPLITS = 100
OTHER_FRAMES = 10


def nss(saliency: np.ndarray, fixations: np.ndarray) -> float | None:
    """Mean z-score of the map at the fixations. Both [H, W]; `fixations` are integer counts."""
    std = saliency.std()
    if not np.isfinite(saliency).all() or np.isclose(std, 0) or not fixations.any():
        return None
    return float(np.average((saliency - saliency.mean()) / std, weights=fixations))


def kl_divergence(saliency: np.ndarray, fixations: np.ndarray, sigma: float) -> float | None:
    """KL divergence of the map from the blurred fixations, in nats, without an epsilon. Both [H, W]."""
    gaze = cv2.GaussianBlur(fixations.astype(np.float64), (0, 0), sigma)
    in_reach = gaze > 0
    if not np.isfinite(saliency).all() or not in_reach.any() or np.isclose(saliency[in_reach], 0).any():
        return None
    return float(scipy.stats.entropy(gaze.ravel(), saliency.ravel()))


def draw_other_frames(counts: np.ndarray, frame: int, rng: np.random.Generator) -> np.ndarray:
    """The summed fixations [H, W] of 10 frames of `counts` [T, H, W]: with replacement, never `frame`."""
    drawn = rng.integers(len(counts) - 1, size=OTHER_FRAMES)
    return counts[drawn + (drawn >= frame)].sum(axis=0)


def shuffled_auc(
    saliency: np.ndarray, fixations: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> float | None:
    """Mean AUC over 100 splits, negatives drawn from other frames' summed fixations. All [H, W]."""
    if not np.isfinite(saliency).all() or np.isclose(saliency.max(), saliency.min()):
        return None
    positives = np.repeat(saliency.ravel(), fixations.ravel())
    candidates = np.repeat(saliency.ravel(), others.ravel())
    if not len(positives) or not len(candidates):
        return None
    labels = np.repeat([1, 0], len(positives))
    areas = []
    for _ in range(SPLITS):
        negatives = rng.choice(candidates, size=len(positives))
        areas.append(roc_auc_score(labels, np.concatenate([positives, negatives])))
    return float(np.mean(areas))


def saliency_map(attention: np.ndarray) -> np.ndarray:
    """Attention [7, 7] on the screen, [210, 160]: transposed convolution of ones (36, stride 8), resized."""
    painted = np.zeros((84, 84))
    for (row, column), value in np.ndenumerate(attention):
        painted[8 * row : 8 * row + 36, 8 * column : 8 * column + 36] += value
    return skimage.transform.resize(painted, (210, 160))


def synthetic_attention(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Attention float32 [T, 7, 7], positive."""
    return np.log1p(np.exp(2 * rng.standard_normal((frames, 7, 7)))).astype(np.float32)


def synthetic_trial(
    frames: int, rng: np.random.Generator, samples: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Maps float32 [T, 210, 160] and fixation counts int32 [T, 210, 160] like those of a real trial.

    Maps are 7x7 grids of positive numbers, each painting 36x36 pixels with stride 8 and enlarged to the
    screen; an observation has so many gaze samples, in one cluster.
    """
    maps = np.stack([saliency_map(grid.astype(np.float64)) for grid in synthetic_attention(frames, rng)])
    counts = np.zeros((frames, 210, 160), np.int32)
    for fixations in counts:
        centre = rng.uniform((40, 30), (170, 130))
        places = np.clip(centre + 8 * rng.standard_normal((samples, 2)), 0, (209, 159))
        rows, columns = np.rint(places).astype(int).T
        np.add.at(fixations, (rows, columns), 1)
    return (maps / maps.max()).astype(np.float32), counts


def milliseconds(function: Callable[[], object], frames: int, repeats: int) -> float:
    """The median of `repeats` runs, in milliseconds a frame."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds) / frames


@jax.jit
def three_at_once(maps: jax.Array, counts: jax.Array, others: jax.Array) -> tuple[jax.Array, ...]:
    """NSS, KL and closed-form sAUC of a batch as a pass over a data set would compute them. All [N, H, W]."""
    return (
        metrics.nss(maps, counts),
        metrics.kl_divergence(maps, counts, 5, "paper"),
        metrics.shuffled_auc(maps, counts, others),
    )


@functools.partial(jax.jit, static_argnames="network")
def map_and_three(
    attention: jax.Array, counts: jax.Array, others: jax.Array, network: str = "cnn_sparse_fls"
) -> tuple[jax.Array, ...]:
    """`three_at_once` from attention [N, 7, 7] on, as the pass does it."""
    maps = network_maps(attention, network_spec(network), "aligned", "screen")
    return three_at_once(maps, counts, others)


def compare(frames: int, reference_frames: int) -> str:
    """Times both on one synthetic trial; the table as text."""
    rng = np.random.default_rng(0)
    maps, counts = synthetic_trial(frames, rng)
    others = counts.sum(axis=0) - counts
    drawn = np.stack([draw_other_frames(counts, frame, rng) for frame in range(frames)])
    exact = maps[:reference_frames].astype(np.float64)
    keys = jax.random.split(jax.random.key(0), frames)
    rows = (
        ("NSS", lambda i: nss(exact[i], counts[i]), lambda: metrics.nss(maps, counts)),
        (
            "KL",
            lambda i: kl_divergence(exact[i], counts[i], 5),
            lambda: metrics.kl_divergence(maps, counts, 5, "paper"),
        ),
        (
            "sAUC, closed",
            lambda i: shuffled_auc(exact[i], counts[i], others[i], rng),
            lambda: metrics.shuffled_auc(maps, counts, others),
        ),
        (
            "sAUC, sampled",
            lambda i: shuffled_auc(exact[i], counts[i], drawn[i], rng),
            lambda: metrics.shuffled_auc(maps, counts, drawn, "paper", keys),
        ),
    )
    three_at_once(maps, counts, others)  # compiles
    lines = [f"{'ms a frame':16}{'reference':>10}{'ours':>10}{'ratio':>8}{'largest difference':>22}"]
    times = {}
    for name, reference, ours in rows:
        expected: list[float | None] = []
        slow = milliseconds(
            lambda r=reference, e=expected: e.extend(map(r, range(len(exact)))), len(exact), 1
        )
        values = np.asarray(ours())[: len(exact)]
        fast = milliseconds(ours, frames, 5)
        difference = np.nanmax(np.abs(np.array(expected, np.float64) - values))
        lines.append(f"{name:16}{slow:10.3f}{fast:10.3f}{slow / fast:8.0f}{difference:22.2e}")
        times[name] = slow
    slow = sum(times[name] for name in ("NSS", "KL", "sAUC, closed"))
    batch = tuple(jax.numpy.asarray(array) for array in (maps, counts, others))
    fast = milliseconds(lambda: three_at_once(*batch), frames, 5)
    return "\n".join([*lines, f"{'first 3, one jit':16}{slow:10.3f}{fast:10.3f}{slow / fast:8.0f}"])


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description="Time the gaze metrics against the original's formulas.")
    parser.add_argument("--frames", type=int, default=32, help="frames in our batch")
    parser.add_argument("--reference-frames", type=int, default=8, help="of them scored by the reference")
    arguments = parser.parse_args()
    print(compare(arguments.frames, min(arguments.frames, arguments.reference_frames)))


if __name__ == "__main__":
    main()
