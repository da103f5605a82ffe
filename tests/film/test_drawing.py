"""Drawing, against its definition in luma and chroma, and on the screens of real games."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from fls_jax.atari.pool import AtariPool
from fls_jax.film.drawing import (
    BACKGROUND,
    SHADE_KEPT,
    AgentTile,
    colour_map,
    magnify,
    mosaic,
    overlay,
    text_width,
    write,
)

# ITU-R BT.601, from RGB.
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
EYES = {
    "all three cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(colours, eye="all three cones"):
    """CIELAB [N, 3] of RGB [N, 3], 0 ... 255, as an eye sees them."""
    encoded = np.asarray(colours, np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(EYES[eye]), 0, 1).astype(np.float32)
    return cv2.cvtColor(linear[:, None], cv2.COLOR_LRGB2Lab)[:, 0]


def test_overlay_moves_hue_wholly_and_shade_partly(rng):
    picture = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    levels = rng.integers(0, 256, (40, 30))
    share = levels[..., None] / 255
    ours, colours = picture @ YCBCR.T, colour_map()[levels] @ YCBCR.T
    weights = share * [1 - SHADE_KEPT, 1, 1]
    expected = (ours * (1 - weights) + colours * weights) @ np.linalg.inv(YCBCR).T
    np.testing.assert_allclose(overlay(picture, levels / 255), np.clip(expected, 0, 255), atol=0.6)


def test_overlay_leaves_the_rest_alone(rng):
    picture = rng.integers(0, 256, (84, 84, 3), dtype=np.uint8)
    saliency = np.zeros((84, 84))
    np.testing.assert_array_equal(overlay(picture, saliency), picture)
    np.testing.assert_array_equal(overlay(picture[..., 0], saliency), picture[..., :1].repeat(3, axis=-1))
    saliency[10, 20] = 1
    changed = (overlay(picture, saliency) != picture).any(axis=-1)
    assert list(zip(*changed.nonzero(), strict=True)) == [(10, 20)]
    np.testing.assert_array_equal(overlay(picture, 9 * saliency - 4), overlay(picture, saliency))


@pytest.mark.parametrize("eye", EYES)
def test_the_colour_map_only_gets_lighter(eye):
    assert (np.diff(lab(colour_map()[::5], eye)[:, 0]) > 0).all()


@pytest.mark.parametrize("game", ["Pong", "Breakout", "MsPacman", "Seaquest", "Enduro", "BeamRider"])
def test_saliency_is_seen_on_the_screens_of_games_and_the_game_beneath_it(game, rng):
    pool = AtariPool(game, 1, 5, threads=1, screens=True)
    pool.reset()
    for _ in range(30):
        pool.step(rng.integers(pool.num_actions, size=1, dtype=np.int32))
    screen = pool.screens[0]
    full, half, plain = (overlay(screen, np.full((210, 160), s)).reshape(-1, 3) for s in (1, 0.5, 0))
    for eye in EYES:
        for one, other in [(full, plain), (full, half)]:
            apart = np.linalg.norm(lab(one, eye) - lab(other, eye), axis=-1)
            assert np.mean(apart > 8) > 0.98, eye  # 2.3 is just noticeable
    shades = [picture @ YCBCR[0] for picture in (full.astype(float), plain.astype(float))]
    assert np.corrcoef(*shades)[0, 1] > 0.95
    assert shades[0].std() > 0.8 * SHADE_KEPT * shades[1].std()


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_magnify_makes_squares(shape, rng):
    picture = rng.integers(0, 256, shape, dtype=np.uint8)
    squares = np.ones((5, 5) + (1,) * (len(shape) - 2), np.uint8)
    np.testing.assert_array_equal(magnify(picture, 5), np.kron(picture, squares))


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (16, 4, 4)]
)
def test_mosaic_places_tiles_row_by_row(count, rows, columns):
    image = mosaic([np.full((2, 6, 3), 100 + number, np.uint8) for number in range(count)])
    assert image.shape == (2 * rows, 6 * columns, 3)
    cells = image.reshape(rows, 2, columns, 6, 3).swapaxes(1, 2).reshape(rows * columns, -1, 3)
    for number, cell in enumerate(cells):
        assert (cell == (100 + number if number < count else BACKGROUND)).all()


def test_writing_stays_between_its_ends():
    image = np.zeros((40, 300, 3), np.uint8)
    end = write(image, "RIGHTFIRE", (20, 30), 22, bold=True)
    assert end == pytest.approx(20 + text_width("RIGHTFIRE", 22, bold=True), abs=2)
    columns = np.flatnonzero(image.any(axis=(0, 2)))
    assert 20 <= columns[0] <= 24
    assert end - 4 <= columns[-1] <= end
    image[:] = 0
    left = write(image, "1.07", (280, 30), 14, align="right")
    columns = np.flatnonzero(image.any(axis=(0, 2)))
    assert left <= columns[0]
    assert 276 <= columns[-1] <= 280


SCREEN, SEEN = np.full((210, 160, 3), 77, np.uint8), np.full((84, 84, 3), 99, np.uint8)
NUMBERS = ("-0.31", "1.74", "DOWNRIGHTFIRE", "-1,234,567", "11", "27,000")


def test_a_tile_shows_both_pictures_in_whole_pixels(rng):
    screen, seen = (rng.integers(0, 256, p.shape, dtype=np.uint8) for p in (SCREEN, SEEN))
    image = AgentTile("cnn", ("Pong",), 1.0).draw(screen, seen, NUMBERS)
    assert image.shape == (AgentTile.HEIGHT, AgentTile.WIDTH, 3)
    assert not AgentTile.HEIGHT % 2
    assert not AgentTile.WIDTH % 2
    np.testing.assert_array_equal(image[44:464, 16:336], screen.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(image[44:464, 352:772], seen.repeat(5, axis=0).repeat(5, axis=1))


def test_every_number_has_its_own_place():
    tile = AgentTile("cnn", ("Pong",), 1.0)
    blank = tile.draw(SCREEN, SEEN, [""] * len(NUMBERS))
    taken = []
    for place, text in enumerate(NUMBERS):
        image = tile.draw(SCREEN, SEEN, [text if n == place else "" for n in range(len(NUMBERS))])
        rows, columns = (image != blank).any(axis=-1).nonzero()
        assert rows.min() > 464
        assert rows.max() < AgentTile.HEIGHT - 4
        taken.append((columns.min(), columns.max()))
    assert taken == sorted(taken)
    assert all(left[1] + 8 < right[0] for left, right in pairwise(taken))
    assert taken[-1][1] < AgentTile.WIDTH - 8


def header(*arguments):
    return AgentTile(*arguments).draw(SCREEN, SEEN, NUMBERS)[:44].astype(int)


def test_facts_give_way_to_the_scale():
    name, facts = "cnn_sparse_fls_norelu_pool", ("MontezumaRevenge", "seed 33", "50.00M steps")
    np.testing.assert_array_equal(header(name, facts, 1.23e-5), header(name, facts[1:], 1.23e-5))
    assert (header(name, facts[1:], 1.23e-5) != header(name, facts[2:], 1.23e-5)).any()
    assert (header("cnn", facts, 1.0) != header("cnn", facts[1:], 1.0)).any()


def test_the_scale_names_its_maximum_and_its_absence():
    with_bar, other, without = header("cnn", (), 12.3), header("cnn", (), 45.6), header("cnn", (), None)
    assert (with_bar != other).any()
    spread = with_bar.max(axis=-1) - with_bar.min(axis=-1)
    assert (spread > 60).sum() > 500
    assert not (without.max(axis=-1) - without.min(axis=-1) > 60).any()
    assert (without != AgentTile("cnn", (), None)._empty[0, 0]).any()
