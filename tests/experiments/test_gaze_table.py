"""The gaze results of a run as Markdown, from its summary.json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands.gaze_table import gaze_table, read_summary
from fls_jax.errors import UserError
from fls_jax.gaze.scoring import METRICS
from tests.gaze.test_study import summary

ROOT = Path(__file__).resolve().parents[2]


def written(value: float | None = 0.5, **changes) -> dict:
    intervals = {"share": 0.95, "resamples": 2000, "observations_in_a_block": 25}
    return summary("cnn_sparse_fls", "MsPacman", 1, value, 0.75, intervals=intervals, **changes)


def test_every_map_has_its_row_with_interval_and_coverage():
    content = written()
    content["scores"]["centre"]["nss"] = {"mean": -1e-9, "coverage": 1.0, "interval_frames": None}
    content["scores"]["model"]["kl"] = {"mean": None, "coverage": 0.0, "interval_frames": None}
    lines = gaze_table(content, ("nss", "kl")).markdown().splitlines()
    assert lines[0] == "## MsPacman, cnn_sparse_fls, seed 1, step 1,000: protocol aligned, screen"
    assert lines[2:5] == [
        "| map | NSS | KL |",
        "| --- | --- | --- |",
        "| model | 0.500 [0.400, 0.600] (75%) | *undefined (0%)* |",
    ]
    assert lines[6].startswith("| centre | 0.000 (100%) |")
    assert [line.split(" | ")[0] for line in lines[4:12]] == [f"| {name}" for name in content["scores"]]
    assert "100 observations of 1 trial." in lines[13]


def test_the_models_map_less_each_control():
    content = written()
    score = {"mean": -0.25, "coverage": 0.5, "interval_frames": [-0.5, 0.125]}
    content["differences"] = {name: {"nss": score} for name in ("uniform", "other_trials")}
    content["notes"] = {"other_trials": "no other trial"}
    text = gaze_table(content, ("nss",)).markdown()
    assert "| model - uniform | -0.250 [-0.500, +0.125] (50%) |" in text
    assert "model - other_trials" not in text
    assert "on the same frames" in text


def test_damaged_summaries_are_one_sentence(tmp_path):
    path = tmp_path / "gaze" / "aligned-screen" / "summary.json"
    path.parent.mkdir(parents=True)
    for damaged in (
        {},
        written() | {"observations": "200"},
        written() | {"differences": {"uniform": {"nss": 1}}},
    ):
        path.write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=r"summary.json is not a summary of a gaze pass"):
            read_summary(tmp_path, "aligned-screen")


def test_a_network_without_a_map_and_a_pass_that_was_stopped():
    text = gaze_table(written(None, complete=False)).markdown()
    assert text.count("*no map (0%)*") == len(METRICS)
    assert "interrupted" in text


def test_the_command_prints_what_it_finds_and_says_what_it_does_not(tmp_path):
    for name in ("aligned-screen", "paper-screen"):
        path = tmp_path / "gaze" / name / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(written(protocol=name.partition("-")[0])))
    command = [
        sys.executable,
        "-m",
        "experiments.commands.gaze_table",
        str(tmp_path),
        "--metrics",
        "nss",
        "sauc",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("### ")] == [
        f"### MsPacman, cnn_sparse_fls, seed 1, step 1,000: protocol {name}, screen"
        for name in ("aligned", "paper")
    ]
    for options, words in (
        (["--settings", "paper-input"], "--protocol paper --space input"),
        (["--metrics", "ncc"], "no metric 'ncc'; there are: nss, kl, "),
    ):
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
