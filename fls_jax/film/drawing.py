"""Drawing on arrays: saliency over a game, enlargement by whole factors, text, tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal

import cv2
import numpy as np

from fls_jax.types import DEAD

Colour = tuple[int, int, int]
BACKGROUND: Colour = (16, 17, 22)
BRIGHT: Colour = (238, 240, 244)
DIM: Colour = (150, 156, 170)

# Share of the game's own lightness that remains where saliency is largest.
SHADE_KEPT = 0.4
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@cache
def colour_map() -> np.ndarray:
    """Viridis, float32 RGB [256, 3] in 0 ... 255: uniform in lightness, also for colour-blind people."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1].astype(np.float32)


@cache
def diverging_map() -> np.ndarray:
    """Blue over dark grey to orange, float32 RGB [256, 3] in 0 ... 255; also for colour-blind people."""
    ends = np.array([(86, 180, 233), (40, 42, 48), (255, 165, 30)], np.float32)
    place = np.linspace(0, 2, 256)
    return np.stack([np.interp(place, (0, 1, 2), ends[:, c]) for c in range(3)], axis=1).astype(np.float32)


def colours(saliency: np.ndarray, signed: bool = False) -> np.ndarray:
    """The map alone, uint8 [H, W, 3]. saliency: float [H, W] in 0 ... 1, or signed in -1 ... 1."""
    place = (saliency + 1) / 2 if signed else saliency
    ramp = diverging_map() if signed else colour_map()
    return (ramp[(np.clip(place, 0, 1) * 255 + 0.5).astype(np.uint8)] + 0.5).astype(np.uint8)


def overlay(picture: np.ndarray, saliency: np.ndarray, signed: bool = False) -> np.ndarray:
    """Saliency drawn over a picture: uint8 [H, W, 3].

    At a pixel of saliency s, the hue moves by the share s from the game's to the map's, and the lightness by
    the share (1 - SHADE_KEPT) s. So hue shows the saliency over black, white and any colour, while lightness
    still shows the game. At s = 0 the picture is unchanged.

    Args:
        picture: uint8 [H, W, 3] RGB or [H, W] grey.
        saliency: float [H, W]; values outside 0 ... 1 count as 0 and 1.
        signed: saliency is in -1 ... 1; its size is the share, its sign selects the end of the diverging map.
    """
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if signed:
        share = np.clip(np.abs(saliency), 0, 1).astype(np.float32)
        ends = diverging_map()[[0, -1]]
        change = ends[(saliency > 0).astype(np.uint8)] - picture
    else:
        share = np.clip(saliency, 0, 1).astype(np.float32)
        change = colour_map()[(share * 255 + 0.5).astype(np.uint8)] - picture
    change -= SHADE_KEPT * (change @ _LUMA)[..., None]
    return np.clip(picture + share[..., None] * change + 0.5, 0, 255).astype(np.uint8)


def magnify(picture: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge uint8 [H, W] or [H, W, 3] by `factor`: every pixel becomes a square."""
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def mosaic(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles of one size, uint8 [h, w, 3], row by row in the squarest grid; places left over are empty."""
    if len(tiles) == 1:
        return tiles[0]
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    height, width, _ = tiles[0].shape
    image = np.zeros((rows * height, columns * width, 3), np.uint8)
    image[-height:] = BACKGROUND
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        image[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return image


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def write(
    image: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: int,
    colour: Colour = BRIGHT,
    bold: bool = False,
    align: Literal["left", "right"] = "left",
) -> int:
    """Write a line onto uint8 [H, W, 3], in place; returns the x of its other end.

    place: (x, y) of the baseline's left end or, aligned right, of its right end. size: in pixels.
    """
    x, y = place
    if align == "right":
        x -= text_width(text, size, bold)
    end, _ = cv2.putText(image, text, (x, y), colour, _font(), size, _weight(bold))
    return x if align == "right" else end[0]


def text_width(text: str, size: int, bold: bool = False) -> int:
    """The width of a line in pixels."""
    return cv2.getTextSize((0, 0), text, (0, 0), _font(), size, _weight(bold))[2]


def _weight(bold: bool) -> int:
    return 600 if bold else 400


def scale_text(maximum: float | None) -> str | None:
    """The text instead of a scale: there is no map, or it has died. None if there is a scale."""
    if maximum is None:
        return "no attention"
    return f"saliency below {DEAD:g}" if maximum < DEAD else None


class AgentTile:
    """The picture of one agent: its colour screen and its input side by side, its numbers below.

    Args:
        title: in bold above the pictures.
        facts: after the title, separated by commas; the first are dropped if the line is too short.
        maximum: the saliency that is drawn as 1, for the colour bar; None if there is no attention.
        scale: the label of the bar. signed: the bar goes from -maximum to maximum.
    """

    SCREEN_FACTOR, INPUT_FACTOR = 2, 5  # 210 and 84 rows both become 420
    NUMBERS = ("value", "entropy (nats)", "action", "return", "game", "step")
    _PLACES = (16, 120, 256, 472, 606, 690)
    _MARGIN, _TOP, _SIDE, _BOTTOM, _SCREEN_WIDTH = 16, 44, 420, 68, 320
    HEIGHT = _TOP + _SIDE + _BOTTOM
    WIDTH = _SCREEN_WIDTH + _SIDE + 3 * _MARGIN
    SCREEN = (slice(_TOP, _TOP + _SIDE), slice(_MARGIN, _MARGIN + _SCREEN_WIDTH))
    INPUT = (slice(_TOP, _TOP + _SIDE), slice(WIDTH - _MARGIN - _SIDE, WIDTH - _MARGIN))

    def __init__(
        self,
        title: str,
        facts: Sequence[str],
        maximum: float | None,
        scale: str = "saliency",
        signed: bool = False,
    ) -> None:
        self._empty = np.empty((self.HEIGHT, self.WIDTH, 3), np.uint8)
        self._empty[:] = BACKGROUND
        left = write(self._empty, title, (self._MARGIN, 29), 18, bold=True) + 12
        room = self._write_scale(maximum, scale, signed) - 12 - left
        while facts and text_width(", ".join(facts), 14) > room:
            facts = facts[1:]
        write(self._empty, ", ".join(facts), (left, 29), 14, DIM)
        for name, x in zip(self.NUMBERS, self._PLACES, strict=True):
            write(self._empty, name, (x, self._TOP + self._SIDE + 22), 13, DIM)

    def _write_scale(self, maximum: float | None, scale: str, signed: bool, width: int = 112) -> int:
        """Draw the labelled colour bar, right-aligned above the input. Returns the x of its left end."""
        text = scale_text(maximum) or f"{maximum:.3g}"
        end = write(self._empty, text, (self.WIDTH - self._MARGIN, 29), 14, DIM, align="right")
        if scale_text(maximum):
            return end
        bar = slice(end - 8 - width, end - 8)
        ramp = diverging_map() if signed else colour_map()
        self._empty[19:29, bar] = ramp[np.linspace(0, 255, width).astype(int)]
        low = f"-{maximum:.3g}" if signed else "0"
        return write(self._empty, f"{scale}  {low}", (bar.start - 8, 29), 14, DIM, align="right")

    def draw(self, screen: np.ndarray, seen: np.ndarray, numbers: Sequence[str]) -> np.ndarray:
        """The tile, uint8 [HEIGHT, WIDTH, 3].

        screen: uint8 [210, 160, 3]; seen: uint8 [84, 84, 3]; numbers: the values to write below NUMBERS.
        """
        image = self._empty.copy()
        image[self.SCREEN] = magnify(screen, self.SCREEN_FACTOR)
        image[self.INPUT] = magnify(seen, self.INPUT_FACTOR)
        for text, x in zip(numbers, self._PLACES, strict=True):
            write(image, text, (x, self._TOP + self._SIDE + 50), 22, bold=True)
        return image
