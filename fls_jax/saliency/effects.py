"""The size of a change of the network's output, for each target."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from fls_jax.saliency.question import Answer, Question


def changes(question: Question, answer: Answer) -> np.ndarray:
    """How much each target changes if the network's output becomes `answer`, [B, M]: float32 [T, B, M].

    An action is measured by the drop of its probability (negative if it rises), `policy` by
    0.5 ||change of the logits||^2 and `value` by 0.5 (change of the value)^2 (Greydanus et al. 2018,
    eq. 2 and 3).
    """
    before, scores = question.answer, []
    for target, actions in zip(question.targets, question.actions, strict=True):
        if actions is not None:
            scores.append(probability(before.logits[:, None], actions) - probability(answer.logits, actions))
        elif target == "policy":
            scores.append(0.5 * ((answer.logits - before.logits[:, None]) ** 2).sum(axis=-1))
        else:
            scores.append(0.5 * (answer.value - before.value[:, None]) ** 2)
    return np.stack(scores).astype(np.float32)


def kept(question: Question, answer: Answer) -> np.ndarray:
    """The score of each target in `answer`, [B, M]: float32 [T, B, M].

    This is the action's probability or the value. `policy` is not a single number; its score is
    -0.5 ||change of the logits||^2.
    """
    scores = changes(question, answer)
    for place, (target, actions) in enumerate(zip(question.targets, question.actions, strict=True)):
        if actions is not None:
            scores[place] = probability(answer.logits, actions)
        else:
            scores[place] = answer.value if target == "value" else -scores[place]
    return scores


def probability(logits: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The probability of one action per frame, [B], under logits [B, M, A]: [B, M]."""
    return np.take_along_axis(softmax(logits, axis=-1), actions[:, None, None], axis=-1)[..., 0]


def specific_drop(before: np.ndarray, after: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """SARFA's score from logits [B, A] and [B, M, A], for one action per frame (Puri et al. 2020): [B, M].

    The harmonic mean 2 dP K / (dP + K) where dP > 0, else 0: dP is the drop of the action's probability,
    K = 1 / (1 + KL(p' || p)) of the other actions' probabilities, scaled to sum to 1, after and before.
    """
    before = before[:, None].astype(np.float64)
    after = after.astype(np.float64)
    drop = np.maximum(probability(before, actions) - probability(after, actions), 0)
    if after.shape[-1] == 1:
        return np.zeros_like(drop)
    others = ~np.eye(after.shape[-1], dtype=bool)[actions][:, None]  # [B, 1, A]
    old, new = (log_softmax(np.where(others, logits, -np.inf), axis=-1) for logits in (before, after))
    with np.errstate(invalid="ignore"):  # the action itself: 0 * (-inf + inf)
        divergence = np.where(others, np.exp(new) * (new - old), 0).sum(axis=-1)
    keep = 1 / (1 + divergence)
    return np.where(drop > 0, 2 * drop * keep / np.where(drop > 0, drop + keep, 1), 0)
