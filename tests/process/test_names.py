"""Names that are not ASCII, where Python itself would read them as something else than UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fls_jax.runs.contents import checkpoint_steps
from tests.processes import PATIENCE, SMALLEST, UPDATE_STEPS, assert_refused, run_fls, run_python

NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
END = 2 * UPDATE_STEPS


def test_it_trains_in_a_folder_with_an_accent_in_the_c_locale(tmp_path):
    folder = tmp_path / "caf\u00e9"
    options = (*SMALLEST, f"--total-steps={END}", f"--run-dir={folder / 'run'}")
    run = run_fls("train", *options, **NO_UTF8)
    assert run.returncode == 0, run.stderr[-3000:]
    assert list(tmp_path.iterdir()) == [folder]  # and no second one, of another spelling
    assert checkpoint_steps(folder / "run" / "checkpoints") == [END]
    assert "caf\\xe9" in run.stdout
    assert run.stdout.isascii()


def test_the_current_folder_may_have_an_accent(tmp_path):
    folder = tmp_path / "caf\u00e9"
    folder.mkdir()
    script = (
        "import os, sys; from fls_jax.process.names import read_names_as_utf8;"
        "read_names_as_utf8(sys.argv[1:]);"
        "print(ascii(os.path.basename(os.getcwd())), ascii(sys.argv[1]), sys.stdout.encoding)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, "\u00fc"],
        cwd=folder,
        env=os.environ | NO_UTF8 | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert run.stdout.split() == ["'caf\\xe9'", "'\\xfc'", "ascii"]


@pytest.mark.parametrize("options", [(), ("-X", "utf8=0")])
def test_a_name_that_is_not_utf8_is_a_sentence(options):
    name = os.fsdecode(b"caf\xe9" if not options else "caf\u00e9".encode())
    assert_refused(
        run_python([*options, "-m", "fls_jax", "evaluate", name], check=False, **NO_UTF8),
        "cannot be read as UTF-8",
        "PYTHONUTF8=1" if options else "rename the file or folder",
    )


def test_a_command_of_experiments_says_it_too():
    command = ["-m", "experiments.commands.figures", "--roots", os.fsdecode(b"\xe9")]
    refused = run_python(command, check=False, **NO_UTF8)
    assert refused.returncode == 2
    assert refused.stderr.startswith("figures: The name ")
    assert "Traceback" not in refused.stderr
