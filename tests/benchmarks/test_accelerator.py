"""The accelerator's benchmark, really run for a short time on a CPU, and its time limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accelerator import __main__ as command
from benchmarks.accelerator import correctness, speed
from benchmarks.accelerator.__main__ import main
from benchmarks.accelerator.journal import Journal, OutOfTimeError
from fls_jax.runs.checkpoints import load_params
from tests.processes import PATIENCE, optimised, run_python

ROOT = Path(__file__).resolve().parents[2]


def test_it_runs_on_a_cpu_and_leaves_a_trained_run(tmp_path):
    """In a process of its own, without what a bare machine lacks; rollouts of 4 steps, to be quick."""
    code = (
        "import sys\n"
        "for name in ('tyro', 'ale_py', 'wandb', 'av'): sys.modules[name] = None\n"
        "from benchmarks.accelerator.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["--minutes", "1", "--out", str(tmp_path), "--rollout-length", "4"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | optimised({"JAX_PLATFORMS": "cpu"}),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "accelerator.json").read_text())
    assert results["machine"]["description"]["backend"] == "cpu"
    assert results["machine"]["description"]["versions"]["jax"]
    for size in ("8", "64", "128", "256"):
        row = results["envpool"][size]
        assert row.get("steps_per_second", 0) > 0 or "not_run" in row
    # One compilation may outlast the limit, and so does the end of the training.
    assert time.monotonic() - began < 60 + PATIENCE
    assert results["correctness"]["reference"]
    assert not [row for row in results["correctness"].values() if "error" in row]
    for row in results["speed"].values():
        assert row.keys() & {"seconds_to_first_update", "not_run"}, row
    for row in results["pytorch"].values():
        assert row.keys() & {"steps_per_second", "not_run", "error"}, row
    assert "training, Pong" in (tmp_path / "accelerator.log").read_text()
    row = results["training"]["Pong"]
    assert row["env_step"] > 0, row
    with tarfile.open(tmp_path / "run.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["game"], config["network"]) == ("Pong", "cnn_patch_fls")
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["env_step"] == row["env_step"]
    step, params = load_params(tmp_path / "run" / "checkpoints")
    assert step == row["env_step"]
    assert params["policy"]["kernel"].shape == (512, len(config["action_names"]))


def test_a_part_that_fails_or_has_no_time_costs_the_others_nothing(tmp_path):
    journal = Journal(tmp_path, minutes=1)
    assert journal.measure("a", "good", lambda: {"x": 1}) == {"x": 1}
    assert journal.measure("a", "bad", lambda: 1 / 0) is None
    assert journal.measure("b", "late", lambda: pytest.fail("begun"), seconds=61) is None
    journal.close()
    results = json.loads((tmp_path / "accelerator.json").read_text())
    assert results["a"] == {"good": {"x": 1}, "bad": {"error": "ZeroDivisionError: division by zero"}}
    assert "61 s" in results["b"]["late"]["not_run"]
    assert "Traceback" in (tmp_path / "accelerator.log").read_text()


def test_what_outlasts_its_time_is_cut_off_and_the_rest_goes_on(tmp_path):
    journal = Journal(tmp_path, minutes=0.02)
    began = time.monotonic()
    assert journal.measure("a", "slow", lambda: time.sleep(60), seconds=0) is None
    assert time.monotonic() - began < 30
    journal.kept = -60.0
    assert journal.measure("b", "next", lambda: 1) == 1
    assert journal.results["a"]["slow"] == {"not_run": "cut off after 1 s"}
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    journal.close()


def test_a_case_that_is_cut_off_keeps_what_it_measured(monkeypatch):
    def late(*_, **__):
        raise OutOfTimeError("cut off after 9 s")

    case = speed.cases()[0]
    small = replace(case.config, num_envs=2, rollout_length=4, minibatches=1, epochs=1, total_steps=800)
    monkeypatch.setattr(speed, "_measure_parts", late)
    row = speed.measure(replace(case, config=small), 3, alone=1000.0, seconds=0.0)
    assert row["cut_off"] == "cut off after 9 s"
    assert (row["repeats"], row["steps_per_second"] > 0) == (1, True)
    monkeypatch.setattr(speed, "Fleet", late)
    with pytest.raises(OutOfTimeError):
        speed.measure(case, 3, alone=None)


def test_the_comparisons_hold_on_a_cpu():
    """Against itself a CPU is exact for a network; the scanned update is another program than the stepped."""
    assert max(correctness.network_error("cnn_patch_fls").values()) < 1e-5
    code = (
        "from benchmarks.accelerator import correctness as c; print(c.update_errors(1)['relative_distance'])"
    )
    (error,) = json.loads(run_python(["-c", code], **optimised()).stdout)
    assert 0 <= error < 1e-2


def test_cases_are_told_apart_by_name_and_can_be_trained():
    names = [case.name for case in speed.cases()]
    assert len(set(names)) == len(names)
    for case in speed.cases():
        case.config.validated()


def test_a_case_is_measured(tmp_path):
    case = speed.cases()[0]
    small = replace(case.config, num_envs=2, rollout_length=4, minibatches=1, epochs=1, total_steps=800)
    row = speed.measure(replace(case, config=small), 1, alone=1000.0)
    assert row["steps_per_second"] > 0
    assert row["share_of_envpool"] == row["steps_per_second"] / 1000
    assert row["update_per_second"] >= row["steps_per_second"]


def test_the_yardstick_is_read_as_far_as_it_came(monkeypatch, tmp_path):
    """Its updates are read from its progress, so that one that is cut off by the time limit counts too."""
    first = "update 1/7 (warm-up): 9.00 s, 114 steps/s\\n"
    told = first + "update 2/7: 4.00 s, 256 steps/s\\n"
    peer = tmp_path / "benchmarks" / "peers" / "pytorch_ppo.py"
    peer.parent.mkdir(parents=True)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    for code, words in (
        (f"print('{told}', file=sys.stderr, flush=True); time.sleep(60)", None),
        ("sys.exit('no CUDA here')", "no CUDA here"),
        ("pass", "not even its first update"),
    ):
        peer.write_text(f"import sys, time\n{code}")
        if words is None:
            found = command.pytorch("cnn", "cpu", 5.0)
            assert found == {"seconds_per_update": [4.0], "steps_per_second": 256.0}
        else:
            with pytest.raises(RuntimeError, match=words):
                command.pytorch("cnn", "cpu", 30.0)
    peer.write_text(f"import sys, time\nprint('{first}', file=sys.stderr, flush=True); time.sleep(60)")
    found = command.pytorch("cnn", "cpu", 5.0)
    assert found == {
        "seconds_of_warm_up": 9.0,
        "not_run": "no update after the first, the warm-up, within 5 s",
    }


def test_parts_keep_to_their_share_and_the_last_is_begun(tmp_path, monkeypatch):
    """A part that takes all of the time takes none of what is kept for the training."""
    left = []
    monkeypatch.setattr(
        command, "measure_machine", lambda journal: left.append((journal.left(), journal.kept))
    )
    monkeypatch.setattr(
        command, "measure_training", lambda journal, length: left.append((journal.left(), journal.kept))
    )
    assert main(["--minutes", "1", "--out", str(tmp_path), "--parts", "training", "machine"]) == 0
    (machine, kept), (training, nothing) = left
    assert kept == pytest.approx(45)
    assert 10 < machine <= 15
    assert nothing == 0
    assert 50 < training <= 60


def test_no_time_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--minutes", "0"])
    assert "--minutes is 0.0" in capsys.readouterr().err
