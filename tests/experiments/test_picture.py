"""The moving picture: the agent's own play, twice, once under its saliency; read back with Pillow."""

from __future__ import annotations

import dataclasses
import re
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from experiments.commands.picture import Settings, main, make_picture
from fls_jax import load_agent
from fls_jax.errors import UserError
from fls_jax.film.drawing import overlay
from fls_jax.film.playing import play
from fls_jax.film.views import largest_saliency, views
from tests.run_folders import write_run

START, STEPS = 70, 6  # across a block of views
LEFT, RIGHT = (slice(34, 454), slice(12, 332)), (slice(34, 454), slice(344, 664))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run(path, "cnn_sparse_fls_pool", "Breakout", seed=3)
    return path


@pytest.fixture(scope="module")
def expected(run):
    """(plain, under saliency), uint8 [T, 210, 160, 3] each."""
    agent = load_agent(run)
    clip = play(agent, START + STEPS, seed=5)
    # One scale for what is shown: the maps of the whole clip, times its maximum, over the part's.
    whole = largest_saliency(agent, clip)
    seen = list(views(agent, clip, maximum=whole))[START:]
    part = max(view.saliency.max() for view in seen)
    plain = np.stack([view.screen for view in seen])
    return plain, np.stack([overlay(view.screen, view.screen_saliency / part) for view in seen])


def decode(path):
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        frames = []
        for frame in ImageSequence.Iterator(picture):
            shown = np.asarray(frame.convert("RGB")).astype(int)
            times = round(frame.info["duration"] / 67)  # frames that are the same are stored once
            assert frame.info["duration"] == 67 * times
            frames += [shown] * times
        return np.stack(frames)


def enlarged(screens):
    return screens.repeat(2, axis=1).repeat(2, axis=2).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_the_game_and_the_same_game_under_its_saliency(run, expected, suffix, tmp_path):
    out = tmp_path / "new" / f"picture{suffix}"
    make_picture(Settings((run,), out, start=START, steps=STEPS, seed=5))
    frames = decode(out)
    assert frames.shape == (STEPS, 466, 676, 3)
    plain, under = map(enlarged, expected)
    np.testing.assert_array_equal(frames[:, *LEFT], plain)
    assert np.abs(frames[:, *RIGHT] - under).max() <= 1  # one scale for the part that is shown
    assert np.abs(under - plain).mean() > 12
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_another_agent_looks_at_the_first_ones_frames(run, expected, tmp_path):
    write_run(tmp_path / "patch", "cnn_patch_fls", "Breakout", seed=4)
    out = tmp_path / "picture.png"
    make_picture(Settings((run, tmp_path / "patch"), out, start=START, steps=STEPS, seed=5))
    frames = decode(out)
    plain, under = map(enlarged, expected)
    np.testing.assert_array_equal(frames[:, *LEFT], plain)
    assert np.abs(frames[:, *RIGHT] - under).max() <= 1
    clip = play(load_agent(run), START + STEPS, seed=5)
    other = load_agent(tmp_path / "patch")
    maps = other.saliency(np.moveaxis(clip.observations()[START:], 1, -1))
    for t in range(STEPS):
        screen = cv2.resize(maps[t] / maps.max(), (160, 210), interpolation=cv2.INTER_LINEAR)
        wanted = enlarged(overlay(expected[0][t], screen)[None])[0]
        assert np.abs(frames[t, LEFT[0], 676:996] - wanted).mean() < 2
    write_run(tmp_path / "pong", "cnn_patch_fls", "Pong")
    with pytest.raises(UserError, match="plays Breakout and another Pong"):
        make_picture(Settings((run, tmp_path / "pong"), out))


def test_beside_the_map_what_changes_in_it(run, tmp_path):
    out = tmp_path / "picture.png"
    make_picture(Settings((run,), out, start=START, steps=STEPS, seed=5, relative="mean"))
    frames = decode(out)
    assert frames.shape[2] == 12 + 3 * (320 + 12)
    agent = load_agent(run)
    clip = play(agent, START + STEPS, seed=5)
    shown = clip.attention[START:]
    less = dataclasses.replace(
        clip, attention=np.pad(shown - shown.mean(axis=0), ((START, 0), (0, 0), (0, 0)))
    )
    wanted = list(views(agent, less, maximum=largest_saliency(agent, less)))[START:]
    for t, view in enumerate(wanted):
        under = enlarged(overlay(view.screen, view.screen_saliency, signed=True)[None])[0]
        assert np.abs(frames[t, LEFT[0], 676:996] - under).max() <= 1


def test_a_large_one_loses_a_little(run, expected, tmp_path, monkeypatch):
    sizes = []
    for limit in (10**9, 0):
        monkeypatch.setattr("experiments.commands.picture._MOST_BYTES", limit)
        make_picture(Settings((run,), tmp_path / "picture.webp", start=START, steps=STEPS, seed=5))
        sizes.append((tmp_path / "picture.webp").stat().st_size)
    error = np.abs(decode(tmp_path / "picture.webp")[:, *LEFT] - enlarged(expected[0])).mean()
    assert sizes[1] < 0.8 * sizes[0]
    assert 0 < error < 4


def test_the_same_bytes_again(run, tmp_path):
    first, second = (tmp_path / f"{name}.webp" for name in "ab")
    for out in (first, second):
        make_picture(Settings((run,), out, steps=3))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "film.mp4"}, r"--out is .*film\.mp4; let its name end in \.webp or \.png"),
        ({"start": -1}, "--start is -1; it must lie between 0"),
        ({"steps": 1}, "--steps is 1; it must lie between 2 and 1,000"),
        ({"fps": 0}, "--fps is 0"),
        ({"seed": 2**31}, "--seed is 2147483648"),
        ({"step": 7}, "no checkpoint at step 7"),
    ],
)
def test_what_cannot_be_shown(run, options, message, tmp_path):
    options = {"out": "picture.webp"} | options
    with pytest.raises(UserError, match=message):
        make_picture(Settings((run,), **options | {"out": tmp_path / options["out"]}))
    assert not list(tmp_path.iterdir())


def test_the_command_line(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "picture.webp"
    monkeypatch.setattr(sys, "argv", ["picture", str(run), "--out", str(out), "--steps", "30"])
    assert main() == 0
    assert re.search(rf"{out}: 30 frames, 2 s, \d\.\d\d MB\n$", capsys.readouterr().out)
    write_run(tmp_path / "cnn", "cnn", "Breakout")
    monkeypatch.setattr(sys, "argv", ["picture", str(tmp_path / "cnn"), "--out", str(out)])
    assert main() == 2
    assert "picture: cnn has no attention to show" in capsys.readouterr().err
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        sys, "argv", ["picture", str(run), "--out", str(tmp_path / "file/a.png"), "--steps", "2"]
    )
    assert main() == 2
    assert "cannot be written" in capsys.readouterr().err
