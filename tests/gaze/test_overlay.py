from __future__ import annotations

import av
import numpy as np
import pytest

from fls_jax.agent import load_agent
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.film.drawing import overlay
from fls_jax.gaze.overlay import film_trial
from fls_jax.process.interruption import StopFlag
from tests.atari_head.synthetic import make_trial, play, write_v1
from tests.gaze import oracle
from tests.run_folders import write_run

NETWORK = "cnn_sparse_fls_pool"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("overlay")
    trial = make_trial(7, 45)
    trial.gaze = [[(40.0, 50.0), (120.2, 160.7)] for _ in trial.gaze]
    write_v1(home / "data", [trial], unpacked=True)
    write_run(home / "fls", NETWORK, "MsPacman")
    write_run(home / "cnn", "cnn", "MsPacman")
    return home


def film(home, run, path, **options):
    trial = open_dataset(home / "data").select("MsPacman")[0]
    return film_trial(load_agent(home / run), trial, path, **options)


def decoded(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 15
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def panels(frames):
    """(left, right), each [n, 210, 160, 3]: one pixel of every 3 x 3."""
    left, right = frames[:, 44:674, 16:496], frames[:, 44:674, 512:992]
    return left[:, 1::3, 1::3].astype(int), right[:, 1::3, 1::3].astype(int)


def colour_bar(frame):
    """The part of the line below that is between dark violet and yellow, as viridis goes; empty if none."""
    line = frame[696, 600:].astype(int)
    saturated = np.flatnonzero(line.max(axis=1) - line.min(axis=1) > 50)
    return frame[693:699, 600:][:, saturated[0] : saturated[-1] + 1] if len(saturated) else np.empty(0)


def test_game_gaze_and_saliency_are_where_they_belong(home, tmp_path):
    path = film(home, "fls", tmp_path / "film.mp4")
    frames = decoded(path)
    assert frames.shape == (11, 718, 1008, 3)
    assert np.median(colour_bar(frames[0])[:, -8:], axis=(0, 1)) == pytest.approx((253, 231, 37), abs=25)
    left, right = panels(frames)
    dots = [(50, 40), (161, 120)]
    marked = np.zeros((210, 160), bool)
    for row, column in dots:
        marked[row - 4 : row + 5, column - 4 : column + 5] = True
        for panel in (left, right):
            assert np.abs(panel[:, row, column] - (255, 92, 92)).mean() < 12
    pictures, _ = play("MsPacman", steps=20)
    shown = np.stack([np.maximum(pictures[max(i - 1, 0)], pictures[i]) for i in range(0, 44, 4)])
    assert np.abs(left - shown)[:, ~marked].mean() < 4

    trial = next((home / "data").glob("7_*_*/"))
    theirs = oracle.OracleTrial(trial, trial.with_suffix(".txt"), "aligned", "screen")
    attention = load_agent(home / "fls")(theirs.stacks()).attention
    maps = theirs.network_maps(attention, oracle.SPARSE_GEOMETRY)
    expected = np.stack([overlay(screen, map_) for screen, map_ in zip(shown, maps, strict=True)])
    assert np.abs(right - expected)[:, ~marked].mean() < 4
    assert np.abs(right - shown)[:, ~marked].mean() > 10  # and that is no small difference


def test_without_a_map_both_sides_show_the_game(home, tmp_path):
    frames = decoded(film(home, "cnn", tmp_path / "film.mp4", protocol="paper"))
    assert not colour_bar(frames[0]).size
    left, right = panels(frames)
    assert np.abs(left - right).mean() < 1


def test_a_stop_leaves_no_film(home, tmp_path):
    stop = StopFlag()
    stop.signal = 2
    assert film(home, "fls", tmp_path / "film.mp4", stop=stop) is None
    assert list(tmp_path.iterdir()) == []
