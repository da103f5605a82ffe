"""A person's game from Atari-HEAD as a clip: the same frames for every agent, and where the person looked."""

from __future__ import annotations

import zlib
from itertools import islice
from typing import NamedTuple

import numpy as np

from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.trial import read_trial
from fls_jax.film.clip import Frames
from fls_jax.gaze.observations import GAZE_OFFSETS, SKIP, TrialObservations
from fls_jax.report.maps import BATCH, Advance
from fls_jax.saliency.projection import SCREEN


class Watched(NamedTuple):
    """A person's game.

    frames: T observations in an agent's form. gaze: for each, points float [k, 2] (x, y) in pixels of the
    screen: the median of the samples of each frame in its stack, at most eight, oldest first.
    """

    frames: Frames
    gaze: list[np.ndarray]


def watch(trial: Trial, steps: int, advance: Advance = lambda steps: None) -> Watched:
    """The first `steps` observations of a trial, preprocessed as EnvPool does.

    advance: called with the number of observations read since the last call. Raises TrialError if the
    trial cannot be read or has no observation.
    """
    data = read_trial(trial, lambda number: number % SKIP in (0, 1) and number <= SKIP * steps)
    observations = TrialObservations(data)
    screens, inputs, gaze = [], [], []
    for batch in islice(observations.batches(BATCH, screens=True), -(-steps // BATCH)):
        assert batch.screens is not None
        screens += [zlib.compress(screen.tobytes(), 1) for screen in batch.screens]
        stacks = np.moveaxis(batch.observations, -1, 1)
        inputs += [zlib.compress(stack.tobytes(), 1) for stack in stacks]
        gaze += [_gaze(data.gaze.number, data.gaze.xy, int(frame)) for frame in batch.frames]
        advance(len(batch.frames))
    if not screens:
        raise TrialError(f"{trial.frames} has no four pictures in a row that an agent could see")
    return Watched(Frames(screens[:steps], inputs[:steps]), gaze[:steps])


def _gaze(numbers: np.ndarray, xy: np.ndarray, frame: int) -> np.ndarray:
    """The median sample of each frame behind an observation, in half pixels, if on the screen."""
    points = []
    for offset in reversed(GAZE_OFFSETS):
        first, last = np.searchsorted(numbers, frame - offset + 1 + np.array([0, 1]))
        if last > first:
            points.append(np.round(2 * np.median(xy[first:last], axis=0)) / 2)
    found = np.array(points).reshape(-1, 2)
    height, width = SCREEN
    return found[((found >= 0) & (found < (width, height))).all(axis=1)]
