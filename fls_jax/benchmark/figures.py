"""A comparison as pictures: the maps of every method on the same frames, curves of insertion and deletion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fls_jax.benchmark.faithfulness import DIRECTIONS
from fls_jax.benchmark.plot import Series, lines
from fls_jax.benchmark.results import Results
from fls_jax.benchmark.scores import subset
from fls_jax.film.drawing import BACKGROUND, magnify, overlay, write
from fls_jax.runs.files import write_whole
from fls_jax.saliency import METHODS
from fls_jax.saliency.methods import mass_of
from fls_jax.saliency.question import Target

SHOWN = 3
"""Frames of the figure of maps."""
_ACROSS = 3
_FACTOR, _SIDE, _GAP, _TITLE = 2, 168, 4, 30
_SHARE = 99.5  # percentile of a map that is drawn as its maximum, because single pixels would hide the rest
FILL, OUTPUT = "blurred", "probability"
REFERENCE = "random"


def shown_frames(count: int) -> np.ndarray:
    """Numbers of the frames that are drawn, from the middle of each third."""
    return subset(count, 2 * SHOWN + 1)[1::2][:SHOWN]


def map_figure(observations: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
    """Every method's maps over the newest of the frames: uint8 [H, W, 3].

    observations: uint8 [N, 84, 84, 4]. maps: float [N, 84, 84] by method. The drawing shows their mass,
    divided by its 99.5th percentile in each map.
    """
    width, height = SHOWN * (_SIDE + _GAP) + 4 * _GAP, _TITLE + _SIDE + 2 * _GAP
    rows = -(-len(maps) // _ACROSS)
    image = np.empty((rows * height + _GAP, _ACROSS * width + _GAP, 3), np.uint8)
    image[:] = BACKGROUND
    for number, (name, each) in enumerate(maps.items()):
        row, column = divmod(number, _ACROSS)
        top, left = row * height + _TITLE, column * width + 4 * _GAP
        write(image, name, (left, top - 9), 17, bold=True)
        mass = mass_of(each, METHODS[name].family if name in METHODS else "control")
        for place, (seen, one) in enumerate(zip(observations[..., -1], mass, strict=True)):
            largest = np.percentile(one, _SHARE) or one.max() or 1.0
            drawn = overlay(magnify(seen, _FACTOR), magnify((one / largest).astype(np.float32), _FACTOR))
            start = left + place * (_SIDE + _GAP)
            image[top : top + _SIDE, start : start + _SIDE] = drawn
    return image


def curve_figure(curves: dict[str, np.ndarray], direction: str, title: str) -> np.ndarray:
    """Curves [S + 1] by method, the largest area first in the legend: uint8 [H, W, 3]."""
    ordered = sorted(curves, key=lambda name: -curves[name].mean())
    series: Series = {name: (np.linspace(0, 1, len(curves[name])), curves[name]) for name in ordered}
    did = "shown" if direction == "insertion" else f"hidden ({FILL})"
    return lines(series, title, f"share of the pixels {did}, most salient first", (REFERENCE,))


def draw(results: Results, agent: str, methods: list[str], target: Target, observations: np.ndarray) -> None:
    """The figures of the methods that are done, into `figures/`; observations: uint8 [B, 84, 84, 4], all."""
    shown = shown_frames(len(observations))
    maps, curves = {}, {}
    for method in methods:
        if results.is_done(agent, method):
            each = results.read_maps(agent, method, target, shown)
            maps |= {} if each is None else {method: each}
            curves[method] = results.read(agent, method).curves
    write_figures(results.folder / "figures", agent, observations[shown], maps, curves)


def write_figures(
    folder: Path, title: str, observations: np.ndarray, maps: dict[str, np.ndarray],
    curves: dict[str, dict[str, np.ndarray]],
) -> None:  # fmt: skip
    """maps.png, insertion.png and deletion.png.

    observations, maps: see `map_figure`. curves: by method, as `faithfulness.all_curves` names them.
    """
    folder.mkdir(exist_ok=True)
    if maps:
        write_image(folder / "maps.png", map_figure(observations, maps))
    for direction in DIRECTIONS:
        name = f"{direction}_{FILL}_{OUTPUT}"
        found = {method: each[name] for method, each in curves.items() if name in each}
        if found:
            words = f"{title}: the action's probability, {direction}"
            write_image(folder / f"{direction}.png", curve_figure(found, direction, words))


def write_image(path: Path, image: np.ndarray) -> None:
    """RGB uint8 [H, W, 3] as a PNG."""
    write_whole(path, cv2.imencode(".png", image[..., ::-1])[1].tobytes())
