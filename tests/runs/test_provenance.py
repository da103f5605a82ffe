"""What a result says of the code, the libraries and the machine behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from fls_jax.runs.provenance import machine, versions

SCRIPT = "from fls_jax.runs.provenance import commit; print(commit())"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    run = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def commit_of(folder: Path) -> str:
    """commit() of the copy of the package in a folder."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    package = tmp_path / "project" / "fls_jax"
    (package / "runs").mkdir(parents=True)
    for name in ("__init__.py", "runs/__init__.py", "runs/provenance.py"):
        shutil.copy(Path(__file__).parents[2] / "fls_jax" / name, package / name)
    project = package.parent
    assert commit_of(project) == "None"
    (project / "other.txt").write_text("1")
    git(project, "init")
    git(project, "add", "other.txt")
    git(project, "commit", "-m", "somebody else's")
    assert commit_of(project) == "None"
    git(project, "add", "fls_jax/__init__.py", "fls_jax/runs/provenance.py")
    git(project, "commit", "-m", "ours")
    git(project, "tag", "v1")
    head = git(project, "rev-parse", "HEAD")
    assert commit_of(project) == head
    (project / "other.txt").write_text("2")
    assert commit_of(project) == f"{head}-dirty"


def test_versions_are_those_installed():
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    for package in ("jax", "jaxlib", "flax", "optax", "envpool", "orbax-checkpoint", "numpy", "ale-py"):
        assert found[package] == version(package)


def test_the_machine_is_described():
    found = machine()
    assert found["cpu"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    assert abs(float(str(found["memory_gib"])) - total) < 0.1
    assert "Linux" in str(found["system"])
