"""The map of the package: imports point down it, and one file knows each library."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fls_jax"

MAP = PACKAGE.parent / "docs" / "design.md"


def rows():
    """The packages of the map, top to bottom; a module may import from its own row and from rows below."""
    table = re.findall(r"^\| (`.+?`) \|", MAP.read_text(), re.MULTILINE)
    return [{name.removesuffix(".py").strip("/") for name in re.findall(r"`(.+?)`", row)} for row in table]


LAYERS = rows()
PURE = {"saliency", "ppo", "metrics", "statistics", "networks", "config", "types"}
KNOWS = {
    "envpool": {"atari/pool.py"},
    "orbax": {"runs/checkpoints.py"},
    "wandb": {"wandb/service.py"},
    "av": {"film/movie.py"},
    "ale_py": {"atari/emulator.py"},
    "tyro": {"cli/commands.py", "cli/data_commands.py", "cli/parsing.py"},
}


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def package(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Full names of all that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(name):
    return next((depth for depth, packages in enumerate(LAYERS) if name in packages), None)


def test_the_map_has_every_package_once():
    named = [name for row in LAYERS for name in row]
    assert sorted(named) == sorted({package(path) for path in modules()})


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = layer(package(path))
    assert own is not None, f"{path.name} stands on no layer: give it a place in docs/design.md"
    for name in imported(path):
        if name.startswith("fls_jax."):
            target = name.split(".")[1]
            assert layer(target) is not None, f"{path.name} imports {name}, which has no place"
            assert layer(target) >= own, f"{path.name} imports {target}, which stands above it"


@pytest.mark.parametrize(("library", "files"), KNOWS.items())
def test_one_file_knows_each_library(library, files):
    knowing = {
        str(p.relative_to(PACKAGE)) for p in modules() if any(n.split(".")[0] == library for n in imported(p))
    }
    assert knowing <= files


def test_at_most_eight_files_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_pure_packages_touch_no_files_clocks_or_environments():
    outside = {"os", "time", "pathlib", "subprocess", "envpool", "orbax", "wandb", "requests", "socket"}
    for path in modules():
        if package(path) in PURE:
            assert not {n.split(".")[0] for n in imported(path)} & outside, path


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, fls_jax; print(sorted({'jax', 'flax', 'envpool', 'numpy', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_docs_import_from_the_public_face():
    """What a page tells a reader to import stands in `fls_jax` or in a package's own face, and is there."""
    deep = []
    for page in sorted((PACKAGE.parent / "docs").glob("*.md")):
        for module, names in re.findall(
            r"^from (fls_jax[\w.]*) import ([\w, ]+)", page.read_text(), re.MULTILINE
        ):
            if module.count(".") > 1:
                deep.append((page.name, module))
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), (page.name, module, name)
    assert not deep


def test_every_export_is_there():
    import fls_jax

    assert [name for name in fls_jax.__all__ if not hasattr(fls_jax, name)] == []
    assert set(fls_jax.__all__) <= set(dir(fls_jax))
