"""Insertion and deletion: do the pixels that a map ranks first determine the network's output?

Petsiuk et al. 2018; for Atari agents Huber et al. 2022: 84 pixels per step, the same in all four frames.
Hidden pixels are black, blurred, or background (the pixel's median over the given frames).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import log_softmax

from fls_jax.saliency.averages import background
from fls_jax.saliency.effects import probability
from fls_jax.saliency.perturbation import blurred_frames
from fls_jax.saliency.question import Answer, Question
from fls_jax.saliency.variants import answers

PIXELS = 84
BLUR = 8.0
FILLS = ("black", "blurred", "background")
DIRECTIONS = ("insertion", "deletion")
OUTPUTS = ("probability", "margin", "kl")
TIE_DRAWS = 3
TIED = 0.01
"""Share of a map's pixels that must tie for several orders to be drawn: any noise in float32 has a few."""


class Curves(NamedTuple):
    """The output for each frame [B] as pixels are shown or hidden step by step: float [B, S + 1].

    probability: of the action. margin: its logit minus the largest other logit. kl: of the policy on the
    whole frame from the policy on the partial one, in nats.
    """

    probability: np.ndarray
    margin: np.ndarray
    kl: np.ndarray


def areas(question: Question, maps: np.ndarray, key: int = 0) -> dict[str, np.ndarray]:
    """Areas under the curves of maps [B, H, W]: float [B] by `<direction>_<fill>_<output>`."""
    return {name: area(each) for name, each in all_curves(question, maps, key).items()}


def all_curves(question: Question, maps: np.ndarray, key: int = 0) -> dict[str, np.ndarray]:
    """Curves of maps [B, H, W]: float [B, S + 1] by `<direction>_<fill>_<output>`.

    The question's first target gives the action of each frame. Tied pixels are ordered at random, not by
    their index; if more than 1 % of a map's pixels tie, the curves are means over three such orders. Lower is
    better for deletion's probability and margin and for insertion's kl, higher for the others.
    """
    ties = any(len(np.unique(each)) < (1 - TIED) * each.size for each in maps)
    draws = [_of_order(question, random_ranks(maps, key + n)) for n in range(TIE_DRAWS if ties else 1)]
    return {name: np.mean([draw[name] for draw in draws], axis=0) for name in draws[0]}


def fills(observations: np.ndarray) -> dict[str, np.ndarray]:
    """The values of hidden pixels: float32 [B, H, W, C] each; blur has std 8."""
    behind = np.broadcast_to(background(observations)[None], observations.shape)
    black = np.zeros(observations.shape, np.float32)
    return {"black": black, "blurred": blurred_frames(observations, BLUR), "background": behind}


def random_ranks(maps: np.ndarray, seed: int) -> np.ndarray:
    """Each pixel's rank in a map, most salient first, ties at random: int32 [B, H, W]."""
    random = np.random.default_rng(seed)
    flat = maps.reshape(len(maps), -1)
    order = np.stack([np.lexsort((random.random(row.size), -row)) for row in flat])
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1])[None], axis=1)
    return ranks.reshape(maps.shape).astype(np.int32)


def curves(
    question: Question, ranks: np.ndarray, fill: np.ndarray, direction: str, pixels: int = PIXELS
) -> Curves:
    """The curves of one order of pixels, int [B, H, W], with one fill, float32 [B, H, W, C]."""
    total = ranks[0].size
    shown = np.minimum(np.arange(-(-total // pixels) + 1) * pixels, total).astype(np.int32)
    frames = question.observations, fill, ranks
    said = answers(question, frames, _inserted if direction == "insertion" else _deleted, shown)
    return _curves(question, said)


def area(curve: np.ndarray) -> np.ndarray:
    """The area under curves [..., S + 1] over an axis of length 1, by the trapezoid rule: [...]."""
    return ((curve[..., 1:] + curve[..., :-1]) / 2).mean(axis=-1)


def _of_order(question: Question, ranks: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    for name, fill in fills(question.observations).items():
        for direction in DIRECTIONS:
            each = curves(question, ranks, fill, direction)
            for output in OUTPUTS:
                found[f"{direction}_{name}_{output}"] = getattr(each, output)
    return found


def _curves(question: Question, said: Answer) -> Curves:
    actions = question.actions[0]
    if actions is None:
        raise ValueError("Insertion and deletion need an action; the target names none.")
    chosen = np.take_along_axis(said.logits, actions[:, None, None], axis=-1)[..., 0]
    others = np.where(np.eye(said.logits.shape[-1], dtype=bool)[actions][:, None], -np.inf, said.logits)
    whole = log_softmax(question.answer.logits.astype(float), axis=-1)[:, None]
    partial = log_softmax(said.logits.astype(float), axis=-1)
    divergence = (np.exp(whole) * (whole - partial)).sum(axis=-1)
    return Curves(probability(said.logits, actions), chosen - others.max(axis=-1), divergence)


def _inserted(frame: tuple[Array, Array, Array], shown: Array) -> Array:
    sharp, fill, rank = frame
    return jnp.where((rank < shown)[..., None], sharp.astype(jnp.float32), fill)


def _deleted(frame: tuple[Array, Array, Array], hidden: Array) -> Array:
    sharp, fill, rank = frame
    return jnp.where((rank < hidden)[..., None], fill, sharp.astype(jnp.float32))
