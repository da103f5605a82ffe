"""A film of the human's game with the human's gaze and the agent's saliency."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import jax
import numpy as np

from fls_jax.agent import Agent
from fls_jax.atari_head.dataset import Trial
from fls_jax.film.drawing import BACKGROUND, DIM, colour_map, magnify, overlay, scale_text, write
from fls_jax.film.movie import Movie
from fls_jax.gaze.controls import MODEL, network_maps
from fls_jax.gaze.observations import Preprocessing, Protocol, TrialObservations, open_trial
from fls_jax.gaze.trial_pass import Attended, Stopped, TrialPass
from fls_jax.process.display import ProgressDisplay, format_steps
from fls_jax.process.interruption import StopFlag
from fls_jax.saliency.projection import share_of

FPS = 15
"""One frame per observation at the speed of agents' films, three times the human's speed."""
_FACTOR = 3
_MARGIN, _TOP, _BOTTOM = 16, 44, 44
_HEIGHT, _WIDTH = 210 * _FACTOR, 160 * _FACTOR
_LEFT = (slice(_TOP, _TOP + _HEIGHT), slice(_MARGIN, _MARGIN + _WIDTH))
_RIGHT = (slice(_TOP, _TOP + _HEIGHT), slice(2 * _MARGIN + _WIDTH, 2 * (_MARGIN + _WIDTH)))
_SHAPE = (_TOP + _HEIGHT + _BOTTOM, 3 * _MARGIN + 2 * _WIDTH, 3)
_BASE = _SHAPE[0] - 16  # of the line of text below
_BAR = 112
_DOT = ((7, (0, 0, 0)), (5, (255, 92, 92)))
_BATCH = 64

_maps = jax.jit(network_maps, static_argnums=(1, 2, 3))


def film_trial(
    agent: Agent,
    trial: Trial,
    path: Path,
    protocol: Protocol = "aligned",
    preprocessing: Preprocessing = "envpool",
    stop: StopFlag | None = None,
) -> Path | None:
    """Film a trial: the human's screen, and the same with the agent's saliency, with gaze on both.

    There is one frame per observation. The gaze is that of the metrics: the samples of the eight frames in
    the observation's stack. Saliency is scaled by its maximum over the trial.

    Returns the path, or None if `stop` was set; then there is no film. Raises TrialError if the trial cannot
    be read, UserError if the film cannot be written.
    """
    observations = open_trial(trial, protocol=protocol, preprocessing=preprocessing)
    looks = TrialPass(agent, protocol, "screen", controls=False)
    total = 2 * observations.asked
    done = 0

    def advance(pictures: int) -> None:
        nonlocal done
        if stop:
            raise Stopped
        done += pictures
        display.count(done, "pictures")

    with contextlib.suppress(Stopped):
        with Movie(path, FPS) as movie, ProgressDisplay(str(path), total, "looking ...") as display:
            attended = looks.attend(observations, advance)
            for picture in _pictures(agent, trial, protocol, observations, attended):
                movie.add(picture)
                advance(1)
        print(f"{path}: {len(attended.frames):,} frames, {len(attended.frames) / FPS:,.0f} s")
        return path
    return None


def _pictures(
    agent: Agent, trial: Trial, protocol: Protocol, observations: TrialObservations, attended: Attended
) -> Iterator[np.ndarray]:
    """The film's frames, one per observation, decoded again as they are drawn."""
    picture = _Picture(agent, trial, protocol, attended.peaks.get(MODEL))
    start = 0
    for batch in observations.batches(_BATCH, screens=True):
        assert batch.screens is not None
        maps: list[np.ndarray | None] = [None] * len(batch.frames)
        if MODEL in attended.attention:
            attention = attended.attention[MODEL][start : start + len(batch.frames)]
            padded = np.pad(attention, ((0, _BATCH - len(attention)), (0, 0), (0, 0)))  # one compilation
            maps = list(np.asarray(_maps(padded, agent.spec, protocol, "screen")))
        fixations = observations.fixations(batch.frames)
        for k, frame in enumerate(batch.frames):
            yield picture.draw(batch.screens[k], maps[k], fixations[k], int(frame))
        start += len(batch.frames)


class _Picture:
    """The frame of a film: its constant part, and the drawing of each observation.

    peak: the saliency that is drawn as 1; None if there is no map.
    """

    def __init__(self, agent: Agent, trial: Trial, protocol: Protocol, peak: float | None) -> None:
        self._peak = peak
        self._empty = np.empty(_SHAPE, np.uint8)
        self._empty[:] = BACKGROUND
        human = f"human, Atari-HEAD trial {trial.id}"
        x = write(self._empty, human, (_MARGIN, 29), 18, bold=True) + 16
        write(self._empty, f"protocol {protocol}", (x, 29), 14, DIM)
        name = f"{agent.config.variant}, {format_steps(agent.step)} steps"
        write(self._empty, name, (_RIGHT[1].start, 29), 18, bold=True)
        end = write(self._empty, _number(peak), (_SHAPE[1] - _MARGIN, _BASE), 16, DIM, align="right")
        if not scale_text(peak):
            bar = slice(end - 8 - _BAR, end - 8)
            self._empty[_BASE - 11 : _BASE, bar] = colour_map()[np.linspace(0, 255, _BAR).astype(int)]
            write(self._empty, "saliency  0", (bar.start - 8, _BASE), 16, DIM, align="right")

    def draw(
        self, screen: np.ndarray, saliency: np.ndarray | None, fixations: np.ndarray, frame: int
    ) -> np.ndarray:
        """One frame, uint8 [718, 1008, 3].

        screen: uint8 [210, 160, 3]. saliency: float32 [210, 160], not normalised, None for no map.
        fixations: counts [210, 160]. frame: its number.
        """
        image = self._empty.copy()
        image[_LEFT] = magnify(screen, _FACTOR)
        image[_RIGHT] = magnify(
            screen if saliency is None else overlay(screen, share_of(saliency, self._peak)), _FACTOR
        )
        for panel in (_LEFT, _RIGHT):
            mark_gaze(image[panel], fixations)
        samples = int(fixations.sum())
        below = f"frame {frame:,}    gaze samples in the stack's frames: {samples:,}"
        write(image, below, (_MARGIN, _BASE), 16, DIM)
        return image


def _number(peak: float | None) -> str:
    return "no map" if peak is None else scale_text(peak) or f"{peak:.3g}"


def mark_gaze(image: np.ndarray, fixations: np.ndarray) -> None:
    """Draw a dot with a rim on every fixated pixel, in place; touching dots share one rim.

    image: uint8 [3 * 210, 3 * 160, 3]. fixations: counts [210, 160].
    """
    for radius, colour in _DOT:
        for row, column in np.argwhere(fixations > 0):
            centre = (int(column) * _FACTOR + _FACTOR // 2, int(row) * _FACTOR + _FACTOR // 2)
            cv2.circle(image, centre, radius, colour, cv2.FILLED, cv2.LINE_AA)
