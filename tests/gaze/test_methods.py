"""Saliency methods in the gaze pass and in the study."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fls_jax import load_agent
from fls_jax.errors import UserError
from fls_jax.gaze.controls import CONTROLS
from fls_jax.gaze.job import gaze
from fls_jax.gaze.methods import posthoc
from fls_jax.gaze.scoring import METRICS
from fls_jax.saliency import METHODS
from tests.atari_head.synthetic import make_trial, write_v1
from tests.gaze import oracle
from tests.run_folders import write_run

NAMES = ["attention", "gradient_x_input", "random", "grad_cam"]
SCORED = ["gradient_x_input", "grad_cam"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two seeds of a network and one without attention, scored with methods, and their study."""
    home = tmp_path_factory.mktemp("methods")
    write_v1(home / "data", [make_trial(7, 45)], unpacked=True)
    for seed in (1, 2):
        write_run(home / f"run{seed}", "cnn_sparse_fls_pool", "MsPacman", seed)
    write_run(home / "plain", "cnn", "MsPacman", 1)
    runs = [home / "run1", home / "run2", home / "plain"]
    gaze(runs, home / "data", protocol="aligned", methods=NAMES, out=home / "study")
    return home


@pytest.mark.parametrize("run", ["run1", "plain"])
def test_scores_are_those_of_the_methods_maps(home, run):
    """From the PNGs on disk to every metric; derivatives count by their size, Grad-CAM is non-negative."""
    trial = make_trial(7, 45)
    theirs = oracle.OracleTrial(
        home / "data" / trial.stem, home / "data" / f"{trial.stem}.txt", "aligned", "screen"
    )
    table = pd.read_csv(home / run / "gaze/aligned-screen/frames.csv").set_index(["frame", "map"])
    fresh = [f"{name} untrained" for name in SCORED]
    assert table.index.unique("map").tolist() == ["model", *SCORED, *fresh, *CONTROLS]
    stacks, agent = theirs.stacks(), load_agent(home / run)
    for name in (*SCORED, *fresh):
        method, _, untrained = name.partition(" ")
        explained = agent.untrained(agent.config.seed) if untrained else agent
        maps = theirs.place(np.abs(explained.saliency(stacks, method)))
        for k in (0, 4, 9):
            expected = theirs.score(maps[k], theirs.frames[k], None)
            row = table.loc[(theirs.frames[k], name)]
            for metric in METRICS:
                tolerance = 3e-3 if "auc" in metric else 5e-4
                value = expected[metric]
                assert row[metric] == pytest.approx(value, abs=tolerance, rel=1e-3, nan_ok=True), (
                    name,
                    metric,
                )


def test_the_study_has_a_row_for_each_method_of_each_network(home):
    table = pd.read_csv(home / "study" / "study.csv")
    rows = table[(table["map"] == "grad_cam") & (table["metric"] == "nss")].set_index("network")
    assert set(rows.index) == {"cnn", "cnn_sparse_fls_pool"}
    files = [home / f"run{seed}/gaze/aligned-screen/summary.json" for seed in (1, 2)]
    of_seeds = [json.loads(file.read_text())["scores"]["grad_cam"]["nss"]["mean"] for file in files]
    assert rows.loc["cnn_sparse_fls_pool", "mean"] == pytest.approx(np.mean(of_seeds), rel=1e-4)
    assert rows.loc["cnn_sparse_fls_pool", "std"] == pytest.approx(np.std(of_seeds, ddof=1), rel=1e-4)
    lines = (home / "study" / "study.md").read_text().splitlines()
    maps = [line.split("|")[2].strip() for line in lines if line.startswith("| ")]
    place = maps.index("grad_cam")
    assert maps[place - 2 : place + 5] == [
        "model", "gradient_x_input", "grad_cam", "gradient_x_input untrained", "grad_cam untrained",
        "uniform", "untrained",
    ]  # fmt: skip


def test_what_is_scored_anyway_is_not_scored_twice():
    assert posthoc(NAMES) == tuple(SCORED)
    everything = posthoc(["all"])
    assert set(METHODS) - set(everything) == {
        "attention", "attention_relative", "random", "centre", "uniform", "frame_difference",
    }  # fmt: skip
    with pytest.raises(UserError, match="no saliency method 'lime'"):
        posthoc(["lime"])
    with pytest.raises(UserError, match="minus its mean over the frames given"):
        posthoc(["attention_relative"])
