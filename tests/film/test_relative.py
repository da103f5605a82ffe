"""Films of attention less its mean or its background, of the bare map, and of another map in its place."""

from __future__ import annotations

import re
import zlib

import av
import numpy as np
import pytest

import fls_jax
from fls_jax.errors import UserError
from fls_jax.film.drawing import AgentTile, colours, diverging_map, overlay
from fls_jax.film.job import film, with_attention
from fls_jax.film.playing import play
from fls_jax.film.relative import relative_attention
from fls_jax.film.views import draw
from fls_jax.networks.specs import network_spec
from tests.run_folders import write_run

PATCH = network_spec("cnn_patch_fls")
SCREEN_AT, INPUT_AT = AgentTile.SCREEN, AgentTile.INPUT


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run(path, "cnn_patch_fls", "Breakout")
    return path


@pytest.fixture(scope="module")
def agent(run):
    return fls_jax.load_agent(run)


def test_less_its_mean_only_what_moves_is_left(rng):
    attention = np.repeat(rng.random((1, 21, 21), np.float32), 4, axis=0)
    attention[2, 5, 6] += 4
    less = relative_attention(attention, np.zeros((4, 4, 84, 84), np.uint8), PATCH, "mean")
    np.testing.assert_allclose(less.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(less[:, 5, 6], [-1, -1, 3, -1], rtol=1e-5)
    less[:, 5, 6] = 0
    np.testing.assert_allclose(less, 0, atol=1e-6)


def test_less_the_commonest_patch(rng):
    """Black is commonest, though no frame has more than four black patches and the last one has none."""
    frames = rng.integers(1, 256, (4, 4, 84, 84), dtype=np.uint8)
    attention = rng.random((4, 21, 21), np.float32)
    black = [(t, 3 * t + k, 7) for t in range(3) for k in range(4)]
    for t, row, column in black:
        frames[t, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    frames[3, 0, :4, :4] = 0  # black in one of the four frames alone is another patch
    less = relative_attention(attention, frames, PATCH, "background")
    background = [attention[t, 3 * t : 3 * t + 4, 7].mean() for t in range(3)]
    background.append(np.mean(background))
    np.testing.assert_allclose(less, attention - np.array(background)[:, None, None], rtol=1e-4, atol=1e-6)


def test_background_is_for_disjoint_patches():
    spec = network_spec("cnn_sparse_fls_h1")
    with pytest.raises(UserError, match="cnn_sparse_fls_h1 sees 8 pixels every 4: use --relative mean"):
        relative_attention(np.zeros((1, 20, 20)), np.zeros((1, 4, 84, 84), np.uint8), spec, "background")


def test_signs_are_told_by_hue_and_zero_is_the_picture():
    grey = np.full((1, 3), 90, np.uint8)
    below, zero, above = overlay(grey, np.array([[-1.0, 0.0, 1.0]]), signed=True)[0].astype(int)
    np.testing.assert_array_equal(zero, 90)
    assert below[2] > below[0]  # blue
    assert above[0] > above[2]  # orange
    weak = overlay(grey, np.array([[-0.1, 0.1, 2.0]]), signed=True)[0].astype(int)
    assert np.abs(weak[0] - 90).max() < np.abs(below - 90).max()
    np.testing.assert_array_equal(weak[2], above)
    bare = colours(np.array([[-1.0, 0.0, 1.0]]), signed=True)[0]
    np.testing.assert_allclose(bare, diverging_map()[[0, 128, 255]], atol=1)
    assert bare[1].max() < 60
    np.testing.assert_allclose(colours(np.array([[0.0]]))[0, 0], (68, 1, 84), atol=1)  # viridis begins


def tiles(agent, clip, **options):
    return np.stack(list(draw(agent, clip, **options)))


def test_the_bare_map_stands_beside_the_game_as_it_is(agent):
    clip = play(agent, 3, seed=1)
    frames = tiles(agent, clip, map_only=True)
    attention = clip.attention.copy()
    attention[:, 20:] = attention[:, :, 20:] = 0  # read by no layer
    for t in range(3):
        np.testing.assert_array_equal(frames[t, *SCREEN_AT][::2, ::2], clip.screen(t))
        shown = frames[t, *INPUT_AT][::20, ::20]  # a pixel of each patch
        expected = colours(attention[t] / attention.max())
        np.testing.assert_allclose(shown.astype(int), expected.astype(int), atol=1)


def test_the_colour_bar_says_what_it_is(agent):
    clip = play(agent, 3, seed=1)
    heads = [
        tiles(agent, clip, relative=relative)[0, :44, 352:] for relative in ("none", "mean", "background")
    ]
    assert all((a != b).any() for a, b in zip(heads, heads[1:] + heads[:1], strict=True))
    signed = AgentTile("x", (), 2.0, "less its mean", signed=True)._empty[24]
    bar = diverging_map()[np.linspace(0, 255, 112).astype(int)].astype(np.uint8)
    assert any((signed[x : x + 112] == bar).all() for x in range(signed.shape[0] - 112))


def test_films_of_each_kind_have_names_of_their_own(run, capsys):
    for options, name in [
        ({"relative": "mean"}, "32-mean.mp4"),
        ({"relative": "background", "map_only": True}, "32-background-map.mp4"),
        ({"attention": "constant:0.5"}, "32-constant-0.5.mp4"),
    ]:
        path = film([run], steps=3, **options)
        assert path == run / "video" / name
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 3


def test_an_agent_with_its_time_mean_for_attention_draws_the_same_map_at_every_step(agent):
    other = with_attention(agent, "mean", seed=1)
    assert other.attention == "mean"
    clip = play(other, 4, seed=1)
    np.testing.assert_array_equal(clip.attention, np.repeat(clip.attention[:1], 4, axis=0))
    assert np.ptp(clip.attention[0]) > 0


def test_what_cannot_be_replaced_is_a_sentence(agent, tmp_path):
    write_run(tmp_path, "cnn", "Breakout")
    for each, name, message in [
        (agent, "average", "--attention: There is no replacement 'average'"),
        (fls_jax.load_agent(tmp_path), "mean", "--attention: cnn has no attention to replace"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            with_attention(each, name, seed=1)


def test_a_clip_gives_back_what_the_agent_saw(agent):
    clip = play(agent, 2, seed=1)
    assert clip.observations().tobytes() == b"".join(zlib.decompress(each) for each in clip.inputs)
