"""The observations that an agent would have had in a human's game, and the human's gaze at them.

Atari-HEAD has every frame; an agent acts on every fourth. Observation k belongs to frame i = 4k and shows the
maximum of frames i-1 and i (observation 0 shows frame 0 alone), grey, 84x84; its stack holds observations k-3
to k, zeros before the first. Its gaze is that of the frames shown in the stack. Frames are counted from zero
here and from one in the data set. The original code compares the two without conversion, so that its gaze is
one frame early. `protocol` selects the correct or the published form (Nikulin et al., arXiv 1908.02511).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np

from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.pictures import INPUT, SCREEN, decode_png, preprocess
from fls_jax.atari_head.trial import TrialData, TrialReport, read_trial
from fls_jax.saliency.projection import Protocol

Preprocessing = Literal["envpool", "baselines"]
Space = Literal["screen", "input"]

STACK = 4
SKIP = 4
GAZE_OFFSETS = (0, 1, 4, 5, 8, 9, 12, 13)
"""Offsets, back from frame i, of the frames in an observation's stack; their gaze counts."""
_T = TypeVar("_T")


class ObservationBatch(NamedTuple):
    """Consecutive observations of one trial.

    Attributes:
        frames: int64 [B]: the zero-based frame i = 4k of each.
        observations: uint8 [B, 84, 84, 4], oldest plane first.
        screens: uint8 [B, 210, 160, 3] RGB, the maximum of frames i-1 and i in colour; None unless asked for.
    """

    frames: np.ndarray
    observations: np.ndarray
    screens: np.ndarray | None


def observation_frames(n: int) -> np.ndarray:
    """Zero-based frames i = 4k, int64 [K], at which a trial of `n` frames has observations.

    All multiples of four below n, except the last frame of the trial.
    """
    return np.arange(0, n - 1, SKIP, dtype=np.int64)


def pixel_indices(xy: np.ndarray, space: Space) -> np.ndarray:
    """Flat pixel of each gaze sample, int64 [S], row-major; -1 if it rounds to a position off the map.

    Args:
        xy: float64 [S, 2]: x, y in pixels of the 160x210 screen.
        space: ``screen`` for 210x160 maps, ``input`` for 84x84. Halves are rounded to even.
    """
    (screen_height, screen_width), (height, width) = SCREEN, map_shape(space)
    x, y = xy[:, 0], xy[:, 1]
    if space == "input":
        x, y = x / screen_width * width, y / screen_height * height
    column, row = np.rint(x), np.rint(y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, np.where(inside, row, 0) * width + column, -1).astype(np.int64)


def map_shape(space: Space) -> tuple[int, int]:
    """(height, width) of the fixation maps in `space`."""
    return SCREEN if space == "screen" else INPUT


def open_trial(
    trial: Trial,
    *,
    protocol: Protocol = "aligned",
    preprocessing: Preprocessing = "envpool",
    space: Space = "screen",
) -> TrialObservations:
    """Read a trial, with only those pictures that observations need.

    Raises:
        TrialError: the trial cannot be read.
        ValueError: an unknown protocol, preprocessing or space.
    """
    # The zero-based frames 4k-1 and 4k have the numbers 4k and 4k+1 in the data set.
    data = read_trial(trial, wanted=lambda number: number % SKIP in (0, 1))
    return TrialObservations(data, protocol=protocol, preprocessing=preprocessing, space=space)


class TrialObservations:
    """The observations of one trial and their fixation maps. They can be iterated any number of times.

    An observation is left out, and counted, if its stack needs a picture that is missing or cannot be
    decoded. Missing gaze adds nothing to a fixation map; without any gaze the map is zero.

    Args:
        data: the result of `read_trial`.
        protocol: ``paper`` matches the zero-based frame with the one-based number of the gaze file, and takes
            the maximum in colour; ``aligned`` corrects the former and follows `preprocessing` in the latter.
        preprocessing: ``envpool`` takes the maximum after conversion to grey, ``baselines`` before it.
        space: ``screen`` for fixation maps of 210x160, ``input`` for 84x84.

    Attributes:
        data: as given.
        asked: observations of a trial of this length, including those left out.
        space: as given.
    """

    def __init__(
        self,
        data: TrialData,
        *,
        protocol: Protocol = "aligned",
        preprocessing: Preprocessing = "envpool",
        space: Space = "screen",
    ) -> None:
        for name, value, kind in (
            ("protocol", protocol, Protocol),
            ("preprocessing", preprocessing, Preprocessing),
            ("space", space, Space),
        ):
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
        self.data = data
        self.asked = len(observation_frames(data.frames.length))
        self.space: Space = space
        self._colour_first = protocol == "paper" or preprocessing == "baselines"
        self._number_of_frame_0 = 1 if protocol == "aligned" else 0
        self._pixels = pixel_indices(data.gaze.xy, space)

    def batches(
        self, batch_size: int = 64, *, screens: bool = False, ahead: int = 2
    ) -> Iterator[ObservationBatch]:
        """Observations in order, decoded in a thread that runs up to `ahead` batches ahead of the caller."""
        if batch_size < 1 or ahead < 1:
            raise ValueError(f"batch_size and ahead must be at least 1, not {batch_size} and {ahead}")
        return run_ahead(self._decode(batch_size, screens), ahead)

    def fixations(self, frames: np.ndarray) -> np.ndarray:
        """Fixation maps int32 [B, H, W] (counts of gaze samples) of the observations at `frames` int [B]."""
        first, last = self._sample_ranges(frames)
        pieces = [self._pixels[a:b] for a, b in zip(first.flat, last.flat, strict=True)]
        pixels = np.concatenate([*pieces, np.empty(0, np.int64)])
        owner = np.repeat(np.arange(len(frames)), (last - first).sum(axis=1))
        height, width = map_shape(self.space)
        flat = (owner * (height * width) + pixels)[pixels >= 0]
        counts = np.bincount(flat, minlength=len(frames) * height * width)
        return counts.astype(np.int32).reshape(len(frames), height, width)

    def report(self) -> TrialReport:
        """The report of the trial. It is complete after iterating `batches`, which finds bad pictures."""
        data, trial, gaze = self.data, self.data.trial, self.data.gaze
        asked = observation_frames(data.frames.length)
        complete = asked[self._complete()]
        first, last = self._sample_ranges(complete)
        on_screen = np.concatenate([[0], np.cumsum(self._pixels >= 0)])
        return TrialReport(
            trial=trial.id,
            name=trial.name,
            game=trial.game,
            highscore=trial.highscore,
            layout=trial.layout,
            frames_in_metadata=trial.frames_in_metadata,
            frames=data.frames.length,
            frames_missing=data.frames.length - len(data.frames.numbers),
            frames_repeated=data.frames.repeated,
            frames_undecodable=len(data.undecodable),
            first_undecodable=data.first_undecodable,
            members_ignored=data.frames.ignored,
            rows=len(gaze.rows),
            rows_without_gaze=gaze.rows_without_gaze,
            rows_malformed=gaze.malformed_rows,
            rows_foreign=gaze.foreign_rows,
            rows_repeated=gaze.repeated_rows,
            rows_without_frame=len(np.setdiff1d(gaze.rows, data.frames.numbers)),
            frames_without_row=len(np.setdiff1d(data.frames.numbers, gaze.rows)),
            samples=len(gaze.xy),
            samples_malformed=gaze.malformed_samples,
            samples_off_screen=int(np.count_nonzero(self._pixels < 0)),
            observations=len(complete),
            observations_left_out=len(asked) - len(complete),
            observations_without_gaze=int(
                np.count_nonzero((on_screen[last] - on_screen[first]).sum(axis=1) == 0)
            ),
            **asdict(trial.recording),
        )

    def _sample_ranges(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last index of the samples of each observation's eight frames, int64 [B, 8] each."""
        # Frames before the first get numbers below one, which no sample has.
        numbers = np.asarray(frames)[:, None] - np.array(GAZE_OFFSETS) + self._number_of_frame_0
        return tuple(np.searchsorted(self.data.gaze.number, numbers, side) for side in ("left", "right"))

    def _complete(self) -> np.ndarray:
        """Whether each observation's stack has all its pictures, bool [K], as far as known so far."""
        there = np.zeros(self.data.frames.length + SKIP, bool)
        there[self.data.frames.numbers - 1] = True
        there[[number - 1 for number in self.data.undecodable]] = False
        shown = observation_frames(self.data.frames.length)
        plane = there[shown] & (there[shown - 1] | (shown == 0))
        padded = np.concatenate([np.ones(STACK - 1, bool), plane])
        return np.logical_and.reduce([padded[k : k + self.asked] for k in range(STACK)])

    def _decode(self, batch_size: int, screens: bool) -> Iterator[ObservationBatch]:
        frames: list[int] = []
        stacks = np.empty((batch_size, *INPUT, STACK), np.uint8)
        shown: list[np.ndarray] = []
        stack = np.zeros((*INPUT, STACK), np.uint8)
        whole = STACK  # available consecutive planes of the stack, newest first; zeros before the first
        for i in observation_frames(self.data.frames.length):
            pictures = [self._picture(int(j)) for j in ((i - 1, i) if i else (i,))]
            stack = np.roll(stack, -1, axis=-1)
            if any(picture is None for picture in pictures):
                whole = 0
                continue
            whole += 1
            pair = [picture for picture in pictures if picture is not None]
            stack[..., -1] = preprocess(pair, colour_first=self._colour_first)
            if whole < STACK:
                continue
            stacks[len(frames)] = stack
            frames.append(int(i))
            if screens:
                shown.append(np.maximum(pair[0], pair[-1]))
            if len(frames) == batch_size:
                yield _batch(frames, stacks, shown)
                frames, shown = [], []
                stacks = np.empty_like(stacks)
        if frames:
            yield _batch(frames, stacks[: len(frames)], shown)

    def _picture(self, frame: int) -> np.ndarray | None:
        number = frame + 1
        data = self.data.frames.png.get(number)
        if data is None or number in self.data.undecodable:
            return None
        try:
            return decode_png(data)
        except ValueError as error:
            self.data.undecodable[number] = str(error)
            return None


def _batch(frames: list[int], stacks: np.ndarray, shown: list[np.ndarray]) -> ObservationBatch:
    return ObservationBatch(np.array(frames, np.int64), stacks, np.stack(shown) if shown else None)


def run_ahead(items: Iterator[_T], ahead: int = 2) -> Iterator[_T]:
    """Iterate `items` in a thread, up to `ahead` items early. Exceptions are raised in their place."""

    def draw() -> list[_T]:
        return list(islice(items, 1))

    with ThreadPoolExecutor(1, "run-ahead") as executor:
        pending = deque(executor.submit(draw) for _ in range(ahead))
        try:
            while item := pending.popleft().result():
                pending.append(executor.submit(draw))
                yield item[0]
        finally:
            executor.shutdown(cancel_futures=True)
