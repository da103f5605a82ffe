"""Reads one trial, with its pictures still encoded, and counts what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fls_jax.atari_head.archives import EncodedFrames, TrialError, read_frames
from fls_jax.atari_head.dataset import Trial
from fls_jax.atari_head.gaze_file import GazeRecord, read_gaze

AVERAGED = "its pictures are averages of two frames (frame_averaging), which no agent was trained on"


@dataclass(frozen=True)
class TrialData:
    """A trial in memory: encoded pictures and gaze samples.

    `undecodable` collects the one-based numbers of pictures that cannot be decoded, with the reasons.
    """

    trial: Trial
    frames: EncodedFrames
    gaze: GazeRecord
    undecodable: dict[int, str] = field(default_factory=dict)

    @property
    def first_undecodable(self) -> str | None:
        """The first picture that cannot be decoded, and the reason; None if there is none."""
        number = min(self.undecodable, default=None)
        return None if number is None else f"picture {number:,}: {self.undecodable[number]}"


def read_trial(trial: Trial, wanted: Callable[[int], bool] | None = None) -> TrialData:
    """Read a trial. Keep only pictures whose one-based number is `wanted` (default: all).

    Raises:
        TrialError: pictures or gaze are missing, cannot be read, or are of different runs.
    """
    if trial.frames is None:
        raise TrialError(f"{trial.gaze} has neither an archive nor a folder of pictures beside it")
    if trial.gaze is None:
        raise TrialError(f"{trial.frames} has no gaze file {trial.name}.txt beside it")
    frames = read_frames(trial.frames, wanted=wanted)
    return TrialData(trial, frames, read_gaze(trial.gaze, frames.run))


@dataclass(frozen=True)
class TrialReport:
    """What was read of a trial and what was left out. Plain values for JSON (`dataclasses.asdict`).

    Attributes:
        trial, name, game, highscore, layout: as in Trial.
        frames_in_metadata: the number of frames in ``meta_data.csv``, None if it is not given.
        frames: length n of the trial, its highest frame number.
        frames_missing: numbers below n without a picture.
        frames_repeated: pictures left out because an earlier picture has the same number.
        frame_averaging, load_trial, avg_error, max_error, low_sample_rate: as in Recording.
        frames_undecodable: needed pictures that are truncated, damaged or not 160x210.
        first_undecodable: the number of the first of them, and the reason.
        members_ignored: archive members that are not pictures of this run.
        rows: rows of the gaze file that count.
        rows_without_gaze, rows_malformed, rows_foreign, rows_repeated: as in GazeRecord.
        rows_without_frame: rows whose frame has no picture.
        frames_without_row: pictures without a row.
        samples: gaze samples that count, on and off the screen.
        samples_malformed: samples with a coordinate that is missing or not a finite number.
        samples_off_screen: samples that lie off the map after rounding, in the space of the fixation maps.
        observations: observations whose pictures are all available.
        observations_left_out: observations whose stack needs a missing or undecodable picture.
        observations_without_gaze: of `observations`, those with an empty fixation map.
    """

    trial: int
    name: str
    game: str | None
    highscore: bool
    layout: str
    frames_in_metadata: int | None
    frames: int
    frames_missing: int
    frames_repeated: int
    frames_undecodable: int
    first_undecodable: str | None
    members_ignored: int
    rows: int
    rows_without_gaze: int
    rows_malformed: int
    rows_foreign: int
    rows_repeated: int
    rows_without_frame: int
    frames_without_row: int
    samples: int
    samples_malformed: int
    samples_off_screen: int
    observations: int
    observations_left_out: int
    observations_without_gaze: int
    frame_averaging: bool | None
    load_trial: int | None
    avg_error: float | None
    max_error: float | None
    low_sample_rate: float | None

    def problems(self) -> list[str]:
        """Sentences for the user, one for each kind of omission or disagreement."""
        counts = {
            "frames missing": self.frames_missing,
            "frames repeated": self.frames_repeated,
            "pictures that do not decode": self.frames_undecodable,
            "archive members ignored": self.members_ignored,
            "gaze rows malformed": self.rows_malformed,
            "gaze rows of other runs": self.rows_foreign,
            "gaze rows repeated": self.rows_repeated,
            "gaze rows without a picture": self.rows_without_frame,
            "frames without a gaze row": self.frames_without_row,
            "gaze samples malformed": self.samples_malformed,
            "observations left out": self.observations_left_out,
        }
        sentences = [f"{count:,} {what}" for what, count in counts.items() if count]
        if self.first_undecodable:
            sentences.append(f"the first that does not decode is {self.first_undecodable}")
        if self.frame_averaging:
            sentences.append(AVERAGED)
        if self.frames_in_metadata not in (None, self.frames):
            sentences.append(f"{self.frames:,} frames, but {self.frames_in_metadata:,} in meta_data.csv")
        return sentences
