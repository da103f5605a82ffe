"""The gaze file of a trial: the gaze positions of each frame."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fls_jax.atari_head.archives import DAMAGE, FRAME_NAME, MAX_FRAMES, Source, TrialError
from fls_jax.atari_head.text import encoding_of, from_header, separator_of

MAX_GAZE_BYTES = 1 << 27
"""A larger gaze file is not read; those of the release are a tenth of this size."""
MAX_SAMPLES = 100_000
"""A row with more samples is malformed: at 1000 Hz it would be one frame of 100 seconds."""
_DECORATION = str.maketrans("", "", "\"'[](){}\ufeff")
"""Characters that programs put around fields and lists, and that occur in no field."""


@dataclass(frozen=True)
class GazeRecord:
    """All gaze samples of a trial, sorted by frame.

    Attributes:
        number: int64 [S], ascending: the one-based frame number in each sample's ``frame_id``.
        xy: float64 [S, 2]: x, y in pixels of the 160x210 screen, origin top left; may lie off the screen.
        rows: int64 [R], ascending: the numbers of the frames that have a row.
        rows_without_gaze: rows with no usable sample (``null``, empty, or nothing but malformed samples).
        malformed_rows: rows left out: no readable frame_id, too few fields or over 100,000 samples.
        foreign_rows: rows left out because they belong to another run.
        repeated_rows: rows left out because an earlier row has the same frame.
        malformed_samples: samples left out because a coordinate is missing or not a finite number.
    """

    number: np.ndarray
    xy: np.ndarray
    rows: np.ndarray
    rows_without_gaze: int
    malformed_rows: int
    foreign_rows: int
    repeated_rows: int
    malformed_samples: int


def read_gaze(source: Source, run: str) -> GazeRecord:
    """Read the gaze file `source` of the run `run`.

    Raises:
        TrialError: the file cannot be read, is not a gaze file, or has no row of this run.
    """
    try:
        with source.open(MAX_GAZE_BYTES) as raw:
            buffer = io.BufferedReader(raw)
            lines = io.TextIOWrapper(buffer, encoding_of(buffer.peek(2)), errors="replace")
            record = parse_gaze(lines, run)
    except TrialError as error:
        raise TrialError(f"{source}: {error}") from error
    except DAMAGE as error:
        raise TrialError(f"{source} cannot be read: {type(error).__name__}: {error}") from error
    return record


def parse_gaze(lines: Iterable[str], run: str) -> GazeRecord:
    """Parse a gaze file: a header, then one row per frame with its gaze as x0,y0,x1,y1,... or ``null``.

    Missing and malformed samples are left out and counted, not replaced. If a frame has several rows, the
    first one counts. Files saved again by a spreadsheet are also read: blank lines before the header, quotes
    and brackets, semicolons (numbers may then have a decimal comma) or tabs.

    Raises:
        TrialError: the header is not Atari-HEAD's, or no row belongs to `run`.
    """
    lines = from_header(lines)
    first = next(lines, "").translate(_DECORATION)
    separator = separator_of(first)
    # frame_id, episode_id, score, duration(ms), unclipped_reward, action, gaze_positions
    header = [name.strip().lower() for name in first.strip(f"{separator}\r\n").split(separator)]
    columns = len(header)
    if columns < 2 or header[0] != "frame_id" or header[-1] != "gaze_positions":
        raise TrialError(f"not a gaze file of Atari-HEAD: its first line is {','.join(header)[:120]!r}")
    samples: dict[int, np.ndarray] = {}
    without_gaze = malformed_rows = foreign = repeated = malformed_samples = 0
    for line in lines:
        if not line.strip(" ,;\r\n\t"):
            continue
        fields = line.translate(_DECORATION).split(separator, columns - 1)
        match = FRAME_NAME.fullmatch(fields[0].strip())
        number = int(match["number"]) if match else 0
        gaze = fields[-1] if len(fields) == columns else ""
        whole = len(fields) >= columns - 1 and max(map(gaze.count, ",;\t")) < 2 * MAX_SAMPLES
        if match is None or not whole or not 1 <= number <= MAX_FRAMES:
            malformed_rows += 1
        elif match["run"] != run:
            foreign += 1
        elif number in samples:
            repeated += 1
        else:
            samples[number], malformed = _parse_samples(gaze)
            malformed_samples += malformed
            without_gaze += not len(samples[number])
    if not samples:
        raise TrialError(f"no row of run {run} ({foreign} of other runs, {malformed_rows} malformed)")
    rows = sorted(samples)
    return GazeRecord(
        number=np.repeat(np.array(rows, np.int64), [len(samples[row]) for row in rows]),
        xy=np.concatenate([samples[row] for row in rows]),
        rows=np.array(rows, np.int64),
        rows_without_gaze=without_gaze,
        malformed_rows=malformed_rows,
        foreign_rows=foreign,
        repeated_rows=repeated,
        malformed_samples=malformed_samples,
    )


def _parse_samples(text: str) -> tuple[np.ndarray, int]:
    """Samples float64 [k, 2] in the gaze field of one row, and how many were malformed."""
    text = text.strip().rstrip(",; \t")
    if not text or text.lower() == "null":
        return np.empty((0, 2)), 0
    if separator := next((mark for mark in ";\t" if mark in text), None):
        values = text.replace(",", ".").split(separator)
    else:
        values = text.split(",")
    try:
        numbers = np.array(list(map(float, values)))
    except ValueError:
        numbers = np.array([_number_or_nan(value) for value in values])
    odd = len(numbers) % 2
    xy = numbers[: len(numbers) - odd].reshape(-1, 2)
    good = np.isfinite(xy).all(axis=1)
    return xy[good], int(odd + np.count_nonzero(~good))


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
