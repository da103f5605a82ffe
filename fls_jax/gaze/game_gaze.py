"""Gaze of all trials of a game: the part of gaze that depends on the game and not on the moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.gaze_file import read_gaze
from fls_jax.gaze.controls import OTHER_HUMANS, OTHER_TRIALS
from fls_jax.gaze.observations import Space, map_shape, pixel_indices

_NAME = re.compile(r"[0-9]+_(?P<run>(?P<player>.+)_[0-9]+)_[^_]*")


class GameGaze:
    """Gaze samples of each trial of a game, counted by pixel; pictures are not read.

    Args:
        trials: the game's trials.
        space: of the counts.
        report: called after each trial with the number of trials read.

    Attributes:
        counts: int64 [H, W] by trial number: the number of the trial's samples at each pixel. A sample counts
            once, although it is in the fixation maps of several observations.
        players: the initials of each trial's player, by trial number. They are the first part of the run id
            in both releases.
        problems: sentences on trials whose gaze cannot be read.
    """

    def __init__(
        self, trials: Iterable[Trial], space: Space, report: Callable[[int], object] = lambda done: None
    ) -> None:
        self.counts: dict[int, np.ndarray] = {}
        self.players: dict[int, str] = {}
        self.problems: list[str] = []
        for done, trial in enumerate(trials, start=1):
            try:
                self.players[trial.id], self.counts[trial.id] = _counts(trial, space)
            except TrialError as error:
                self.problems.append(
                    f"trial {trial.id} is left out of other_trials and other_humans: {error}"
                )
            report(done)

    def of_others(self, trial: int) -> dict[str, np.ndarray]:
        """The gaze behind `other_trials` and `other_humans`, [H, W] by name; each only if there is some."""
        gaze = {OTHER_TRIALS: self.without(trial), OTHER_HUMANS: self.of_other_players(trial)}
        return {name: counts for name, counts in gaze.items() if counts is not None}

    def without(self, trial: int) -> np.ndarray | None:
        """The summed counts of all other trials, int64 [H, W]; None if they have no sample."""
        others = [counts for number, counts in self.counts.items() if number != trial]
        total = np.sum(others, axis=0) if others else np.zeros(1)
        return total if total.any() else None

    def of_other_players(self, trial: int) -> np.ndarray | None:
        """The mean gaze of all other players, float64 [H, W] of sum 1; None if there is no other.

        A player's gaze is the share of the samples of all of their trials at each pixel, so that every player
        counts the same.
        """
        own, by_player = self.players.get(trial), {}
        for number, counts in self.counts.items():
            player = self.players[number]
            if player != own:
                by_player[player] = by_player.get(player, 0) + counts
        shares = [counts / counts.sum() for counts in by_player.values() if counts.any()]
        return np.mean(shares, axis=0) if shares and own is not None else None


def _counts(trial: Trial, space: Space) -> tuple[str, np.ndarray]:
    """The player, and the samples at each pixel."""
    # The run id comes from the pictures or, without these, from the name <trial>_<run id>_<date>.
    match = _NAME.fullmatch(trial.name)
    if trial.gaze is None or match is None:
        raise TrialError(f"{trial.name} has no gaze file named <trial>_<run id>_<date>.txt")
    pixels = pixel_indices(read_gaze(trial.gaze, match["run"]).xy, space)
    height, width = map_shape(space)
    counts = np.bincount(pixels[pixels >= 0], minlength=height * width)
    return match["player"], counts.reshape(height, width)
