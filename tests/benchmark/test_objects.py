"""Objects: boxes from the emulator's memory against the pixels of real games; objects from pixels."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from fls_jax.atari.pool import AtariPool
from fls_jax.benchmark import erasure
from fls_jax.benchmark.objects import (
    MOVING,
    Thing,
    box_mask,
    find_objects,
    kinds_of,
    masks_of,
    moving_objects,
)
from fls_jax.benchmark.ram import DECODERS
from fls_jax.saliency import Question
from tests.saliency.small import SHAPE, frames, linear, linear_params

# What an object is painted in, and rows where nothing else is. Flicker mixes it with what is behind.
LOOKS = {
    ("Pong", "ball"): ([(236, 236, 236)], (34, 194)),
    ("Pong", "player"): ([(92, 186, 92)], (34, 194)),
    ("Pong", "opponent"): ([(213, 130, 74)], (34, 194)),
    ("Breakout", "ball"): ([(200, 72, 72)], (93, 189)),
    ("Breakout", "paddle"): ([(200, 72, 72)], (189, 193)),
    ("SpaceInvaders", "player"): ([(50, 132, 50)], (180, 196)),
    ("SpaceInvaders", "alien"): ([(134, 134, 29)], (30, 185)),
    ("MsPacman", "player"): ([(210, 164, 74), (210, 164, 136)], (0, 171)),
    ("MsPacman", "ghost"): (
        [(180, 122, 48), (84, 184, 153), (198, 89, 179), (200, 72, 72), (66, 114, 194), (180, 122, 136),
         (200, 72, 136), (180, 184, 153), (198, 184, 179), (198, 122, 179), (214, 214, 214)],
        (0, 171),
    ),
    ("Seaquest", "player"): ([(187, 187, 53), (187, 187, 136), (236, 236, 236), (117, 181, 239)], (45, 160)),
    ("Seaquest", "enemy"): (
        [(92, 186, 92), (92, 186, 136), (160, 171, 79), (160, 171, 136), (170, 170, 170)],
        (60, 160),
    ),
    ("Seaquest", "diver"): ([(66, 72, 200)], (60, 160)),
}  # fmt: skip
HIT, INSIDE, MARGIN = 0.9, 0.93, 2


@pytest.fixture(scope="module")
def played():
    """Memories and screens of random play, each game once."""
    found = {}

    def of(game):
        if game not in found:
            pool, random = AtariPool(game, 2, 2000, threads=1, screens=True), np.random.default_rng(0)
            pool.reset()
            memories, screens = [], []
            actions = np.zeros(2, np.int32)
            for step in range(600):
                if step % 3 == 0:
                    actions = random.integers(0, pool.num_actions, 2).astype(np.int32)
                alive = ~pool.step(actions).terminated
                if step % 6 == 5:
                    memories.append(pool.ram[alive])
                    screens.append(pool.screens[alive])
            pool.close()
            found[game] = np.concatenate(memories).astype(int), np.concatenate(screens)
        return found[game]

    return of


@pytest.mark.parametrize(("game", "kind"), LOOKS)
def test_boxes_hold_their_objects(game, kind, played):
    """Nine of ten boxes hold their object's colour; 93 % of such pixels lie in a box, with a margin of 2."""
    memories, screens = played(game)
    colours, (top, bottom) = LOOKS[game, kind]
    boxes = DECODERS[game](memories)[kind]
    assert boxes.shape[::2] == (len(memories), 4)
    hits, pixels, within = [], 0, 0
    for screen, places in zip(screens, boxes, strict=True):
        painted = np.zeros((210, 160), bool)
        for colour in colours:
            painted[top:bottom, 8:152] |= (screen[top:bottom, 8:152] == colour).all(axis=-1)
        covered = np.zeros((210 + 2 * MARGIN, 160 + 2 * MARGIN), bool)
        for box in places[np.isfinite(places).all(axis=1)]:
            y, x, height, width = box.astype(int)
            inside = painted[max(y, 0) : y + height, max(x, 0) : x + width]
            if x >= 8 and x + width <= 152:
                hits.append(inside.any())
            covered[max(y, 0) : max(y, 0) + height + 2 * MARGIN, max(x, 0) : x + width + 2 * MARGIN] = True
        pixels += painted.sum()
        within += (painted & covered[MARGIN:-MARGIN, MARGIN:-MARGIN]).sum()
    assert len(hits) > 20
    assert np.mean(hits) >= HIT
    if kind != "player" or game != "Seaquest":  # at the surface the air flickers in the player's colours
        assert within / pixels >= INSIDE


def test_an_objects_mask_is_where_the_agent_sees_it(played):
    """In Pong's 84x84 observation the ball's pixels are those that its mask names."""
    pool = AtariPool("Pong", 1, 3, threads=1)
    pool.reset()
    seen = []
    for _ in range(120):
        observations = pool.step(np.zeros(1, np.int32)).observations
        boxes = DECODERS["Pong"](pool.ram.astype(int))["ball"]
        mask = box_mask(boxes[0, 0], (84, 84))
        if mask.any():
            newest = observations[0, -1, 14:76, 10:72].astype(int)
            bright = newest > 120
            if bright.any():
                seen.append((bright & mask[14:76, 10:72]).any())
    assert len(seen) > 10
    assert np.mean(seen) > 0.9


def test_masks_of_boxes():
    whole = box_mask(np.array([0.0, 0, 210, 160]), (84, 84))
    assert whole.all()
    # 4 x 2 screen pixels at (100, 80): rows 40 to 41.6, columns 42 to 43.05 of 84.
    ball = box_mask(np.array([100.0, 80, 4, 2]), (84, 84))
    assert np.argwhere(ball).tolist() == [[40, 42], [40, 43], [41, 42], [41, 43]]
    assert box_mask(np.array([-2.0, -2, 4, 4]), (84, 84)).sum() == 1 * 2
    assert not box_mask(np.array([300.0, 0, 4, 4]), (84, 84)).any()
    assert not box_mask(np.array([np.nan, 0, 4, 4]), (84, 84)).any()


def test_objects_of_a_stack_cover_its_four_frames():
    ram = np.zeros((1, 4, 128), np.uint8)
    ram[0, :, 54], ram[0, :, 49] = [114, 124, 134, 144], [129, 133, 137, 141]
    things = find_objects("Pong", np.zeros((1, 84, 84, 4), np.uint8), ram)
    assert kinds_of(things) == ["ball"]
    mask = masks_of(things, "ball", 1, (84, 84))[0]
    for x, y in zip([129, 133, 137, 141], [114, 124, 134, 144], strict=True):
        assert mask[int((y - 14) / 2.5), int((x - 49) * 84 / 160)]
    assert mask.sum() < 30


def test_what_moves_is_found_in_any_other_game(rng):
    seen = np.full((6, 84, 84, 4), 50, np.uint8)
    for frame in range(6):
        seen[frame, 10 * frame : 10 * frame + 5, 30:36] = 200
        seen[frame, 70:74, 5 * frame : 5 * frame + 4] = 20
    things = find_objects("Tennis", seen, np.zeros((6, 4, 128), np.uint8))
    assert kinds_of(things) == [MOVING]
    assert [sum(thing.frame == n for thing in things) for n in range(6)] == [2] * 6
    truth = np.any(seen != 50, axis=-1)
    np.testing.assert_array_equal(masks_of(things, MOVING, 6, (84, 84)), truth)
    flash = np.full((3, 84, 84, 4), 255, np.uint8)
    assert not moving_objects(flash, np.zeros((84, 84)))  # larger than a quarter of the screen
    dot = np.zeros((1, 84, 84, 4), np.uint8)
    dot[0, 5, 5] = 255
    assert not moving_objects(dot, np.zeros((84, 84)))


def test_erasing_an_object_of_a_linear_network(rng):
    """The value changes by exactly the weights times what was painted over."""
    weights, seen = linear_params(rng), frames(rng, 4)
    things = []
    for frame in range(4):
        for row in (2, 9):
            mask = np.zeros(SHAPE[:2], bool)
            mask[row : row + 4, 3 * frame : 3 * frame + 5] = True
            things.append(Thing(frame, "block", mask))
    question = Question(linear, weights, seen, ("policy",), jax.random.key(0))
    effects = erasure.erase(question, things)
    behind = np.median(np.moveaxis(seen, -1, 1).reshape(-1, *SHAPE[:2]), axis=0)[..., None]
    for thing, value in zip(things, effects.value, strict=True):
        change = ((seen[thing.frame] - behind) * weights[..., -1])[thing.mask].sum()
        np.testing.assert_allclose(value, abs(change), rtol=1e-3, atol=1e-5)
    assert (effects.policy >= 0).all()
    maps = rng.uniform(size=seen.shape[:3])
    masses = erasure.masses(maps, things)
    np.testing.assert_allclose(masses[3], maps[1][things[3].mask].sum() / maps[1].sum())
    value, low, high, n = erasure.rank_agreement(masses, effects.value, np.repeat([0, 0, 1, 1], 2))
    assert n == 8
    np.testing.assert_allclose(value, spearmanr(masses, effects.value).statistic)
    assert low <= high
    assert np.isnan(erasure.rank_agreement(masses, masses * 0, np.zeros(8))[0])
