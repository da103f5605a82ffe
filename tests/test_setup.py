"""`make setup` with an interpreter that only takes notes: which JAX is installed, when, and what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JAX = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("jax=="))
VERSION = JAX.split("==")[1].split()[0]
INTERPRETER = """#!/bin/sh
case "$1 $2" in
  "-c "*) exit "${TOO_OLD:-0}" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "venv" >> "$NOTES" ;;
  "-m pip") shift 2; echo "pip $*" >> "$NOTES" ;;
esac
"""


class Checkout:
    """A folder with what setup needs, and a machine of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.notes = path, path / "notes"
        for name in ("requirements.txt", "pyproject.toml", "scripts/setup.sh"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, path / name)
        self.tools = path / "tools"
        self.tools.mkdir()
        self.tool("python", INTERPRETER)

    def tool(self, name: str, script: str) -> None:
        file = self.tools / name
        file.write_text(script)
        file.chmod(0o755)

    def setup(self, accel: str = "auto", **environment: str) -> subprocess.CompletedProcess[str]:
        self.notes.write_text("")
        return subprocess.run(
            ["bash", "scripts/setup.sh", accel, str(self.tools / "python")],
            cwd=self.path,
            env=os.environ
            | {"PATH": f"{self.tools}:{os.environ['PATH']}", "NOTES": str(self.notes)}
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def done(self) -> str:
        return self.notes.read_text()


@pytest.fixture
def checkout(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.tool("nvidia-smi", "#!/bin/sh\nexit 9\n")
    return checkout


def test_once_and_not_again_until_a_pin_changes(checkout):
    first = checkout.setup("cpu")
    assert first.returncode == 0, first.stderr
    assert "setup: JAX for cpu (asked for; choose with ACCEL=" in first.stdout
    assert "venv" in checkout.done
    assert "-r requirements.txt" in checkout.done
    assert "jax[" not in checkout.done
    again = checkout.setup()
    assert (again.stdout, checkout.done) == ("", "")
    assert checkout.setup("cpu").stdout == "setup: JAX for cpu is installed (asked for).\n"
    with (checkout.path / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    checkout.setup()
    assert "-r requirements.txt" in checkout.done
    assert "venv" not in checkout.done


@pytest.mark.parametrize(
    ("shown", "accel"), [("CUDA Version: 12.4", "cuda12"), ("CUDA Version: 13.0", "cuda13")]
)
def test_a_gpu_is_found(checkout, shown, accel):
    checkout.tool("nvidia-smi", f"#!/bin/sh\necho '| {shown} |'\n")
    told = checkout.setup()
    assert f"setup: JAX for {accel} (nvidia-smi shows CUDA {accel[-2:]};" in told.stdout
    assert f"jax[{accel}]=={VERSION} -c requirements.txt" in checkout.done


def test_another_accelerator_begins_anew(checkout):
    checkout.setup("cuda12")
    (checkout.path / ".venv" / "plugin-of-cuda12").touch()
    told = checkout.setup("cpu")
    assert "setup: JAX for cpu (asked for;" in told.stdout
    assert "venv" in checkout.done
    assert not (checkout.path / ".venv" / "plugin-of-cuda12").exists()


def test_what_cannot_work_is_a_sentence_and_2(checkout):
    unknown = checkout.setup("gpu")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "setup: ACCEL is 'gpu'; choose auto, cpu, cuda12, cuda13 or tpu.\n"
    old = checkout.setup("cpu", TOO_OLD="1")
    assert old.returncode == 2
    assert old.stderr.startswith(f"setup: {checkout.tools / 'python'} is not Python 3.11 or newer;")
    assert not (checkout.path / ".venv").exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (["GAME=pong"], '--game "pong" --network cnn_sparse_fls --seed 1 --total-steps 50000000 '),
        (["GAME=Pong", "RUN_DIR=my runs/a"], '--run-dir "my runs/a"'),
        (["GAME=Pong", "PRESET=smoke"], '--preset smoke --game "Pong" --network cnn_sparse_fls --seed 1 '),
    ],
)
def test_make_train_asks_for_what_it_is_told(variables, expected):
    """The run's folder is the trainer's choice, which knows a game in any spelling."""
    done = subprocess.run(
        ["make", "-n", "train", *variables], cwd=ROOT, capture_output=True, text=True, check=True
    )
    command = " ".join(done.stdout.replace("\\\n", " ").split()) + " "
    assert expected in command
    assert ("--run-dir" in command) == ("RUN_DIR" in "".join(variables))
    assert ("--total-steps" in command) == ("PRESET=smoke" not in variables)


def test_make_help_names_every_target(checkout):
    targets = {
        line.split(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line[:1].islower() and ":" in line and ":=" not in line
    }
    # Below `make test`, make would also say which folder it enters.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in shown.splitlines()[2:]} == targets
