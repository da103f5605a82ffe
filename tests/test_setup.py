"""`make setup` with an interpreter that only takes notes: which JAX is installed, when, and what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INTERPRETER = f"""#!/bin/sh
case "$1 $2" in
  "-c "*fcntl*) exec {sys.executable} "$@" ;;
  "-c "*) exit "${{TOO_OLD:-0}}" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "venv" >> "$NOTES" ;;
  "-m pip") shift 2; echo "pip $*" >> "$NOTES"; sleep "${{SLOW:-0}}"; exit "${{PIP_FAILS:-0}}" ;;
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
        process = self.start(accel, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, accel: str = "auto", **environment: str) -> subprocess.Popen[str]:
        own = {"PATH": f"{self.tools}:{os.environ['PATH']}", "NOTES": str(self.notes)}
        return subprocess.Popen(
            ["bash", "scripts/setup.sh", accel, str(self.tools / "python")],
            cwd=self.path,
            env=os.environ | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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
    assert f"jax[{accel}] -c requirements.txt" in checkout.done


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


def test_a_second_set_up_waits_for_the_first_and_finds_it_done(checkout):
    checkout.notes.write_text("")
    first = checkout.start("cpu", SLOW="1")
    while "pip" not in checkout.done:
        time.sleep(0.01)
    second = checkout.start("cpu")
    told = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "setup: done." in told[0]
    assert told[1] == "setup: waiting for another set-up in this folder ...\n"
    assert checkout.done.count("-r requirements.txt") == 1


def test_nothing_to_do_takes_no_time(checkout):
    checkout.setup("cpu")
    start = time.perf_counter()
    assert checkout.setup().stdout == ""
    assert time.perf_counter() - start < 1


def test_an_accelerator_that_appears_later_is_told_until_one_is_asked_for(checkout):
    checkout.setup()
    checkout.tool("nvidia-smi", "#!/bin/sh\necho '| CUDA Version: 13.0 |'\n")
    told = (
        "setup: nvidia-smi shows CUDA 13 now, but JAX for cpu is installed; "
        "make setup ACCEL=cuda13 changes that.\n"
    )
    assert [checkout.setup().stdout for _ in range(2)] == [told, told]
    assert checkout.done == ""
    checkout.setup("cpu")
    assert checkout.setup().stdout == ""


def test_a_folder_that_was_moved_is_set_up_anew(checkout, tmp_path):
    """The scripts in .venv/bin name the folder that they were made in."""
    checkout.setup("cpu")
    (checkout.path / ".venv" / "old").touch()
    moved = Checkout(tmp_path / "moved")
    shutil.move(checkout.path / ".venv", moved.path / ".venv")
    told = moved.setup().stdout
    assert f"setup: this folder was {checkout.path} when .venv was made in it; it is made anew." in told
    assert "JAX for cpu (as before;" in told
    assert moved.done.startswith("venv\n")
    assert not (moved.path / ".venv" / "old").exists()
    assert moved.setup().stdout == ""


def test_what_pip_cannot_install_is_tried_again(checkout):
    failed = checkout.setup("cpu", PIP_FAILS="1")
    assert failed.returncode == 2
    assert failed.stderr.startswith("setup: pip could not install the requirements (above); the same command")
    assert "setup: done." in checkout.setup("cpu").stdout


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
