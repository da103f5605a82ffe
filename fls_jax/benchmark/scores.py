"""The measurements of a method's maps, frame by frame."""

from __future__ import annotations

import numpy as np

from fls_jax.agent import Agent
from fls_jax.benchmark.faithfulness import all_curves, area
from fls_jax.benchmark.location import area_share, lift, mass_share, pointing, rank_accuracy
from fls_jax.benchmark.objects import Thing, kinds_of, masks_of
from fls_jax.benchmark.shape import correlation, effective_area, gini
from fls_jax.evaluation.attention_use import policy_changes
from fls_jax.networks.replacement import REPLACEMENTS, TRAINED
from fls_jax.saliency.question import Question

Values = dict[str, np.ndarray]
"""Numbers [B], one per frame, by metric; NaN if not measured or undefined."""


def subset(total: int, wanted: int) -> np.ndarray:
    """Indices of at most `wanted` of `total` frames, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).astype(int))


def shape_scores(mass: np.ndarray) -> Values:
    """Sparsity of maps as mass [B, H, W]."""
    return {"gini": gini(mass), "effective_area": effective_area(mass)}


def object_scores(mass: np.ndarray, things: list[Thing]) -> Values:
    """Measures of the mass on objects, for each kind."""
    values: Values = {}
    for kind in kinds_of(things):
        masks = masks_of(things, kind, len(mass), (mass.shape[1], mass.shape[2]))
        values |= {
            f"lift:{kind}": lift(mass, masks),
            f"mass:{kind}": mass_share(mass, masks),
            f"area:{kind}": area_share(masks),
            f"pointing:{kind}": pointing(mass, masks),
            f"rank:{kind}": rank_accuracy(mass, masks),
        }
    return values


def ranking_of(maps: np.ndarray, family: str) -> np.ndarray:
    """Maps [B, H, W] in whose order pixels are shown and hidden: derivatives by size, others as they are.

    Neighbouring pixels have derivatives of opposite signs. In the order of the sign, insertion shows every
    other pixel, a pattern that no game has and that moves logits by hundreds.
    """
    return np.abs(maps) if family == "gradient" else maps


def faithfulness_scores(
    question: Question, maps: np.ndarray, frames: np.ndarray
) -> tuple[Values, dict[str, np.ndarray]]:
    """Insertion and deletion on the frames of the question, int64 [k]; NaN on the others.

    Also returns their curves, averaged over the frames: [S + 1] by the same names.
    """
    found = all_curves(question, maps[frames])
    scores = {name: _spread(area(each), frames, len(maps)) for name, each in found.items()}
    return scores, {name: each.mean(axis=0) for name, each in found.items()}


def replacement_scores(agent: Agent, observations: np.ndarray) -> Values:
    """Change of policy and value with replaced attention: `kl:mean` and so on.

    Replacements are made from every other frame, which gets NaN; the rest are measured.
    """
    looked, values = np.arange(1, len(observations), 2), {}
    for name in REPLACEMENTS:
        if name != TRAINED:
            other = agent.with_attention(name, observations[::2])
            for measure, found in policy_changes(agent, other, observations[looked]).items():
                values[f"{measure}:{name}"] = _spread(found, looked, len(observations))
    return values


def steadiness_scores(maps: np.ndarray, later: np.ndarray, followed: np.ndarray) -> Values:
    """Correlation of the maps of some frames with those one step later; NaN on the others."""
    return {"steadiness": _spread(correlation(maps[followed], later), followed, len(maps))}


def _spread(values: np.ndarray, places: np.ndarray, total: int) -> np.ndarray:
    whole = np.full(total, np.nan)
    whole[places] = values
    return whole
