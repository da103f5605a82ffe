"""Positions of a game's objects on an agent's observations, from the emulator's memory or from pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import label

from fls_jax.benchmark.ram import DECODERS
from fls_jax.saliency.averages import background
from fls_jax.saliency.projection import SCREEN

MOVING = "moving"
THRESHOLD = 20
SMALLEST, LARGEST = 2, 0.25


class Thing(NamedTuple):
    """One object on one observation: the number of the frame, its kind, and its mask bool [H, W]."""

    frame: int
    kind: str
    mask: np.ndarray


def find_objects(game: str, observations: np.ndarray, ram: np.ndarray) -> list[Thing]:
    """Every object on observations uint8 [B, H, W, 4]; from ram uint8 [B, 4, 128] where the game is known.

    An object's mask covers its positions in all four frames. In unknown games objects are what moves, of one
    kind.
    """
    if game in DECODERS:
        return _from_memory(game, ram, observations.shape[1:3])
    return moving_objects(observations, background(observations)[..., 0])


def kinds_of(things: list[Thing]) -> list[str]:
    """The kinds of objects, in the order of their first appearance."""
    return list(dict.fromkeys(thing.kind for thing in things))


def masks_of(things: list[Thing], kind: str, count: int, shape: tuple[int, int]) -> np.ndarray:
    """All objects of a kind on each frame: bool [count, H, W]."""
    masks = np.zeros((count, *shape), bool)
    for thing in things:
        if thing.kind == kind:
            masks[thing.frame] |= thing.mask
    return masks


def moving_objects(observations: np.ndarray, still: np.ndarray) -> list[Thing]:
    """Connected regions that differ from the background: observations uint8 [B, H, W, C], still float [H, W].

    A pixel differs if it is more than 20 of 255 off in any frame. Pixels that touch, corners included, form
    one object. Regions of less than 2 pixels or more than a quarter of the screen are ignored.
    """
    differs = (np.abs(observations.astype(np.float32) - still[None, ..., None]) > THRESHOLD).any(axis=-1)
    things = []
    for frame, each in enumerate(differs):
        labels, count = label(each, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            mask = labels == number
            if SMALLEST <= mask.sum() <= LARGEST * mask.size:
                things.append(Thing(frame, MOVING, mask))
    return things


def box_mask(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A box (top, left, height, width) of the 210x160 screen on a smaller picture: bool [H, W].

    True for every pixel that the box overlaps, because resizing by area shows it there. The box is cut at the
    edge of the screen; a box with a NaN is empty.
    """
    mask = np.zeros(shape, bool)
    if np.isfinite(box).all():
        low = np.maximum(box[:2], 0) * shape / SCREEN
        high = np.minimum(box[:2] + box[2:], SCREEN) * shape / SCREEN
        if (high > low).all():
            (top, left), (bottom, right) = np.floor(low + 1e-9).astype(int), np.ceil(high - 1e-9).astype(int)
            mask[top:bottom, left:right] = True
    return mask


@lru_cache(maxsize=1024)
def _mask_of(boxes: tuple[tuple[float, ...], ...], shape: tuple[int, int]) -> np.ndarray:
    """The union of boxes' masks. What stands still, as bricks do, is one array on all frames."""
    mask = np.logical_or.reduce([box_mask(np.array(box), shape) for box in boxes])
    mask.flags.writeable = False
    return mask


def _from_memory(game: str, ram: np.ndarray, shape: tuple[int, ...]) -> list[Thing]:
    things = []
    rows, columns = shape
    for kind, boxes in DECODERS[game](ram.reshape(-1, 128).astype(int)).items():
        boxes = boxes.reshape(*ram.shape[:2], -1, 4)  # [B, 4 frames, K, 4]
        for frame, places in enumerate(boxes.swapaxes(1, 2)):
            for places_of_one in places:
                mask = _mask_of(tuple(dict.fromkeys(map(tuple, places_of_one.tolist()))), (rows, columns))
                if mask.any():
                    things.append(Thing(frame, kind, mask))
    return things
