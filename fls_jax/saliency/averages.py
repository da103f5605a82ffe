"""Saliency from derivatives averaged over noise, or over the path from a baseline (see derivatives.py)."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.saliency.derivatives import derivatives, explained, magnitude, network, outputs
from fls_jax.saliency.question import Apply, Question, compiled
from fls_jax.types import Params

MOST_TIMES = 16
"""How many times the steps asked for a frame of `integrated_gradients` takes at most."""
_AGAIN = 8


def smoothgrad(question: Question, samples: int = 25, noise: float = 0.15) -> np.ndarray:
    """As `gradient`, from the mean derivative under Gaussian noise (Smilkov et al. 2017): [T, B, H, W].

    noise: its standard deviation as a share of each observation's range (largest minus smallest value).
    """
    return explained(question, lambda *block: magnitude(_noisy(question, block, samples, noise)[0]))


def vargrad(question: Question, samples: int = 25, noise: float = 0.15) -> np.ndarray:
    """Variance of the derivative under Gaussian noise, largest over the frames (Adebayo et al. 2018).

    noise: as in `smoothgrad`. Returns [T, B, H, W].
    """

    def of_block(*block: Any) -> Array:
        return magnitude(_noisy(question, block, samples, noise)[1] / samples)

    return explained(question, of_block)


def integrated_gradients(
    question: Question, steps: int = 25, baseline: str | np.ndarray = "black", tolerance: float = 0.01
) -> np.ndarray:
    """Mean derivative on the path from a baseline to the input, times the path (Sundararajan et al. 2017).

    It is summed over the frames. A map's sum is the difference of the outputs at input and baseline, up to
    the error of `steps` midpoints. Frames with an error above `tolerance`, as a share of the difference, are
    repeated with twice as many steps, up to MOST_TIMES as many. baseline: `black`, `background` (each
    pixel's median over all given frames), or frames [H, W, C] on the scale of 0 to 255. Returns [T, B, H, W],
    signed. Raises ValueError for another baseline, and for steps or a tolerance out of range.
    """
    if steps < 1 or not tolerance >= 0:
        raise ValueError(
            f"steps must be 1 or more and tolerance not negative; they are {steps} and {tolerance}."
        )
    start = _baseline(baseline, question.observations)

    def of_block(frames: np.ndarray, weights: np.ndarray, _: Array) -> np.ndarray:
        maps, left = _integrated(question, frames, weights, start, steps, tolerance)
        times = 2
        while left.size and times <= MOST_TIMES:
            again = np.resize(left, -(-left.size // _AGAIN) * _AGAIN)  # batches of one size: compiled once
            off = np.zeros(len(frames), bool)
            for some in again.reshape(-1, _AGAIN):
                maps[some], wrong = _integrated(
                    question, frames[some], weights[some], start, times * steps, tolerance
                )
                off[some[wrong]] = True
            left, times = np.flatnonzero(off), 2 * times
        return maps

    return explained(question, of_block)


def _integrated(
    question: Question,
    frames: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Maps [b, K, H, W] from `steps` midpoints, and which of the b frames have a sum that is too far off."""
    total = jnp.zeros((*weights.shape[:2], *frames.shape[1:]), jnp.float32)
    for step in range(steps):
        total += _on_the_way(*network(question), frames, weights, start, np.float32((step + 0.5) / steps))
    maps = np.array(_times_way(total / steps, frames, start))
    difference = np.asarray(_difference(*network(question), frames, weights, start), float)
    off = np.abs(maps.sum(axis=(2, 3), dtype=float) - difference) > tolerance * np.abs(difference)
    return maps, np.flatnonzero(off.any(axis=1))


def completeness_gaps(
    question: Question, maps: np.ndarray, baseline: str | np.ndarray = "black"
) -> np.ndarray:
    """How far the sums of maps [T, B, H, W] of `integrated_gradients` are from the outputs' differences.

    As a share of the difference: float64 [T, B], NaN for `policy`, whose maps are combined.
    """
    start = _baseline(baseline, question.observations)[None]
    there = [np.asarray(each, float)[0] for each in compiled(question.apply)(question.params, start)[:2]]
    rows = np.arange(len(question.observations))
    gaps = np.full(maps.shape[:2], np.nan)
    for number, (target, actions) in enumerate(zip(question.targets, question.actions, strict=True)):
        if target != "policy":
            here = question.answer.value if actions is None else question.answer.logits[rows, actions]
            difference = here - (there[1] if actions is None else there[0][actions])
            gaps[number] = np.abs(maps[number].sum(axis=(1, 2), dtype=float) - difference) / np.abs(
                difference
            )
    return gaps


def _noisy(question: Question, block: Any, samples: int, noise: float) -> tuple[Array, Array]:
    """Mean of the derivatives, and the sum of their squared distances from it (Welford's running form)."""
    if samples < 1 or not noise >= 0:
        raise ValueError(f"samples must be 1 or more and noise not negative; they are {samples} and {noise}.")
    frames, weights, keys = block
    mean, spread = (jnp.zeros((*weights.shape[:2], *frames.shape[1:]), jnp.float32) for _ in range(2))
    for number in range(samples):
        mean, spread = _one_more(
            *network(question), frames, weights, keys, np.float32(noise), np.int32(number), mean, spread
        )
    return mean, spread


@partial(jax.jit, static_argnums=0, donate_argnums=(7, 8))
def _one_more(
    apply: Apply, params: Params, frames: Array, weights: Array, keys: Array, noise: Array, number: Array,
    mean: Array, spread: Array,
) -> tuple[Array, Array]:  # fmt: skip
    def disturbed(frame: Array, key: Array) -> Array:
        scale = noise * (frame.max() - frame.min())
        return frame + scale * jax.random.normal(jax.random.fold_in(key, number), frame.shape, jnp.float32)

    shaken = jax.vmap(disturbed)(frames.astype(jnp.float32), keys)
    new = derivatives(apply, params, shaken, weights)
    distance = new - mean
    mean = mean + distance / (number.astype(jnp.float32) + 1)
    return mean, spread + distance * (new - mean)


def _baseline(baseline: str | np.ndarray, observations: np.ndarray) -> np.ndarray:
    """A baseline as float32 [H, W, C]."""
    shape = observations.shape[1:]
    if isinstance(baseline, str):
        if baseline == "black":
            return np.zeros(shape, np.float32)
        if baseline == "background":
            return background(observations)
    elif np.shape(baseline) == shape:
        return np.asarray(baseline, np.float32)
    raise ValueError(
        f"The baseline must be `black`, `background` or frames {list(shape)}; it is "
        + (repr(baseline) if isinstance(baseline, str) else f"of shape {list(np.shape(baseline))}")
        + "."
    )


def background(observations: np.ndarray) -> np.ndarray:
    """Each pixel's median over all frames uint8 [B, H, W, C], equal in all channels: float32 [H, W, C]."""
    planes = np.moveaxis(observations, -1, 1).reshape(-1, *observations.shape[1:3])
    middle = np.median(planes, axis=0).astype(np.float32)
    return np.repeat(middle[..., None], observations.shape[-1], axis=-1)


@partial(jax.jit, static_argnums=0)
def _on_the_way(
    apply: Apply, params: Params, frames: Array, weights: Array, start: Array, share: Array
) -> Array:
    way = frames.astype(jnp.float32) - start[None]
    return derivatives(apply, params, start[None] + share * way, weights)


@partial(jax.jit, static_argnums=0)
def _difference(apply: Apply, params: Params, frames: Array, weights: Array, start: Array) -> Array:
    """What the weighted outputs of frames differ by from those of the baseline: [b, K]."""
    here, there = (
        outputs(apply(params, x)) for x in (frames.astype(jnp.float32), jnp.broadcast_to(start, frames.shape))
    )
    return jnp.einsum("bka,ba->bk", weights, here - there, precision="highest")


@jax.jit
def _times_way(mean: Array, frames: Array, start: Array) -> Array:
    return (mean * (frames.astype(jnp.float32) - start[None])[:, None]).sum(axis=-1)
