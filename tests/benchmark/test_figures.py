"""Pictures of a comparison: what is drawn where."""

from __future__ import annotations

import numpy as np

from fls_jax.benchmark.figures import map_figure, shown_frames
from fls_jax.benchmark.plot import lines


def test_a_map_is_drawn_on_its_frame_and_nothing_beside_it():
    """Of two methods the second alone has mass, in one corner of its last frame."""
    seen = np.full((3, 84, 84, 4), 128, np.uint8)
    maps = {"attention": np.zeros((3, 84, 84), np.float32), "occlusion": np.zeros((3, 84, 84), np.float32)}
    bare = map_figure(seen, maps)
    maps["occlusion"][2, :10, :10] = 3.0
    maps["occlusion"][1, :10, :10] = -3.0  # negative: no mass of an occlusion
    rows, columns = np.nonzero((map_figure(seen, maps) != bare).any(axis=-1))
    assert np.ptp(rows) == np.ptp(columns) == 19  # ten pixels, twice as large
    assert columns.min() > bare.shape[1] // 2


def test_shown_frames_are_three_of_the_set():
    for count in (8, 9, 100, 500):
        shown = shown_frames(count)
        assert len(set(shown.tolist())) == 3
        assert 0 < shown.min() <= shown.max() < count - 1


def test_lines_of_one_value_and_of_large_steps_are_drawn():
    steps = np.array([1e5, 2e5, 2e6])
    flat = lines({"flat": (steps, np.ones(3))}, "one", "env_step")
    bent = lines({"flat": (steps, np.array([1.0, 2.0, 1.0]))}, "one", "env_step")
    assert flat.shape == bent.shape
    assert (flat[:490, 80:780] != bent[:490, 80:780]).any()
