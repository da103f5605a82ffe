"""Recorded benchmarks as one table: parts of training, comparisons with peers, and what is not measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.throughput import envpool_speed, loop_efficiency, speed
from experiments.pages.presentation import Empty, Table

COLUMNS = ("measured", "network", "games\nat once", "per second", "ours / it", "machine")
_FIELDS = ("measured", "network", "num_envs", "per_second", "ours_over_it", "machine")
_BUSY = 0.5
_PARTS = {
    "loop": "loop around a network of almost no cost",
    "policy": "policy alone",
    "update": "update alone (samples)",
    "end-to-end": "training, end to end",
}


def throughput_table(results: Path) -> Table:
    """The table of all benchmarks recorded in a folder; other files are ignored."""
    rows, sources, costs, accelerated = [], [], [], False
    for path in sorted(results.glob("*.json")):
        record = _read(path)
        try:
            found, source, cost = list(_rows(record)), _source(path.name, record), list(_costs(record))
        except (TypeError, KeyError, ValueError, AttributeError):
            continue  # JSON, but no record of ours
        rows += found
        costs += cost
        sources += [source] if found else []
        accelerated |= any(row.get("backend", "cpu") != "cpu" for row in record.get("rows", []))
    texts = [_texts(row) for row in rows]
    if not rows:
        texts.append([Empty("not measured here: make bench, make bench-peers"), *[Empty()] * 5])
    if not accelerated:
        texts.append(["training, end to end", Empty(), Empty(), Empty("not run"), Empty(), "GPU or TPU"])
    notes = [
        "Agent steps a second, medians. Ours / it: our trainer over that one, median of the rounds' ratios."
    ]
    notes += costs
    notes += [f"From {', '.join(sources)}."] if sources else []
    data = pd.DataFrame(rows, columns=_FIELDS)
    return Table("throughput", "Throughput", COLUMNS, texts, data, notes)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _source(name: str, record: dict[str, Any]) -> str:
    """The file, the measured commit and, if the machine was busy, the load."""
    load = (record.get("machine") or {}).get("load_average") or 0
    busy = f"; the machine was busy: load {load:.1f}" if load > _BUSY else ""
    return f"{name} ({str(record.get('commit') or 'no commit')[:10]}{busy})"


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one record of `make bench` or `make bench-peers`, in its order."""
    machine = record.get("machine") or {}
    where = {"machine": f"{machine.get('cpu', 'unknown')}, {machine.get('cores', '?')} cores"}
    for row in record.get("rows", []):
        value = speed(row) if "part" in row else None
        if value is None or row["part"] not in _PARTS:
            continue
        name = _PARTS[row["part"]] + (", overlapped" if row.get("overlap") else "")
        if row.get("compute-dtype", "float32") != "float32":
            name += f", {row['compute-dtype']}"
        device = {} if row.get("backend", "cpu") == "cpu" else {"machine": row.get("device", row["backend"])}
        envs = row["num-envs"]
        if (alone := envpool_speed(row)) is not None:
            yield {
                "measured": "EnvPool alone", "network": "", "num_envs": envs, "per_second": alone,
                "ours_over_it": loop_efficiency(row), **where,
            }  # fmt: skip
        yield {
            "measured": name, "network": row.get("network", ""), "num_envs": envs, "per_second": value,
            **where, **device,
        }  # fmt: skip
    envs = (record.get("settings") or {}).get("num_envs")
    for trainer in record.get("trainers", []):
        yield {
            "measured": f"training: {trainer['name']}{_settings(trainer)}",
            "network": trainer["network"],
            "num_envs": envs,
            "per_second": trainer["median_steps_per_second"],
            "ours_over_it": None if trainer["name"] == "ours" else trainer["ours_over_it"],
            **where,
        }


def _settings(trainer: dict[str, Any]) -> str:
    """The memory settings of a trainer; older records do not say: ours was tuned, the others were not."""
    return f", {trainer['allocator']} allocator" if "allocator" in trainer else ""


def _costs(record: dict[str, Any]) -> Iterator[str]:
    """The speed of each network relative to the record's first, in the same rounds."""
    first, *others = (record.get("networks") or {"": {}}).items()
    for name, network in others:
        if network["cost"] is not None:
            times = f"{network['cost']:.2f} times"
            yield f"A step of {name} takes {times} as long as one of {first[0]}, both ours."


def _texts(row: dict[str, Any]) -> list[str]:
    value, ratio = row["per_second"], row.get("ours_over_it")
    return [
        row["measured"],
        row["network"],
        str(row["num_envs"]),
        Empty("failed") if value is None else f"{value:,.0f}",
        Empty() if ratio is None else f"{ratio:.2f}",
        row["machine"],
    ]
