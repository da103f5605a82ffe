"""The settings of a gaze pass."""

from __future__ import annotations

from dataclasses import dataclass

from fls_jax.gaze.observations import Protocol, Space


@dataclass(frozen=True)
class GazeSettings:
    """Settings of a gaze pass.

    trials: numbers of the trials; None for all of the run's game.
    protocol: `aligned`, or `paper`, as published: gaze one frame early, maxima taken in colour, published
        geometry, sampled shuffled AUC.
    space: `screen` compares on 210x160, `input` on 84x84.
    step: the checkpoint; None for the latest.
    controls: also score the controls.
    methods: saliency methods to score as well.
    """

    trials: tuple[int, ...] | None = None
    protocol: Protocol = "aligned"
    space: Space = "screen"
    step: int | None = None
    controls: bool = True
    methods: tuple[str, ...] = ()
