"""The documentation runs: Python blocks are executed, commands are parsed, make targets exist."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from pathlib import Path
from unittest import mock

import jax
import pytest

from fls_jax.cli import parse
from fls_jax.networks.specs import NETWORKS
from fls_jax.saliency import METHODS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "experiments/results/README.md",
]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(prefix):
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == prefix:
                    yield pytest.param(words, id=f"{page.name}: {' '.join(words)}")


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()  # as in a reader's clone
    (tmp_path / "experiments" / "pretrained").symlink_to(ROOT / "experiments" / "pretrained")
    example = tmp_path / f"{page.stem}_example.py"
    example.write_text("\n".join(blocks(page, "python")))
    # A reader's JAX is not as strict as the tests' is.
    lenient = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with lenient[0], lenient[1], mock.patch.dict(NETWORKS), mock.patch.dict(METHODS):  # examples add to them
        runpy.run_path(str(example), run_name="docs_example")


@pytest.mark.parametrize("words", list(commands("fls")))
def test_fls_commands_parse(words):
    if "--help" in words:
        with pytest.raises(SystemExit) as done:
            parse(words[1:])
        assert done.value.code == 0
    else:
        parse(words[1:])


@pytest.mark.parametrize("words", list(commands("make")))
def test_make_targets_exist(words):
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
