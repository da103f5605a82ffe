"""Objects: boxes from the emulator's memory against the pixels of real games; objects from pixels."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from fls_jax import load_agent
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

SHIPPED = Path(__file__).resolve().parents[2] / "experiments/pretrained"

# What an object is painted in, and rows where nothing else is. Flicker mixes it with what is behind.
LOOKS = {
    ("Pong", "ball"): ([(236, 236, 236)], (34, 194)),
    ("Pong", "player"): ([(92, 186, 92)], (34, 194)),
    ("Pong", "opponent"): ([(213, 130, 74)], (34, 194)),
    ("Breakout", "ball"): ([(200, 72, 72)], (93, 189)),
    ("Breakout", "paddle"): ([(200, 72, 72)], (189, 193)),
    ("Breakout", "brick"): (
        [(66, 72, 200), (72, 160, 72), (162, 162, 42), (180, 122, 48), (198, 108, 58), (200, 72, 72)],
        (57, 93),
    ),
    ("SpaceInvaders", "player"): ([(50, 132, 50)], (180, 196)),
    ("SpaceInvaders", "alien"): ([(134, 134, 29)], (30, 185)),
    ("SpaceInvaders", "bullet"): ([(142, 142, 142)], (20, 195)),
    ("SpaceInvaders", "shot"): ([(142, 142, 142)], (20, 195)),
    ("MsPacman", "player"): ([(210, 164, 74), (210, 164, 136)], (0, 171)),
    ("MsPacman", "ghost"): (
        [(180, 122, 48), (84, 184, 153), (198, 89, 179), (200, 72, 72), (66, 114, 194), (180, 122, 136),
         (200, 72, 136), (180, 184, 153), (198, 184, 179), (198, 122, 179), (214, 214, 214)],
        (0, 171),
    ),
    ("MsPacman", "fruit"): ([(184, 50, 50), (184, 50, 136)], (0, 171)),
    ("MsPacman", "pellet"): ([(228, 111, 111)], (0, 171)),
    ("Seaquest", "player"): ([(187, 187, 53), (187, 187, 136), (236, 236, 236), (117, 181, 239)], (45, 160)),
    ("Seaquest", "enemy"): (
        [(92, 186, 92), (92, 186, 136), (160, 171, 79), (160, 171, 136), (170, 170, 170)],
        (60, 160),
    ),
    ("Seaquest", "diver"): ([(66, 72, 200)], (60, 160)),
}  # fmt: skip
# Kinds whose colour others have too: at the surface Seaquest's air flickers in the player's colours, walls
# are painted as pellets, and SpaceInvaders' three missiles look alike.
NOT_ALONE = [
    ("Seaquest", "player"),
    ("MsPacman", "pellet"),
    ("SpaceInvaders", "bullet"),
    ("SpaceInvaders", "shot"),
]
HIT, INSIDE, MARGIN = 0.9, 0.93, 2
# Seen only by who plays well: bricks that broke, fruit, eaten pellets.
OF_GOOD_PLAY = {
    "brick": "Breakout/cnn",
    "fruit": "MsPacman/cnn_sparse_fls",
    "pellet": "MsPacman/cnn_sparse_fls",
}


@pytest.fixture(scope="module")
def played():
    """Memories and screens of random play or, for some kinds, of a shipped agent's, each once."""
    found = {}

    def of(game, kind):
        name = OF_GOOD_PLAY.get(kind)
        if (game, name) not in found:
            pool, random = AtariPool(game, 2, 2000, threads=1, screens=True), np.random.default_rng(0)
            agent = load_agent(SHIPPED / name) if name else None
            observations = np.moveaxis(pool.reset(), 1, -1)
            memories, screens = [], []
            actions = np.zeros(2, np.int32)
            for step in range(900 if agent else 600):
                if agent:
                    logits = agent(observations).logits
                    actions = (logits + random.gumbel(size=logits.shape)).argmax(axis=-1).astype(np.int32)
                elif step % 3 == 0:
                    actions = random.integers(0, pool.num_actions, 2).astype(np.int32)
                stepped = pool.step(actions)
                alive, observations = ~stepped.terminated, np.moveaxis(stepped.observations, 1, -1)
                if step % (4 if agent else 6) == 3:
                    memories.append(pool.ram[alive])
                    screens.append(pool.screens[alive])
            pool.close()
            found[game, name] = np.concatenate(memories).astype(int), np.concatenate(screens)
        return found[game, name]

    return of


@pytest.mark.parametrize(("game", "kind"), LOOKS)
def test_boxes_hold_their_objects(game, kind, played):
    """Nine of ten boxes hold their object's colour; 93 % of such pixels lie in a box, with a margin of 2."""
    memories, screens = played(game, kind)
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
    if (game, kind) not in NOT_ALONE:
        assert within / pixels >= INSIDE


def test_every_missile_of_space_invaders_is_one_of_the_three(played):
    """Nine of ten pixels of their colour are in a box of `bullet` or `shot`."""
    memories, screens = played("SpaceInvaders", "bullet")
    boxes = DECODERS["SpaceInvaders"](memories)
    missiles = np.concatenate([boxes["bullet"], boxes["shot"]], axis=1)
    covered = np.zeros(screens.shape[:3], bool)
    for frame, number in np.argwhere(np.isfinite(missiles).all(axis=2)):
        y, x, height, width = missiles[frame, number].astype(int)
        covered[frame, y : y + height, x : x + width] = True
    grey = (screens == (142, 142, 142)).all(axis=-1)
    grey[:, :20] = grey[:, 195:] = False
    assert grey.sum() > 500
    assert (grey & covered).sum() / grey.sum() >= HIT


@pytest.mark.parametrize(
    ("game", "kind", "colour", "went"),
    [("Breakout", "brick", None, 10), ("MsPacman", "pellet", (228, 111, 111), 40)],
)
def test_every_brick_and_pellet_is_there_or_gone_as_on_the_screen(game, kind, colour, went, played):
    """One by one: 98 % of those that are there are seen, hardly one that is gone, and enough went."""
    memories, screens = played(game, kind)
    boxes = DECODERS[game](memories)[kind]
    there = np.isfinite(boxes).all(axis=2)
    assert (there.any(axis=0) & ~there.all(axis=0)).sum() >= went
    seen = []
    for number in np.flatnonzero(there.any(axis=0)):
        y, x, height, width = boxes[there[:, number].argmax(), number].astype(int)
        cells = screens[:, y : y + height, x : x + width]
        painted = (cells == colour).all(axis=-1) if colour else cells.any(axis=-1)
        seen.append((there[:, number], painted.all(axis=(1, 2))))
    memory, screen = np.moveaxis(np.array(seen), 1, 0)
    assert screen[memory].mean() >= 0.98  # a ghost or the ball may hide it
    assert screen[~memory].mean() <= 0.005  # it broke between the two frames of a screen


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


def test_what_stands_still_takes_memory_once():
    """A brick that all frames have is one array, however many they are; one that broke is not there."""
    ram = np.zeros((50, 4, 128), np.uint8)
    ram[..., 30], ram[..., 31] = 64, 64
    ram[7:, :, 31] = 0
    bricks = [
        t for t in find_objects("Breakout", np.zeros((50, 84, 84, 4), np.uint8), ram) if t.kind == "brick"
    ]
    assert len(bricks) == 50 + 7
    assert len({id(brick.mask) for brick in bricks}) == 2
    lowest = masks_of(bricks, "brick", 50, (84, 84))[20]
    assert np.argwhere(lowest)[:, 0].min() == 34  # rows 87 to 92 of the screen, columns 8 to 15
    assert (lowest[35:37, 5:8]).all()
    assert lowest.sum() == 4 * 5


def test_only_what_differs_from_the_background_can_be_erased():
    seen = np.full((9, 84, 84, 4), 50, np.uint8)
    seen[:, 10:14, 10:14] = 200  # always there: in the background
    seen[3, 40:44, 40:44] = 200  # there once
    masks = np.zeros((2, 84, 84), bool)
    masks[0, 10:14, 10:14] = masks[1, 40:44, 40:44] = True
    things = [Thing(3, "brick", mask) for mask in masks]
    assert erasure.erasable(seen, things) == things[1:]


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
