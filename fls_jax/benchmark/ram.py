"""Positions of objects on the screen, from the emulator's 128 bytes of memory.

Which byte holds what is public knowledge of these games' programs (Anand et al. 2019; Delfosse et al. 2023).
Sizes, offsets and bits were measured on screens; tests/benchmark/test_objects.py states how often a box holds
its object. A box is (top, left, height, width) on the 210x160 screen, NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Decoder = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Memories int [N, 128] -> boxes float64 [N, K, 4] by kind of object."""

_FIELD = (34, 194)  # the first row of Pong's field, and the first below it
_BRICKS = (
    *((30, 6), (24, 6), (24, 4), (24, 2), (24, 0), (18, 0), (18, 2), (18, 4), (18, 6), (12, 4), (12, 6)),
    *((6, 6), (6, 4), (6, 2), (6, 0), (0, 0), (0, 2), (0, 4)),
)
"""Byte and bit of Breakout's 18 bricks in the lowest row, from the left; of the row above, one byte on."""
_PELLETS = (
    *((59, 6), (60, 7), (60, 5), (60, 3), (60, 1), (61, 0), (61, 2), (61, 4), (61, 6)),
    *((60, 6), (60, 4), (60, 2), (60, 0), (61, 1), (61, 3), (61, 5), (61, 7), (59, 4)),
)
"""Byte and bit of MsPacman's 18 pellets in the uppermost of 14 rows; of the row below, three bytes on."""
_MAZE = (
    "oooo oooooooo oooo",
    "   o o      o o   ",
    "oooooooooooooooooo",
    " o o  o    o  o o ",
    "oo oooooooooooo oo",
    " o    o    o    o ",
    " oooooo    oooooo ",
    " o    o    o    o ",
    "oo oooooooooooo oo",
    " o o o o  o o o o ",
    "oooo o oooo o oooo",
    "o  o ooo  ooo o  o",
    "   o   o  o   o   ",
    "oooooooooooooooooo",
)
"""Where MsPacman's first maze has pellets; in its walls the bits are always set."""


def pong(ram: np.ndarray) -> dict[str, np.ndarray]:
    """`ball`, `player` (right, green), `opponent`; each is cut where the field ends."""
    boxes = {
        "ball": _box(ram[:, 54] - 14, ram[:, 49] - 49, 4, 2, there=ram[:, 54] > 0),
        "player": _box(ram[:, 51] - 13, 140, 16, 4, there=ram[:, 51] > 0),
        "opponent": _box(ram[:, 50] - 15, 16, 16, 4, there=ram[:, 50] > 0),
    }
    return {kind: _cut(box, *_FIELD) for kind, box in boxes.items()}


def breakout(ram: np.ndarray) -> dict[str, np.ndarray]:
    """`ball`, `paddle` (at its initial width) and 108 of `brick`; there is no ball before it is served."""
    top = ram[:, 101] + 9
    bricks = [
        _box(87 - 6 * row, 8 + 8 * column, 6, 8, there=_bit(ram[:, byte + row], bit))
        for row in range(6)
        for column, (byte, bit) in enumerate(_BRICKS)
    ]
    return {
        "ball": _box(top, ram[:, 99] - 48, 4, 2, there=(ram[:, 101] > 0) & (top < 193)),
        "paddle": _box(189, ram[:, 72] - 47, 4, 16),
        "brick": np.concatenate(bricks, axis=1),
    }


def space_invaders(ram: np.ndarray) -> dict[str, np.ndarray]:
    """`player`, 36 of `alien`, two of `bullet` (the aliens'), and `shot` (the player's).

    Aliens: six rows, the uppermost last in memory, one bit each. A bullet's box reaches as far as it flies in
    two frames, because a screen is the maximum of two.
    """
    aliens = [
        _box(
            31 + 2 * ram[:, 16] + 18 * row,
            ram[:, 26] - 1 + 16 * column,
            10,
            8,
            there=_bit(ram[:, 23 - row], column),
        )
        for row in range(6)
        for column in range(6)
    ]
    bullets = [_missile(ram[:, 81 + n], ram[:, 83 + n], 1, 12) for n in range(2)]
    return {
        "player": _box(185, ram[:, 28] - 1, 10, 7),
        "alien": np.concatenate(aliens, axis=1),
        "bullet": np.concatenate(bullets, axis=1),
        "shot": _missile(ram[:, 85], ram[:, 87], 3, 14),
    }


def ms_pacman(ram: np.ndarray) -> dict[str, np.ndarray]:
    """`player`, four of `ghost`, `fruit`, and `pellet` in the first maze (the four large ones left out)."""
    ghosts = [_box(ram[:, 12 + n] + 1, ram[:, 6 + n] - 12, 10, 8, there=ram[:, 6 + n] > 0) for n in range(4)]
    pellets = [
        _box(7 + 12 * row, 8 * column + (8 if column < 9 else 12), 2, 4, there=_pellet(ram, row, column))
        for row, cells in enumerate(_MAZE)
        for column, cell in enumerate(cells)
        if cell != " "
    ]
    return {
        "player": _box(ram[:, 16] + 1, ram[:, 10] - 13, 10, 10, there=ram[:, 10] > 0),
        "ghost": np.concatenate(ghosts, axis=1),
        "fruit": _box(ram[:, 17] + 1, ram[:, 11] - 12, 10, 8, there=(ram[:, 11] > 0) & (ram[:, 17] > 0)),
        "pellet": np.concatenate(pellets, axis=1),
    }


def seaquest(ram: np.ndarray) -> dict[str, np.ndarray]:
    """`player`; `enemy`, up to three in each of four lanes, one bit each; `diver`, one per lane."""
    enemies, divers = [], []
    for lane in range(4):
        top = 64 + 24 * lane
        for bit, offset in ((2, 0), (1, 16), (0, 32)):
            left = (ram[:, 33 - lane] + offset) % 256
            enemies.append(_box(top, left, 16, 8, there=_bit(ram[:, 43 - lane], bit) & (left < 160)))
        diver = ram[:, 74 - lane]
        divers.append(_box(top, diver, 16, 8, there=(diver > 0) & (diver < 160)))
    return {
        "player": _box(ram[:, 97] + 32, ram[:, 70], 11, 16),
        "enemy": np.concatenate(enemies, axis=1),
        "diver": np.concatenate(divers, axis=1),
    }


DECODERS: dict[str, Decoder] = {
    "Pong": pong,
    "Breakout": breakout,
    "SpaceInvaders": space_invaders,
    "MsPacman": ms_pacman,
    "Seaquest": seaquest,
}
"""Decoders by game, in EnvPool's spelling."""


def _box(
    top: np.ndarray | int, left: np.ndarray | int, height: int, width: int, there: np.ndarray | bool = True
) -> np.ndarray:
    """float64 [N, 1, 4], NaN where `there` is false."""
    sides: Sequence[np.ndarray] = np.broadcast_arrays(top, left, height, width, there)
    boxes = np.stack(sides[:4], axis=-1).astype(float)
    return np.where(sides[4][..., None], boxes, np.nan)[:, None]


def _cut(boxes: np.ndarray, first: int, end: int) -> np.ndarray:
    """Cut boxes to the rows from `first` to before `end`; NaN if nothing is left."""
    top = np.maximum(boxes[..., 0], first)
    height = np.minimum(boxes[..., 0] + boxes[..., 2], end) - top
    cut = np.stack([top, boxes[..., 1], height, boxes[..., 3]], axis=-1)
    return np.where(height[..., None] > 0, cut, np.nan)


def _missile(y: np.ndarray, x: np.ndarray, above: int, height: int) -> np.ndarray:
    """The box of a bullet of SpaceInvaders, from its two bytes; NaN unless it is between sky and ground."""
    return _box(2 * y + above, x - 2, height, 1, there=(y > 8) & (y < 93))


def _pellet(ram: np.ndarray, row: int, column: int) -> np.ndarray:
    """Whether a pellet of the first maze is left: bool [N]."""
    byte, bit = _PELLETS[column]
    return (ram[:, 0] == 0) & _bit(ram[:, byte + 3 * row], bit)


def _bit(value: np.ndarray, place: int) -> np.ndarray:
    return (value >> place) & 1 == 1
