"""Gaze of all trials of a game: the part of gaze that depends on the game and not on the moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.gaze_file import read_gaze
from fls_jax.gaze.observations import Space, map_shape, pixel_indices

_NAME = re.compile(r"[0-9]+_(?P<run>.+_[0-9]+)_[^_]*")


class GameGaze:
    """Gaze samples of each trial of a game, counted by pixel; pictures are not read.

    Args:
        trials: the game's trials.
        space: of the counts.
        report: called after each trial with the number of trials read.

    Attributes:
        counts: int64 [H, W] by trial number: the number of the trial's samples at each pixel. A sample counts
            once, although it is in the fixation maps of several observations.
        problems: sentences on trials whose gaze cannot be read.
    """

    def __init__(
        self, trials: Iterable[Trial], space: Space, report: Callable[[int], object] = lambda done: None
    ) -> None:
        self.counts: dict[int, np.ndarray] = {}
        self.problems: list[str] = []
        for done, trial in enumerate(trials, start=1):
            try:
                self.counts[trial.id] = _counts(trial, space)
            except TrialError as error:
                self.problems.append(f"trial {trial.id} is left out of other_trials: {error}")
            report(done)

    def without(self, trial: int) -> np.ndarray | None:
        """The summed counts of all other trials, int64 [H, W]; None if they have no sample."""
        others = [counts for number, counts in self.counts.items() if number != trial]
        total = np.sum(others, axis=0) if others else np.zeros(1)
        return total if total.any() else None


def _counts(trial: Trial, space: Space) -> np.ndarray:
    # The run id comes from the pictures or, without these, from the name <trial>_<run id>_<date>.
    match = _NAME.fullmatch(trial.name)
    if trial.gaze is None or match is None:
        raise TrialError(f"{trial.name} has no gaze file named <trial>_<run id>_<date>.txt")
    pixels = pixel_indices(read_gaze(trial.gaze, match["run"]).xy, space)
    height, width = map_shape(space)
    return np.bincount(pixels[pixels >= 0], minlength=height * width).reshape(height, width)
