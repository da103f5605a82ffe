"""One pass: the same values whatever is scored together, resumed, in little memory."""

from __future__ import annotations

import os
import signal
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from fls_jax.agent import load_agent
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.errors import UserError
from fls_jax.gaze import gaze_pass, trial_pass
from fls_jax.gaze.observations import open_trial
from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.trial_pass import TrialPass
from fls_jax.process.interruption import StopFlag
from tests.atari_head.synthetic import make_trial, write_v1, write_v4
from tests.gaze.passes import MAPS, read, score
from tests.run_folders import edit_config, write_run


def test_values_depend_on_neither_batches_nor_company_nor_layout(home, run, tmp_path, monkeypatch):
    score(home.run, home.data)
    expected = read(home.run).frames
    monkeypatch.setattr(trial_pass, "_SCORED_AT_ONCE", {"cpu": 5})
    monkeypatch.setattr(trial_pass, "_LOOKED_AT_ONCE", 8)
    trials = [make_trial(7, 45), make_trial(9, 62, subject="KM", highscore=True)]
    score(run, write_v4(tmp_path / "v4", trials))
    pd.testing.assert_frame_equal(read(run).frames, expected, rtol=1e-4, atol=1e-5)
    assert read(run).summary["dataset"]["release"] == "v4"
    assert read(run).summary["citation"].endswith("zenodo.3451402")
    assert read(home.run).summary["citation"].endswith("zenodo.2603190")


def test_the_same_pass_writes_the_same_bytes(home, run):
    files = []
    for _ in range(2):
        score(run, home.data, fresh=True, trials=(7,))
        files.append((run / "gaze/aligned-screen/frames.csv").read_bytes())
    assert files[0] == files[1]


def test_some_of_the_trials_of_a_whole_pass_leave_it_as_it_is(home, run, capsys):
    score(run, home.data)
    before = {path.name: path.read_bytes() for path in (run / "gaze/aligned-screen").iterdir()}
    summary = score(run, home.data, trials=(9,))
    assert (summary["trials"]["asked"], summary["observations"]) == ([9], 16)
    assert "holds more trials (2) and is left unchanged" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (run / "gaze/aligned-screen").iterdir()} == before
    assert [path.name for path in (run / "gaze").iterdir() if path.name[0] != "."] == ["aligned-screen"]


def test_trials_scored_one_by_one_add_up(home, run, monkeypatch):
    by_trial = []
    for trial in (7, 9):
        score(run, home.data, trials=(trial,), controls=False)
        by_trial.append(read(run).frames)
    monkeypatch.setattr(gaze_pass, "open_trial", None)  # nothing is left to be scored
    score(run, home.data, controls=False)
    pd.testing.assert_frame_equal(read(run).frames, pd.concat(by_trial, ignore_index=True))


def test_other_trials_is_divided_by_its_maximum_too(home, tmp_path):
    """One sample far off, blurred, has a tail below 1e-8; a map whose maximum is 1 has not."""
    trial = make_trial(7, 45)
    trial.gaze = [[(80.0, 105.0)]] * 45
    counts = np.zeros((210, 160), int)
    counts[105, 80] = 1
    found = open_dataset(write_v1(tmp_path, [trial])).select("MsPacman")[0]
    values = (
        TrialPass(load_agent(home.run), "aligned", "screen")
        .score(open_trial(found), 7, {"other_trials": counts})
        .values
    )
    np.testing.assert_allclose(values[:, MAPS.index("other_trials"), METRICS.index("kl")], 0, atol=1e-5)


def test_progress_comes_to_its_end_with_and_without_a_map(home, tmp_path):
    write_run(tmp_path / "cnn", "cnn", "MsPacman")
    trial = open_dataset(home.data).select("MsPacman")[0]
    for run, controls in ((home.run, True), (home.run, False), (tmp_path / "cnn", False)):
        done = []
        TrialPass(load_agent(run), "aligned", "screen", controls).score(
            open_trial(trial), 7, advance=done.append
        )
        assert sum(done) == 2 * 11


def test_the_models_map_alone(home, run, capsys):
    score(home.run, home.data)
    score(run, home.data, controls=False)
    alone, beside = read(run), read(home.run).frames
    assert alone.summary["maps"] == ["model"]
    beside = beside[beside["map"] == "model"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.frames, beside, rtol=1e-5, atol=1e-6)


def test_a_network_without_attention_has_no_map(home, tmp_path):
    write_run(tmp_path / "cnn", "cnn", "MsPacman")
    score(tmp_path / "cnn", home.data)
    results = read(tmp_path / "cnn")
    for name in ("model", "untrained"):
        rows = results.frames[results.frames["map"] == name]
        assert len(rows) == 27
        assert rows[list(METRICS)].isna().all(axis=None)
        assert all(score["coverage"] == 0 for score in results.summary["scores"][name].values())
        assert results.summary["notes"][name] == "no map"
    score(home.run, home.data)
    theirs = read(home.run).frames
    for name in ("uniform", "centre", "frame_difference", "random"):
        pd.testing.assert_frame_equal(
            results.frames[results.frames["map"] == name], theirs[theirs["map"] == name], rtol=1e-5
        )


def test_the_runs_preprocessing_is_used_and_checked(home, run):
    score(home.run, home.data)
    edit_config(run, preprocessing="baselines")
    score(run, home.data)
    ours, theirs = read(run).frames, read(home.run).frames
    moving = ours["map"] == "frame_difference"
    assert not np.allclose(ours.loc[moving, "nss"], theirs.loc[moving, "nss"], equal_nan=True)
    np.testing.assert_array_equal(
        ours.loc[ours["map"] == "centre", "nss"], theirs.loc[theirs["map"] == "centre", "nss"]
    )
    edit_config(run, preprocessing="torchvision")
    with pytest.raises(UserError, match=r"'torchvision'.*envpool, baselines"):
        score(run, home.data)


def test_a_signal_keeps_the_trials_that_are_done_and_the_same_call_goes_on(home, run, monkeypatch, capsys):
    score(home.run, home.data)
    opened = []

    def opening(trial, **options):
        opened.append(trial.id)
        if trial.id == 9 and opened.count(9) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return open_trial(trial, **options)

    monkeypatch.setattr(gaze_pass, "open_trial", opening)
    with StopFlag() as stop:
        summary = score(run, home.data, stop=stop)
    assert summary["complete"] is False
    partial = read(run)
    assert partial.summary["complete"] is False
    assert partial.frames["trial"].unique().tolist() == [7]
    assert len(partial.parquet) == len(partial.frames) == 11 * len(MAPS)
    assert "Stopped: 1 of 2 trials are scored" in capsys.readouterr().out

    assert score(run, home.data)["complete"] is True
    assert opened == [7, 9, 9]
    ours, theirs = (folder / "gaze/aligned-screen/frames.csv" for folder in (run, home.run))
    assert ours.read_bytes() == theirs.read_bytes()
    ours, theirs = read(run).summary, read(home.run).summary
    assert ours["scores"] == theirs["scores"]
    assert [path.name for path in (run / "gaze").iterdir() if not path.name.startswith(".")] == [
        "aligned-screen"
    ]


def test_memory_grows_by_attention_and_not_by_frames_or_maps(home, tmp_path, monkeypatch):
    """JAX's own buffers are not traced, so what is kept from batch to batch would show in NumPy's."""

    def score_at_once(inputs, names, *_):
        """Any scores: a batch that is computed while the next one is made would be no growth, but a peak."""
        return np.zeros((len(names), len(inputs.fixations), len(METRICS)), np.float32)

    monkeypatch.setattr(trial_pass, "_score", score_at_once)
    agent = load_agent(home.run)
    peaks = []
    for frames in (260, 1460):  # from two batches on
        trial = make_trial(3, 45)
        trial.pngs = [trial.pngs[i % 45] for i in range(frames)]
        trial.gaze = [trial.gaze[i % 44] for i in range(frames)]
        found = open_dataset(write_v1(tmp_path / str(frames), [trial])).select("MsPacman")[0]
        observations = open_trial(found)
        scoring = TrialPass(agent, "aligned", "screen")
        if not peaks:
            scoring.score(observations, 3)  # compiles
        tracemalloc.start()
        scoring.score(observations, 3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    attention_and_scores = 300 * (2 * 7 * 7 + len(MAPS) * len(METRICS)) * 4
    stacks_in_flight = 2 * 64 * 84 * 84 * 4  # decoding runs ahead, more or less of it
    limit = 4 * attention_and_scores + stacks_in_flight
    assert peaks[1] - peaks[0] < limit < 0.6 * 300 * 84 * 84 * 4  # what keeping the stacks alone would add
