"""Writes tables as Markdown, CSV and pictures, and reproducible picture files."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from PIL import Image

INK, MUTED, RULE = "#1a1a1a", "#6b6b6b", "#c9c9c9"
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "fls-jax",
    "text.parse_math": False,  # a processor's name may contain a $
}
_DPI = 100
_FONT, _TITLE, _NOTE = 9.0, 11.0, 7.5
_LINE, _GAP, _MARGIN = 0.2, 0.2, 0.15  # inches


class Empty(str):
    """The text of an empty cell: the reason."""


@dataclass(frozen=True)
class Table:
    """A table as texts and as data.

    rows: texts. rules: indices of rows with a thin line above them. data: the content of the CSV file.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: pd.DataFrame
    notes: Sequence[str] = ()
    rules: Sequence[int] = ()

    @property
    def shown(self) -> Sequence[Sequence[str]]:
        """The rows, or a single row that says that there are none."""
        return self.rows or [[Empty("none"), *[""] * (len(self.columns) - 1)]]

    def markdown(self) -> str:
        """The table under its title, with its notes."""
        lines = [
            f"## {on_a_line(self.title)}",
            "",
            markdown_row(self.columns),
            markdown_row(["---"] * len(self.columns)),
        ]
        lines += [markdown_row(row) for row in self.shown]
        return "\n".join([*lines, "", *(f"{on_a_line(note)}\n" for note in self.notes)])


def markdown_row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    texts = [f"*{cell}*" if isinstance(cell, Empty) and cell else cell for cell in cells]
    return "| " + " | ".join(on_a_line(text).replace("|", "/") for text in texts) + " |"


def on_a_line(text: str) -> str:
    """Make untrusted text safe in a line of Markdown: no line break, HTML, link or picture."""
    line = " ".join(text.replace("-\n", "-").split()).replace("](", "]\\(")
    return re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", line)


@contextlib.contextmanager
def drawing_settings() -> Generator[None]:
    """matplotlib's defaults with ours, independent of the user's settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.svg and <stem>.png, the same bytes for the same figure and versions."""
    svg, png = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=_DPI, metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(256).save(png, "PNG", optimize=True)  # a third of the size
    return [svg, png]


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write <folder>/<its name>.svg, .png and .csv; returns them."""
    csv = folder / f"{table.name}.csv"
    table.data.to_csv(csv, index=False, lineterminator="\n")
    return [*save_figure(draw_table(table), folder / table.name), csv]


def draw_table(table: Table) -> Figure:
    """Draw a table: texts left-aligned, numbers right-aligned, a group's name only once."""
    rows = table.shown
    right = [_is_numeric(cells) for cells in zip(*rows, strict=True)]
    widths = _column_widths(table, right)
    inner = max(sum(widths) + _GAP * (len(widths) - 1), _width(table.title, True) * _TITLE / _FONT, 6.0)
    notes = [line for note in table.notes for line in _wrapped(note, inner)]
    header_lines = max(name.count("\n") + 1 for name in table.columns)
    lines = 1.6 + header_lines + 0.3 + len(rows) + 0.3 + 0.85 * len(notes)
    page = _Page(inner + 2 * _MARGIN, lines * _LINE + 2 * _MARGIN)
    starts = [_MARGIN + sum(widths[:i]) + _GAP * i for i in range(len(widths))]

    def put_row(y: float, cells: Sequence[str], **style: Any) -> None:
        for x, width, to_right, text in zip(starts, widths, right, cells, strict=True):
            muted: dict[str, Any] = {"style": "italic", "color": MUTED} if isinstance(text, Empty) else {}
            place = {"ha": "right" if to_right else "left", "va": "baseline", "fontsize": _FONT}
            page.text(x + width * to_right, y, text, **place, **style | muted)

    y = 1.0
    page.text(_MARGIN, y, table.title, va="baseline", fontsize=_TITLE, weight="bold")
    page.rule(y + 0.55, 1.0, INK)
    y += 0.65 + header_lines
    put_row(y, table.columns, weight="bold", linespacing=1.35)
    page.rule(y + 0.4, 0.7, INK)
    y += 0.2
    for number, row in enumerate(rows):
        begins = number == 0 or number in table.rules or row[0] != rows[number - 1][0]
        if number in table.rules:
            page.rule(y + 0.25, 0.5, RULE)
        y += 1
        put_row(y, row if begins or not table.rules else ["", *row[1:]])
    page.rule(y + 0.35, 1.0, INK)
    y += 0.3
    for line in notes:
        y += 0.85
        page.text(_MARGIN, y, line, va="baseline", fontsize=_NOTE, color=MUTED)
    return page.figure


class _Page:
    """A figure with positions in lines from the top and inches from the left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def text(self, x: float, line: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.width, self._up(line), text, **style)

    def rule(self, line: float, thickness: float, colour: str) -> None:
        ends = [_MARGIN / self.width, 1 - _MARGIN / self.width]
        self.figure.add_artist(Line2D(ends, [self._up(line)] * 2, linewidth=thickness, color=colour))

    def _up(self, line: float) -> float:
        return 1 - (_MARGIN + line * _LINE) / self.height


def _column_widths(table: Table, right: Sequence[bool]) -> list[float]:
    """Widths in inches. The text of an empty number cell may extend over blank cells to its left."""
    widths = [_width(name, bold=True) for name in table.columns]
    for row in table.shown:
        for i, text in enumerate(row):
            if not (isinstance(text, Empty) and right[i]):
                widths[i] = max(widths[i], _width(text))
    for row in table.shown:
        for i, text in enumerate(row):
            if isinstance(text, Empty) and right[i] and text:
                room, j = widths[i], i
                while j and not row[j - 1]:
                    j -= 1
                    room += widths[j] + _GAP
                widths[i] += max(0.0, _width(text) - room)
    return widths


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell and not isinstance(cell, Empty)]
    return bool(filled) and all(cell.lstrip("+-")[:1].isdigit() for cell in filled)


@functools.cache
def _width(text: str, bold: bool = False) -> float:
    """The width of a text in inches."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=_FONT)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")]
    return max(widths) / 72 + 0.04


def _wrapped(text: str, inches: float) -> list[str]:
    """A note, wrapped to the table's width."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _width(longer) * _NOTE / _FONT > inches:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
