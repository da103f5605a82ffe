"""What is installed elsewhere: the wheel runs alone, and asks for exactly what it imports."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.processes import SMALLEST, UPDATE_STEPS, assert_refused, run_python

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PARTS = ("jaxlib",)  # come with jax, whatever else is asked for


def imported(folder):
    """Distributions that the Python files in a folder import, wherever in the file, but for the library."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    known = packages_distributions()
    ours = {"fls_jax", "experiments", "benchmarks"}
    found = {known[name][0] for name in names - set(sys.stdlib_module_names) - ours}
    return {name.lower().replace("_", "-") for name in found}


def required(lines):
    return {re.split(r"[<>=\[;]", line)[0] for line in lines}


def test_the_package_requires_exactly_what_it_imports():
    assert required(PROJECT["dependencies"]) == imported(ROOT / "fls_jax") - set(PARTS)


def test_the_experiments_extra_is_what_experiments_import_beside():
    extra = required(PROJECT["optional-dependencies"]["experiments"])
    assert extra == imported(ROOT / "experiments") - imported(ROOT / "fls_jax")


def test_every_dependency_has_a_lower_bound():
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["experiments"]
    assert [line for line in lines if ">=" not in line] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by `python -m build` from a copy: the source archive, and the wheel from that."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "fls_jax", source / "fls_jax", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", source], check=True, capture_output=True, text=True
    )
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter of an environment with nothing but the wheel; its libraries are those of this one.

    A path in a .pth file brings no .pth files of its own, so the checkout's editable install is not seen.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel],
        check=True,
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def test_the_wheel_holds_every_file_of_the_package(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fls_jax/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fls_jax").rglob("*") if path.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}


def test_the_wheel_trains_outside_the_repository(python, tmp_path):
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    compilation = {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
    arguments = {"cwd": tmp_path, "env": environment | compilation, "capture_output": True, "text": True}
    where = subprocess.run(
        [python, "-c", "import fls_jax; print(fls_jax.__file__)"], **arguments, check=True
    ).stdout
    assert where.startswith(str(python.parents[1]))
    command = "fls train --game pong --preset smoke --network cnn --rollout-length 32 --total-steps 256"
    done = subprocess.run(command.split(), **arguments, check=False)
    assert done.returncode == 0, done.stderr
    assert "Finished at step 256 of 256." in done.stdout
    assert (tmp_path / "runs/Pong/cnn/seed1/checkpoints/256").is_dir()


WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {libraries!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv[0] = {module!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def run_without(libraries, *arguments, module="fls_jax"):
    """Run a module as a command where some libraries are not installed."""
    return run_python(["-c", WITHOUT.format(libraries=libraries, module=module), *arguments], check=False)


def test_training_and_evaluation_need_neither_wandb_nor_films_nor_tables(tmp_path):
    libraries = ("wandb", "av", "pandas", "pyarrow", "wandb_workspaces")
    smallest = [*SMALLEST, f"--total-steps={UPDATE_STEPS}", f"--run-dir={tmp_path}", "--allocator=default"]
    done = run_without(libraries, "train", *smallest)
    assert done.returncode == 0, done.stderr
    done = run_without(libraries, "evaluate", str(tmp_path), "--num-envs=1", "--games-per-env=1")
    assert done.returncode == 0, done.stderr
    done = run_without(
        libraries, "loop", "--num-envs=1", "--updates=1", "--network=block_mean", module="benchmarks.measure"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("av", ["video", "runs"]),
        ("pandas", ["gaze", "runs", "--atari-head=data"]),
        ("wandb", ["sync", "experiments/pretrained"]),
        ("cv2", ["video", "runs"]),
        ("tyro", ["networks"]),
    ],
)
def test_a_missing_library_is_a_sentence(library, arguments):
    name = {"cv2": "opencv-python-headless"}.get(library, library)
    assert_refused(run_without((library,), *arguments), f"{library} is not installed", f"pip install {name}")


def test_missing_libraries_of_the_experiments_are_a_sentence():
    done = run_without(("matplotlib",), module="experiments.commands.figures")
    assert done.returncode == 1
    assert done.stderr == "experiments: matplotlib not installed: pip install '.[experiments]'\n"
