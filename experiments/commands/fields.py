"""The figure of docs/attention.md: receptive fields of the positions of 7x7 and 21x21 attention maps.

    python -m experiments.commands.fields --out docs/fields.svg

No agent is needed: it follows from the networks' geometry. The frame is one of the game's own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.commands.command_line import run_command
from experiments.pages.presentation import drawing_settings
from fls_jax.atari.pool import AtariPool
from fls_jax.errors import UserError
from fls_jax.networks.geometry import attention_geometry, attention_shape
from fls_jax.networks.specs import network_spec
from fls_jax.runs.files import part_of
from fls_jax.saliency.projection import project

NETWORKS = ("cnn_sparse_fls", "cnn_patch_fls")
SHOWN = ((0.5, 0.5), (0.75, 0.25))
"""The positions drawn filled, as shares of the grid's rows and columns."""
_FILL = ("#D55E00", "#0072B2")


@dataclass(frozen=True)
class Settings:
    """Draw the fields of a 7x7 and of a 21x21 attention map over the same frame."""

    out: Path = Path("docs/fields.svg")
    """the SVG file; an existing one is replaced"""
    game: str = "Breakout"
    """game of the frame"""


def draw_fields(frame: np.ndarray) -> Figure:
    """Draw over a frame, uint8 [84, 84]: two fields of each network, and the number of fields per pixel."""
    figure = Figure(figsize=(7.4, 6.9), layout="constrained")
    grid = figure.subplots(2, 2)
    for axes, name in zip(grid.T, NETWORKS, strict=True):
        spec = network_spec(name)
        depth = np.asarray(project(np.ones((1, *attention_shape(spec))), spec))[0]
        _draw_frame(axes[0], frame, name)
        picture = axes[1].imshow(depth, cmap="viridis", vmin=0, vmax=25)
        low, high = int(depth.min()), int(depth.max())
        over = f"{low}" if low == high else f"{low} to {high}"
        axes[1].set_xlabel(f"fields over a pixel: {over}", fontsize=8)
        for each in axes:
            each.set_xticks([])
            each.set_yticks([])
    # One colour bar for both rows, so that all panels have the same width.
    figure.colorbar(picture, ax=grid, shrink=0.5, anchor=(0, 0), label="fields over a pixel")
    return figure


def _draw_frame(axes: Axes, frame: np.ndarray, name: str) -> None:
    spec = network_spec(name)
    field, stride, padding = attention_geometry(spec)
    side = attention_shape(spec)[0]
    axes.imshow(frame, cmap="gray", vmin=0, vmax=255)
    for line in range(side):
        start = line * stride - padding - 0.5
        for draw in (axes.axhline, axes.axvline):
            draw(start, color="white", linewidth=0.3, alpha=0.5)
    for (row, column), colour in zip(SHOWN, _FILL, strict=True):
        corner = [int(share * (side - 1)) * stride - padding - 0.5 for share in (column, row)]
        axes.add_patch(
            Rectangle((corner[0], corner[1]), field, field, facecolor=colour, alpha=0.45, edgecolor=colour)
        )
    axes.set_title(f"{name}: {side}x{side} positions of {field}x{field} pixels", fontsize=9)


def frame_of(game: str, steps: int = 40) -> np.ndarray:
    """A frame of a game, uint8 [84, 84], after some steps of an action that moves."""
    pool = AtariPool(game, 1, 0, threads=1)
    observations = pool.reset()
    for t in range(steps):
        action = min(2 + t % 2, pool.num_actions - 1)
        observations = pool.step(np.array([action], np.int32)).observations
    pool.close()
    return observations[0, -1]


def write_figure(settings: Settings) -> Path:
    """Draw and write the file, with the same bytes every time. Raises UserError if it cannot be written."""
    with drawing_settings():
        figure = draw_fields(frame_of(settings.game))
        try:
            with part_of(settings.out) as part:
                figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
        except OSError as error:
            raise UserError(
                f"{settings.out} cannot be written ({error.strerror}): choose another --out."
            ) from error
    return settings.out


def main() -> int:
    """The command line."""
    return run_command("fields", Settings, lambda settings: print(write_figure(settings)))


if __name__ == "__main__":
    sys.exit(main())
