"""Curves drawn as a picture, without a plotting library: lines, axes, a legend in the order of their ends."""

from __future__ import annotations

import cv2
import numpy as np

from fls_jax.film.drawing import BACKGROUND, BRIGHT, DIM, Colour, text_width, write

Series = dict[str, tuple[np.ndarray, np.ndarray]]
"""Lines by name: x and y, float [n] each; the names in the order of the legend."""

_SHAPE = (560, 1100, 3)
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 780, 60, 490
_FRACTION = 4  # cv2 takes positions in sixteenths of a pixel


def lines(series: Series, title: str, x_name: str, thick: tuple[str, ...] = ()) -> np.ndarray:
    """A picture uint8 [560, 1100, 3] of the series, whose numbers are finite.

    thick: names of reference lines, which are drawn in white.
    """
    image = np.empty(_SHAPE, np.uint8)
    image[:] = BACKGROUND
    write(image, title, (_LEFT, 34), 20, bold=True)
    xs, ys = (np.concatenate([pair[axis] for pair in series.values()]) for axis in (0, 1))
    (left, right), (low, high) = _ends(xs), _ends(ys)
    for tick in _ticks(low, high):
        row = int(_place(tick, low, high, _BOTTOM, _TOP).round())
        image[row, _LEFT:_RIGHT] = (52, 54, 62)
        write(image, f"{tick:.4g}", (_LEFT - 8, row + 5), 14, DIM, align="right")
    for tick in _ticks(left, right):
        column = int(_place(tick, left, right, _LEFT, _RIGHT).round())
        text = _short(tick)
        write(image, text, (column - text_width(text, 14) // 2, _BOTTOM + 22), 14, DIM)
    write(image, x_name, (_LEFT, _BOTTOM + 50), 15, DIM)
    for number, (name, (x, y)) in enumerate(series.items()):
        colour, width = (BRIGHT, 2) if name in thick else (_colour(number, len(series)), 1)
        points = np.stack(
            [_place(x, left, right, _LEFT, _RIGHT), _place(y, low, high, _BOTTOM, _TOP)], axis=-1
        )
        shifted = np.rint(points * 2**_FRACTION).astype(np.int32)
        cv2.polylines(image, [shifted], False, colour, width, cv2.LINE_AA, _FRACTION)
        if len(x) <= 50:
            for point in shifted:
                cv2.circle(image, point.tolist(), 3 << _FRACTION, colour, cv2.FILLED, cv2.LINE_AA, _FRACTION)
        row = _TOP + 8 + 25 * number
        cv2.line(image, (_RIGHT + 24, row - 5), (_RIGHT + 52, row - 5), colour, width + 1, cv2.LINE_AA)
        write(image, name, (_RIGHT + 62, row), 15)
    return image


def _place(values: np.ndarray | float, low: float, high: float, first: int, last: int) -> np.ndarray:
    return first + (np.asarray(values) - low) / (high - low) * (last - first)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> np.ndarray:
    """Round numbers between the ends, five or so."""
    rough = (high - low) / 5
    size = 10.0 ** np.floor(np.log10(rough))
    step = size * min((1, 2, 5, 10), key=lambda each: abs(each * size - rough))
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _colour(number: int, total: int) -> Colour:
    """Hues apart, lightness in turns, so that neighbours differ in both."""
    hue = 179 * number // max(total, 1)
    pixel = np.array([[[hue, 150, 255 if number % 2 else 175]]], np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue
