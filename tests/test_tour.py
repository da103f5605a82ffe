"""docs/tour.ipynb: it runs, says what its outputs say, and needs nothing but the public face."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import fls_jax

PATH = Path(__file__).resolve().parents[1] / "docs" / "tour.ipynb"
SECONDS = 240.0  # of one cell; the whole takes half a minute on two cores


def cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book):
    """Each code cell's text without its numbers, which another machine rounds otherwise, and its pictures."""
    told = []
    for cell in cells(book):
        texts = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.outputs]
        pictures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        words = "" if pictures else re.sub(r"[-+]?\d[\d,.]*", "N", "".join(texts))
        told.append((words, pictures))
    return told


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(PATH, as_version=4)


# The kernel says so in its own process.
@pytest.mark.filterwarnings("default")
def test_it_runs_and_says_what_it_said(committed):
    book = nbformat.read(PATH, as_version=4)
    for cell in cells(book):
        cell.outputs = []
    where = {"metadata": {"path": str(PATH.parent)}}
    NotebookClient(book, timeout=SECONDS, kernel_name="python3", resources=where).execute()
    assert outputs(book) == outputs(committed)


def test_its_outputs_are_committed_whole_and_small(committed):
    assert [cell.execution_count for cell in cells(committed)] == list(range(1, len(cells(committed)) + 1))
    assert all(words or pictures for words, pictures in outputs(committed))
    assert sum(pictures for _, pictures in outputs(committed)) == 2
    assert PATH.stat().st_size < 200_000


def test_it_imports_from_the_public_face_alone(committed):
    source = "\n".join(cell.source for cell in cells(committed))
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    ours = [node for node in found if ast.unparse(node).split()[1].startswith("fls_jax")]
    assert {node.module for node in ours} == {"fls_jax"}
    assert {alias.name for node in ours for alias in node.names} <= set(fls_jax.__all__)
