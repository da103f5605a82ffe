"""Frames that matter: their definition, and that no two of them are alike."""

from __future__ import annotations

import numpy as np

from fls_jax import load_agent
from fls_jax.benchmark.frames import play_frames
from fls_jax.benchmark.highlights import CANDIDATES, diverse, importance
from tests.run_folders import write_run


def test_the_weightiest_are_taken_of_which_no_two_are_alike(rng):
    """Ten scenes, twenty near-copies of each: of ten chosen each scene has its weightiest."""
    scenes = rng.integers(0, 256, (10, 12, 12))
    scene = np.repeat(np.arange(10), 20)
    pictures = np.clip(scenes[scene] + rng.integers(-2, 3, (200, 12, 12)), 0, 255).astype(np.uint8)
    weights = scene + rng.random(200)  # all of the last scene weigh more than any of the first
    chosen = diverse(weights, pictures, 10)
    assert chosen.tolist() == sorted(chosen)
    assert scene[chosen].tolist() == list(range(10))
    for number in chosen:
        assert weights[number] == weights[scene == scene[number]].max()


def test_as_many_as_asked_also_where_all_are_alike():
    pictures = np.zeros((9, 4, 4), np.uint8)
    assert diverse(np.arange(9.0), pictures, 3).tolist() == [6, 7, 8]


def test_frames_that_matter_weigh_more_than_an_even_sample(tmp_path):
    write_run(tmp_path, "cnn", "Pong")
    agent = load_agent(tmp_path)
    even = play_frames(agent, 8 * CANDIDATES, seed=1001)
    found = play_frames(agent, 8, seed=1001, highlights=True)
    where = [
        np.flatnonzero((even.observations == each).all(axis=(1, 2, 3)))[0] for each in found.observations
    ]
    assert len(set(where)) == 8
    assert where == sorted(where)
    np.testing.assert_array_equal(found.ram, even.ram[where])
    np.testing.assert_array_equal(found.episodes, even.episodes[where])
    np.testing.assert_array_equal(found.followers[0, ..., :3], found.observations[0, ..., 1:])
    weights = importance(agent(even.observations).logits)
    assert weights.argmax() in where
    assert weights[where].mean() > weights.mean()
