"""The report's document: all data of a page as JSON (docs/report.md describes the format)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from fls_jax.report.curves import curves
from fls_jax.report.encoding import plain
from fls_jax.report.overview import tables
from fls_jax.report.page import shown
from fls_jax.report.provenance import agent_record
from fls_jax.report.sources import Source, Sources
from fls_jax.runs.provenance import commit, machine, versions

FORMAT, VERSION = "fls-report", 1


def report_document(sources: Sources, clips: list[dict[str, Any]], command: str) -> dict[str, Any]:
    """The document of runs, with the ids `a1`, `a2`, ... in the order of `sources.runs`."""
    labels = sources.labels
    return plain(
        _head("report", _title(sources.runs), command)
        | {
            "agents": [
                agent_record(run, agent_id(number), label)
                for number, (run, label) in enumerate(zip(sources.runs, labels, strict=True))
            ],
            "curves": curves(sources.runs),
            "tables": tables(sources.runs, labels),
            "clips": clips,
            "problems": sources.problems,
        }
    )


def index_document(
    sources: Sources, pages: list[dict[str, str]], tables: list[dict[str, Any]], command: str
) -> dict[str, Any]:
    """The document of a study's front page; pages: {file, title, note} of each game."""
    empty: dict[str, Any] = {"agents": [], "curves": [], "clips": []}
    head = _head("index", f"{len(pages)} game{'s' * (len(pages) != 1)}", command)
    return plain(head | empty | {"pages": pages, "tables": tables, "problems": sources.problems})


def agent_id(number: int) -> str:
    """The id of the agent with this index, from 0."""
    return f"a{number + 1}"


def _head(kind: str, title: str, command: str) -> dict[str, Any]:
    made = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "command": shown(command)}
    origin = {"commit": commit(), "versions": versions(), "machine": machine()}
    return {"format": FORMAT, "version": VERSION, "kind": kind, "title": title, "made": made | origin}


def _title(runs: Sequence[Source]) -> str:
    games = sorted({run.game for run in runs})
    return f"{', '.join(games)}: {len(runs)} agent{'s' * (len(runs) != 1)}"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a document."""
    return json.loads((files("fls_jax.report") / "assets" / "schema.json").read_text(encoding="utf-8"))
