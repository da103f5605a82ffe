"""RISE: saliency from random masks (Petsiuk et al. 2018)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.saliency.effects import kept
from fls_jax.saliency.projection import interpolation
from fls_jax.saliency.question import Question
from fls_jax.saliency.variants import answers


def rise(
    question: Question, samples: int = 1000, cells: int = 8, p: float = 0.5, masks: np.ndarray | None = None
) -> np.ndarray:
    """Random masks, weighted by the score of the masked frame: [T, B, H, W], signed.

    The weight is the score `effects.kept` minus its mean over the masks; otherwise the sum of the masks would
    appear in every map. The weighted sum is divided by the number of masks and p (eq. 6). All frames have the
    same masks: those of `random_masks`, or `masks`, float [M, H, W].
    """
    shape = question.observations.shape[1:3]
    if masks is None:
        if samples < 2 or cells < 1 or not 0 < p < 1:
            raise ValueError(
                f"samples must be 2 or more, cells 1 or more, p between 0 and 1; they are {samples}, "
                f"{cells} and {p}."
            )
        masks = random_masks(question.key, samples, cells, p, shape)
    masks = np.asarray(masks, np.float32)
    if masks.ndim != 3 or masks.shape[1:] != shape:
        raise ValueError(f"Masks must be [M, {shape[0]}, {shape[1]}]; these have shape {list(masks.shape)}.")
    weights = kept(question, answers(question, question.observations, _through, masks))
    weights = weights - weights.mean(axis=-1, keepdims=True)
    return np.tensordot(weights, masks, axes=1) / np.float32(len(masks) * p)


def random_masks(key: Array, samples: int, cells: int, p: float, shape: tuple[int, int]) -> np.ndarray:
    """Grids of `cells` x `cells`, each 1 with probability p, enlarged and shifted: float32 [samples, H, W].

    A grid with one more row and column is enlarged bilinearly, and the mask is cut from it at a random
    offset, so that cells have no fixed borders (section 3.2). Values are in [0, 1] and not rounded.
    """
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    rng = np.random.default_rng(seed)
    size = [-(-length // cells) for length in shape]  # of a cell, in pixels
    rows, columns = (interpolation(cells + 1, (cells + 1) * each) for each in size)
    masks = np.empty((samples, *shape), np.float32)
    for mask in masks:
        grid = (rng.random((cells + 1, cells + 1)) < p).astype(np.float32)
        top, left = (rng.integers(each) for each in size)
        mask[:] = rows[top : top + shape[0]] @ grid @ columns[left : left + shape[1]].T
    return masks


def _through(frame: Array, mask: Array) -> Array:
    return frame.astype(jnp.float32) * mask[..., None]
