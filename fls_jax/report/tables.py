"""Tables of the document: columns with a direction, rows by kind, cells with intervals and a mark.

A column's best cell is marked only if its 95% interval does not overlap that of any other agent or control.
This rule is cautious: there can be a difference although intervals overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

NOTHING = "\N{EN DASH}"
Cell = dict[str, Any]
Row = dict[str, Any]
Column = dict[str, Any]


def column(
    name: str,
    label: str,
    kind: str = "number",
    better: str | None = None,
    meaning: str | None = None,
    digits: int = 3,
) -> Column:
    """A column. kind: number or text. better: high, low or None (neither)."""
    return {"id": name, "label": label, "kind": kind, "better": better, "meaning": meaning, "digits": digits}


def cell(value: object, low: float | None = None, high: float | None = None, note: str | None = None) -> Cell:
    """A cell: a number with its interval, or text. A number that is not finite becomes a text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"text": NOTHING if value is None else str(value)} | _with(note=note)
    if not math.isfinite(value):
        return {"text": "not a number" if math.isnan(value) else "∞" if value > 0 else "-∞"}
    ends = [low, high]
    if any(end is None or not math.isfinite(end) for end in ends):
        return {"value": value} | _with(note=note)
    return {"value": value, "low": low, "high": high} | _with(note=note)


def _with(**values: object) -> Cell:
    return {name: value for name, value in values.items() if value is not None}


def row(cells: dict[str, Cell], kind: str = "agent") -> Row:
    """A row. kind: agent, control or difference."""
    return {"kind": kind, "cells": cells}


def table(
    name: str,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    place: str = "overview",
    notes: Sequence[str] = (),
    compare: Sequence[Sequence[int]] | None = None,
) -> dict[str, Any]:
    """A table of the document, with its best cells marked.

    compare: indices of the rows that are compared with each other; by default all but differences.
    """
    if compare is None:
        compare = [[n for n, each in enumerate(rows) if each["kind"] != "difference"]]
    for each in columns:
        for group in compare:
            _mark(each, [rows[n]["cells"].get(each["id"], {}) for n in group])
    return {
        "id": name,
        "title": title,
        "place": place,
        "columns": list(columns),
        "rows": list(rows),
        "notes": list(notes),
    }


def _mark(of: Column, cells: list[Cell]) -> None:
    """Mark the best cell if the intervals support it."""
    known = [each for each in cells if "low" in each]
    if of["better"] is None or len(known) < 2:
        return
    sign = 1 if of["better"] == "high" else -1
    best = max(known, key=lambda each: sign * each["value"])
    others = [each for each in known if each is not best]
    if sign > 0:
        apart = all(each["high"] < best["low"] for each in others)
    else:
        apart = all(each["low"] > best["high"] for each in others)
    if apart:
        best["best"] = True
