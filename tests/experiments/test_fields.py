"""The figure of fields: what it says follows from the geometry, and it is the same every time."""

from __future__ import annotations

import pytest

from experiments.commands.fields import Settings, draw_fields, frame_of, write_figure
from fls_jax.errors import UserError


def test_the_figure_says_how_many_fields_lie_over_a_pixel(tmp_path):
    first = write_figure(Settings(tmp_path / "fields.svg")).read_bytes()
    assert write_figure(Settings(tmp_path / "again.svg")).read_bytes() == first
    figure = draw_fields(frame_of("Breakout"))
    left, right = (figure.axes[i] for i in (0, 1))
    assert left.get_title() == "cnn_sparse_fls: 7x7 positions of 36x36 pixels"
    assert right.get_title() == "cnn_patch_fls: 21x21 positions of 4x4 pixels"
    assert [box.get_width() for box in (*left.patches, *right.patches)] == [36, 36, 4, 4]
    assert [axes.get_xlabel() for axes in figure.axes[2:4]] == [
        "fields over a pixel: 1 to 25",
        "fields over a pixel: 0 to 1",  # no layer reads the last row and column of patches
    ]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        write_figure(Settings(tmp_path / "file/fields.svg"))
