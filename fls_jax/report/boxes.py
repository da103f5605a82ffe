"""Boxes around the objects of a clip: from the emulator's memory if it can be read, else from pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fls_jax.benchmark.objects import MOVING, moving_objects
from fls_jax.benchmark.ram import DECODERS
from fls_jax.film.clip import Frames
from fls_jax.report.encoding import pictures
from fls_jax.saliency.averages import background
from fls_jax.saliency.projection import SCREEN

MOST_MOVING = 12
"""Most boxes of a frame that are found from pixels: the largest ones."""
_INPUT = 84


def boxes_record(game: str, frames: Frames, ram: np.ndarray | None = None) -> dict[str, Any] | None:
    """The document's entry for the boxes of a clip; None if there are no objects.

    ram: uint8 [T, 128] at the newest frames, None if there is no memory to read.
    """
    known = ram is not None and game in DECODERS
    names, boxes = boxes_of_memory(game, ram) if known and ram is not None else boxes_of_pixels(frames)
    if not names:
        return None
    return {"names": names, "from": "memory" if known else "pixels", "places": pictures(boxes)}


def boxes_of_memory(game: str, ram: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Kinds and positions of boxes: uint8 [T, K, 4] (left, top, width, height); width 0: not on the screen.

    game: a game in benchmark.ram.DECODERS. Boxes that are never on the screen are left out.
    """
    names, parts = [], []
    for kind, found in DECODERS[game](ram.astype(int)).items():
        names += [kind] * found.shape[1]
        parts.append(found)
    boxes = _whole(np.concatenate(parts, axis=1))
    there = np.flatnonzero(boxes[..., 2].max(axis=0))
    return [names[place] for place in there], boxes[:, there]


def boxes_of_pixels(frames: Frames) -> tuple[list[str], np.ndarray]:
    """As boxes_of_memory, for regions that differ from the background: the largest per frame, of one kind."""
    newest = np.stack([frames.observation(t)[-1] for t in range(len(frames))])[..., None]
    still = background(newest)[..., 0]
    found = np.full((len(frames), MOST_MOVING, 4), np.nan)
    for t, picture in enumerate(newest):
        things = sorted(moving_objects(picture[None], still), key=lambda each: -int(each.mask.sum()))
        for place, thing in enumerate(things[:MOST_MOVING]):
            rows, columns = (np.flatnonzero(thing.mask.any(axis=axis)) for axis in (1, 0))
            found[t, place] = rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1
    boxes = _whole(found * np.array([*SCREEN, *SCREEN]) / _INPUT)
    count = int(boxes[..., 2].any(axis=0).sum())
    return [MOVING] * count, boxes[:, :count]


def _whole(boxes: np.ndarray) -> np.ndarray:
    """Boxes float [T, K, 4] (top, left, height, width), NaN for none, cut to the screen, in whole pixels."""
    low = np.floor(np.clip(boxes[..., :2], 0, SCREEN))
    high = np.ceil(np.clip(boxes[..., :2] + boxes[..., 2:], 0, SCREEN))
    size = high - low
    there = (size > 0).all(axis=-1, keepdims=True)  # false for NaN
    whole = np.where(there, np.concatenate([low, size], axis=-1), 0)
    return whole[..., [1, 0, 3, 2]].astype(np.uint8)
