"""Saliency from hiding parts of the frame and measuring the change of the output (see effects.py).

Every variant is computed once for all targets. The four frames of an observation are changed together, but
never mixed with each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from fls_jax.saliency.effects import changes, specific_drop
from fls_jax.saliency.fading import faded_answers
from fls_jax.saliency.projection import between
from fls_jax.saliency.question import Answer, CannotExplainError, Question


def greydanus(question: Question, step: int = 5, mask_sigma: float = 5, blur_sigma: float = 3) -> np.ndarray:
    """Change of the output when the frame is blurred at a point (Greydanus et al. 2018): [T, B, H, W].

    A Gaussian mask of std `mask_sigma`, 1 at its centre, fades in the frame blurred with std `blur_sigma`,
    with centres every `step` pixels over the whole frame; between the centres a map is interpolated.
    """
    blurred = _blurred_answers(question, step, mask_sigma, blur_sigma)
    return _from_grid(changes(question, blurred.answer), blurred)


def sarfa(question: Question, step: int = 5, mask_sigma: float = 5, blur_sigma: float = 3) -> np.ndarray:
    """What matters for the action, but not equally for the others (Puri et al. 2020): [T, B, H, W].

    With the variants of `greydanus`, the harmonic mean 2 dP K / (dP + K) where dP > 0, else 0, with dP the
    drop of the action's probability and K = 1 / (1 + KL(p' || p)) of the other actions' probabilities, scaled
    to sum to 1, with and without blur. Raises CannotExplainError for `policy` and `value`.
    """
    for target, actions in zip(question.targets, question.actions, strict=True):
        if actions is None:
            raise CannotExplainError(f"sarfa explains an action; `{target}` is not one.")
    blurred = _blurred_answers(question, step, mask_sigma, blur_sigma)
    scores = [
        specific_drop(question.answer.logits, blurred.answer.logits, actions)
        for actions in question.actions
        if actions is not None
    ]
    return _from_grid(np.stack(scores), blurred)


def occlusion(
    question: Question, patch: int = 5, stride: int | None = None, grey: float = 127.5
) -> np.ndarray:
    """Change of the output when a patch is made grey (Zeiler and Fergus 2014): [T, B, H, W].

    Patches of `patch` pixels are `stride` pixels apart (default: without gaps) and are cut at the edge. A
    pixel gets the mean over the patches that cover it. Raises ValueError if a pixel would be in no patch.
    """
    stride = stride or patch
    if not 0 < stride <= patch:
        raise ValueError(f"stride must be 1 to patch, {patch}; it is {stride}.")
    covered = [_patches(size, patch, stride) for size in question.observations.shape[1:3]]
    grey_frames = np.full(question.observations.shape, grey, np.float32)
    scores = changes(question, faded_answers(question, grey_frames, *covered))
    scores = scores.reshape(*scores.shape[:2], len(covered[0]), len(covered[1]))
    shares = [(each / each.sum(axis=0)).T for each in covered]
    return np.einsum("yi,tbij,xj->tbyx", shares[0], scores, shares[1], optimize=True).astype(np.float32)


class _Blurred(NamedTuple):
    """The network's outputs with the frame blurred at each point of a grid, in row-major order."""

    answer: Answer
    rows: np.ndarray  # float64 [r], the grid's rows in pixels
    columns: np.ndarray
    shape: tuple[int, int]  # of the frame


def _blurred_answers(question: Question, step: int, mask_sigma: float, blur_sigma: float) -> _Blurred:
    if not (step >= 1 and mask_sigma > 0 and blur_sigma > 0):
        raise ValueError(
            f"step, mask_sigma and blur_sigma must be positive; they are {step}, {mask_sigma}, {blur_sigma}."
        )
    shape = question.observations.shape[1:3]
    rows, columns = (grid(size, step) for size in shape)
    masks = _gaussians(rows, shape[0], mask_sigma), _gaussians(columns, shape[1], mask_sigma)
    blurred = blurred_frames(question.observations, blur_sigma)
    return _Blurred(faded_answers(question, blurred, *masks), rows, columns, shape)


def grid(size: int, step: int) -> np.ndarray:
    """Points every `step` pixels along an axis, centred on it: float64 [n].

    Points that start at 0 would leave out the last pixels and shift every map interpolated from them.
    """
    count = (size - 1) // step + 1
    return (size - 1 - (count - 1) * step) / 2 + np.arange(count) * float(step)


def _gaussians(centres: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """float32 [n, size]: Gaussians along an axis, 1 at their centres."""
    distance = np.arange(size) - centres[:, None]
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)


def _from_grid(scores: np.ndarray, blurred: _Blurred) -> np.ndarray:
    """Scores [T, B, M] of the grid's points as maps float32 [T, B, H, W]."""
    scores = scores.reshape(*scores.shape[:2], len(blurred.rows), len(blurred.columns))
    rows, columns = between(blurred.rows, blurred.shape[0]), between(blurred.columns, blurred.shape[1])
    return np.einsum("yi,tbij,xj->tbyx", rows, scores, columns, optimize=True).astype(np.float32)


def blurred_frames(observations: np.ndarray, sigma: float) -> np.ndarray:
    """Blur each frame of uint8 [B, H, W, C] with a Gaussian cut at 4 sigma: float32 [B, H, W, C].

    The border is mirrored, edge pixel included.
    """
    rows, columns = (
        gaussian_filter1d(np.eye(size), sigma, axis=0).astype(np.float32) for size in observations.shape[1:3]
    )
    return np.einsum("yi,bijc,xj->byxc", rows, observations.astype(np.float32), columns, optimize=True)


def _patches(size: int, patch: int, stride: int) -> np.ndarray:
    """float32 [n, size]: 1 at the pixels of patch i along an axis; the last patch reaches the end."""
    count = max(0, -(-(size - patch) // stride)) + 1
    start = np.arange(count)[:, None] * stride
    pixel = np.arange(size)
    return ((pixel >= start) & (pixel < start + patch)).astype(np.float32)
