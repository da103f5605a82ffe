"""Saliency from inside the network: its attention, drawn onto the frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from fls_jax.networks.chunking import over_blocks
from fls_jax.saliency.controls import for_all_targets
from fls_jax.saliency.projection import enlarge
from fls_jax.saliency.question import CannotExplainError, Question, compiled

Paint = Callable[[Array], Array]
"""Attention [b, h, w] -> maps [b, H, W]; jitted or cheap."""


def attention(question: Question, paint: Paint | None = None) -> np.ndarray:
    """The network's attention over its input (Nikulin et al. 2019): [T, B, H, W], the same for all targets.

    It is the third output of `apply`. paint: draws it onto the frames; agents draw through their network's
    receptive fields. Without it the map is stretched. Raises CannotExplainError if `apply` has no
    third output.
    """

    def drawn(frames: np.ndarray) -> Any:
        said = compiled(question.apply)(question.params, frames)
        if len(said) < 3:
            raise CannotExplainError("The network has no attention: `apply` returns no third output.")
        return paint(said[2]) if paint else enlarge(said[2], frames.shape[1:3])

    return for_all_targets(question, over_blocks(drawn, question.observations))


def attention_relative(question: Question, paint: Paint | None = None) -> np.ndarray:
    """`attention` minus its mean over the given frames: [T, B, H, W], signed."""
    maps = attention(question, paint)[0]
    return for_all_targets(question, maps - maps.mean(axis=0, keepdims=True))
