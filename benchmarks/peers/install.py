"""Creates the peers' virtual environment, `.venv-peers`, separate from the project's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from fls_jax.errors import UserError

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def ensure_environment(folder: Path, requirements: Path, pip_options: Sequence[str] | None = None) -> Path:
    """Create the environment and install the requirements, showing pip's progress, unless this was done.

    The next call repeats an interrupted installation, because the marker file is written last.

    Args:
        folder: of the environment.
        requirements: a pip requirements file.
        pip_options: further options of `pip install`; None adds PyTorch's CPU index where it can be reached.

    Returns:
        The environment's Python.

    Raises:
        UserError: the environment cannot be created or pip fails.
    """
    python = folder / "bin" / "python"
    marker = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if python.exists() and marker.exists() and marker.read_text().strip() == digest:
        return python
    print(f"Installing the peers into {folder} (about 2 GB, once).", flush=True)
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(folder)], f"Creating the environment {folder}")
    options = _torch_index_options() if pip_options is None else pip_options
    _run(
        [str(python), "-m", "pip", "install", *options, "-r", str(requirements)],
        f"Installing {requirements} into {folder}",
    )
    marker.write_text(digest + "\n")
    return python


def _torch_index_options() -> list[str]:
    """PyTorch's index of CPU builds, or nothing if it does not answer (for example behind a mirror)."""
    try:
        with urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=10):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except OSError:
        print(f"{TORCH_CPU_INDEX} does not answer; torch comes from the index that pip is set up with.")
        return []


def _run(command: Sequence[str], task: str) -> None:
    code = subprocess.run(command).returncode
    if code != 0:
        raise UserError(
            f"{task} failed with exit code {code}; its last lines are above. "
            "Check the network and the free disk space, then run the same command again."
        )
