"""Boxes of objects against the pixels of a game, and against squares that are drawn where they must be."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from fls_jax.agent import load_agent
from fls_jax.film.clip import Frames
from fls_jax.film.playing import play
from fls_jax.report.boxes import MOST_MOVING, boxes_of_pixels, boxes_record
from fls_jax.report.encoding import unpacked_pictures

PADDLE, FIELD = (200, 72, 72), slice(189, 193)  # Breakout's colour, and the rows where only the paddle is


@pytest.fixture(scope="module")
def clip(pair):
    return play(load_agent(pair[0]), 40, 5)


def frames_of(observations):
    """Frames of these observations uint8 [T, 4, 84, 84], on black screens."""
    black = zlib.compress(bytes(210 * 160 * 3))
    return Frames([black] * len(observations), [zlib.compress(each.tobytes()) for each in observations])


def test_boxes_from_memory_hold_their_object(clip):
    record = boxes_record("Breakout", clip, clip.ram)
    assert record["from"] == "memory"
    places = unpacked_pictures(record["places"])
    paddle = places[:, record["names"].index("paddle")].astype(int)
    for t, (left, top, width, height) in enumerate(paddle):
        there = (clip.screen(t)[FIELD, 8:152] == PADDLE).all(axis=(0, 2))
        columns = 8 + np.flatnonzero(there)
        assert (top, height) == (189, 4)
        # The screen is the maximum of two frames, which shows a paddle that moves wider than it is.
        assert np.isin(np.arange(left, left + width), columns).mean() > 0.9


def test_boxes_from_pixels_hold_what_moves():
    observations = np.full((5, 4, 84, 84), 30, np.uint8)
    observations[1, 3, 10:14, 20:30] = 200
    observations[3, 3, 40:44, 2:6] = 90
    observations[3, 3, 60:62, 50:60] = 0
    observations[4, 0, 5:9, 5:9] = 200  # an older frame, which is not what the screen shows
    names, boxes = boxes_of_pixels(frames_of(observations))
    assert names == ["moving", "moving"]
    across, down = 160 / 84, 210 / 84
    found = [[tuple(box) for box in frame if box[2]] for frame in boxes.tolist()]
    assert [len(each) for each in found] == [0, 1, 0, 2, 0]
    left, top, width, height = found[1][0]
    assert (left, top) == (int(20 * across), int(10 * down))
    assert (left + width, top + height) == (int(np.ceil(30 * across)), int(np.ceil(14 * down)))
    assert found[3][0][:2] == (int(50 * across), int(60 * down))  # the larger one first


def test_of_many_things_the_largest_have_boxes():
    observations = np.zeros((3, 4, 84, 84), np.uint8)
    for number in range(MOST_MOVING + 8):
        row, column = divmod(number, 6)
        observations[1, 3, 12 * row : 12 * row + 2, 12 * column : 12 * column + 2 + number // 4] = 255
    names, boxes = boxes_of_pixels(frames_of(observations))
    assert len(names) == boxes.shape[1] == MOST_MOVING
    assert not boxes[[0, 2]].any()


def test_where_nothing_moves_there_are_no_boxes():
    assert boxes_record("Pitfall", frames_of(np.zeros((3, 4, 84, 84), np.uint8))) is None
