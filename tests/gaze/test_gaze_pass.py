from __future__ import annotations

import json
import os
import shutil
import signal
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.commands.gaze_table import gaze_table
from fls_jax.agent import load_agent
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.atari_head.trial import AVERAGED
from fls_jax.errors import UserError
from fls_jax.gaze import gaze_pass, trial_pass
from fls_jax.gaze.controls import CONTROLS, random_maps
from fls_jax.gaze.gaze_pass import Atlas, GazeSettings, score_run
from fls_jax.gaze.observations import open_trial
from fls_jax.gaze.scoring import METRICS, draw_other_frames, frame_keys
from fls_jax.gaze.tables import DEAD_ATTENTION, print_summary
from fls_jax.gaze.trial_pass import TrialPass
from fls_jax.process.interruption import StopFlag
from tests.atari_head.synthetic import make_trial, write_v1, write_v4
from tests.gaze import oracle
from tests.oracles import networks
from tests.run_folders import add_checkpoint, edit_config, write_run

MAPS = ("model", *CONTROLS)
NETWORK = "cnn_sparse_fls"
CLIP = os.environ.get("ATARI_HEAD_CLIP")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set of two unpacked trials, and an agent of their game with the oracle's parameters."""
    home = tmp_path_factory.mktemp("gaze_pass")
    trials = [make_trial(7, 45), make_trial(9, 62)]
    write_v1(home / "data", trials, unpacked=True)
    parameters = write_run(home / "run", NETWORK, "MsPacman")
    return SimpleNamespace(data=home / "data", run=home / "run", parameters=parameters, trials=trials)


@pytest.fixture
def run(home, tmp_path):
    """A run folder of the test's own."""
    return Path(shutil.copytree(home.run, tmp_path / "run", ignore=shutil.ignore_patterns("gaze")))


def score(run, data, fresh=False, stop=None, **settings):
    atlas = Atlas(open_dataset(data))
    return score_run(run, atlas, GazeSettings(**settings), StopFlag() if stop is None else stop, fresh)


def read(run, name="aligned-screen"):
    folder = run / "gaze" / name
    return SimpleNamespace(
        frames=pd.read_csv(folder / "frames.csv"),
        parquet=pd.read_parquet(folder / "frames.parquet"),
        trials=json.loads((folder / "trials.json").read_text()),
        summary=json.loads((folder / "summary.json").read_text()),
    )


@pytest.fixture(scope="module", params=["aligned-screen", "aligned-input", "paper-screen", "paper-input"])
def scored(request, home):
    """A pass in each protocol and space: its files."""
    protocol, space = request.param.split("-")
    score(home.run, home.data, protocol=protocol, space=space)
    return SimpleNamespace(protocol=protocol, space=space, **vars(read(home.run, request.param)))


def oracle_trial(home, trial, protocol, space):
    stem = trial.stem
    return oracle.OracleTrial(home.data / stem, home.data / f"{stem}.txt", protocol, space)


def oracle_maps(home, trial, theirs):
    """Every map of every observation by name, [n, H, W]; `random` is the package's own draw."""
    stacks, n = theirs.stacks(), len(theirs.frames)
    untrained = load_agent(home.run).untrained()(stacks).attention
    attention = networks.forward(NETWORK, home.parameters, stacks)[2]
    geometry = oracle.SPARSE_GEOMETRY
    others = [home.data / f"{other.stem}.txt" for other in home.trials if other.id != trial.id]
    density = oracle.density_of(others, theirs.space)
    difference = np.abs(stacks[..., 3].astype(float) - stacks[..., 2])
    keys = frame_keys(trial.id, np.array(theirs.frames, np.int32)).noise
    return {
        "model": theirs.network_maps(attention, geometry),
        "uniform": np.stack([oracle.uniform(theirs)] * n),
        "centre": np.stack([oracle.centre(theirs.space)] * n),
        "other_trials": np.stack([density / density.max()] * n),
        "frame_difference": theirs.place(difference),
        "random": np.asarray(random_maps(keys, theirs.space)),
        "untrained": theirs.network_maps(untrained, geometry),
    }


def test_rows_are_those_that_brute_force_gives(home, scored):
    """From the PNGs and texts on disk to every metric of every map, on some frames of both trials."""
    for trial, sampled in ((home.trials[0], (0, 1, 5, 10)), (home.trials[1], (3, 15))):
        theirs = oracle_trial(home, trial, scored.protocol, scored.space)
        ours = scored.frames[scored.frames["trial"] == trial.id].set_index(["frame", "map"])
        assert ours.index.unique("frame").tolist() == theirs.frames
        maps = oracle_maps(home, trial, theirs)
        drawn = draw_other_frames(
            frame_keys(trial.id, np.array(theirs.frames, np.int32)).others,
            np.arange(len(theirs.frames)),
            len(theirs.frames),
        )
        for k in sampled:
            i = theirs.frames[k]
            others = None
            if scored.protocol == "paper":
                others = np.sum([theirs.fixations(theirs.frames[j]) for j in drawn[k]], axis=0)
            for name in MAPS:
                expected = theirs.score(maps[name][k], i, others)
                row = ours.loc[(i, name)]
                # Ties within a plateau may break at float32's last digit: a rank's worth for the AUCs.
                tolerance = dict.fromkeys(METRICS, 2e-4) | {"sauc": 3e-3, "auc_judd": 3e-3}
                if scored.protocol == "paper":  # a mean over 100 splits is not yet its limit
                    positives = max(theirs.fixations(i).sum(), 1)
                    tolerance["sauc"] = 5 * np.sqrt(0.25 / (100 * positives))
                for metric in METRICS:
                    assert row[metric] == pytest.approx(
                        expected[metric], abs=tolerance[metric], rel=2e-4, nan_ok=True
                    ), (trial.id, i, name, metric)


def test_files_have_the_promised_columns_rows_and_order(home, scored):
    frames = scored.frames
    assert frames.columns.tolist() == ["trial", "frame", "map", *METRICS]
    expected = [
        (t.id, i, name)
        for t in home.trials
        for i in range(0, len(t.pngs), 4)
        if i != len(t.pngs) - 1
        for name in MAPS
    ]
    assert list(frames[["trial", "frame", "map"]].itertuples(index=False, name=None)) == expected
    assert scored.parquet.columns.tolist() == frames.columns.tolist()
    pd.testing.assert_frame_equal(scored.parquet, frames, check_dtype=False, rtol=1e-6)
    assert "NaN" in (home.run / f"gaze/{scored.protocol}-{scored.space}/frames.csv").read_text()


def test_the_summary_says_what_was_done(home, scored):
    summary = scored.summary
    assert summary["complete"] is True
    assert (summary["protocol"], summary["space"]) == (scored.protocol, scored.space)
    assert (summary["game"], summary["network"], summary["env_step"]) == ("MsPacman", NETWORK, 32)
    assert summary["dataset"]["release"] == "v1"
    assert summary["commit"] is None or len(summary["commit"]) >= 40
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["licence"] == "CC-BY-4.0"
    assert summary["trials"] == {"asked": [7, 9], "scored": [7, 9], "averaged": [], "failed": {}}
    assert [entry["report"]["frames"] for entry in scored.trials] == [45, 62]
    for name in MAPS:
        for metric in METRICS:
            by_trial = scored.frames[scored.frames["map"] == name].groupby("trial")[metric].mean()
            value = summary["scores"][name][metric]
            assert value["mean"] == (
                pytest.approx(by_trial.mean(), rel=1e-5) if by_trial.notna().any() else None
            )
            assert value["coverage"] == pytest.approx(
                scored.frames.loc[scored.frames["map"] == name, metric].notna().mean()
            )
            for entry in scored.trials:
                of_trial = entry["scores"][name][metric]["mean"]
                assert of_trial is None or of_trial == pytest.approx(by_trial[entry["trial"]], rel=1e-5)


def test_information_gain_is_over_the_centre(scored):
    centre = scored.frames.loc[scored.frames["map"] == "centre", "information_gain"].dropna()
    assert len(centre) > 20
    np.testing.assert_allclose(centre, 0, atol=1e-6)


def test_values_depend_on_neither_batches_nor_company_nor_layout(home, run, tmp_path, monkeypatch):
    score(home.run, home.data)
    expected = read(home.run).frames
    monkeypatch.setattr(trial_pass, "_SCORED_AT_ONCE", {"cpu": 5})
    monkeypatch.setattr(trial_pass, "_LOOKED_AT_ONCE", 8)
    trials = [make_trial(7, 45), make_trial(9, 62, highscore=True)]
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
    values = TrialPass(load_agent(home.run), "aligned", "screen").score(open_trial(found), 7, counts).values
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


def test_one_trial_has_no_other_trials(home, run, tmp_path):
    summary = score(run, write_v1(tmp_path / "one", [home.trials[0]]))
    assert summary["notes"] == {"other_trials": "no other trial"}
    assert read(run).frames.query("map == 'other_trials'")[list(METRICS)].isna().all(axis=None)


def test_other_trials_count_whether_they_are_scored_or_not(home, run):
    score(home.run, home.data)
    score(run, home.data, trials=(9,))
    expected = read(home.run).frames.query("trial == 9").reset_index(drop=True)
    pd.testing.assert_frame_equal(read(run).frames, expected)


def test_a_trial_that_cannot_be_read_fails_alone(home, run, tmp_path, capsys):
    trials = [make_trial(5, 30), make_trial(7, 45), make_trial(9, 62)]
    data = write_v1(tmp_path / "data", trials)
    broken = data / f"{trials[0].stem}.tar.bz2"
    broken.write_bytes(broken.read_bytes()[:2000])
    (data / f"{trials[1].stem}.txt").unlink()
    summary = score(run, data)
    assert summary["trials"]["scored"] == [9]
    failed = read(run).summary["trials"]["failed"]
    assert "cannot be read" in failed["5"]
    assert "has no gaze file" in failed["7"]
    assert read(run).frames["trial"].unique().tolist() == [9]
    assert [(entry["trial"], entry["scored"]) for entry in read(run).trials] == [
        (5, False), (7, False), (9, True),
    ]  # fmt: skip
    assert "Trial 5 failed: " in capsys.readouterr().out


def test_no_trial_that_can_be_read_is_an_error_with_the_reasons(home, run, tmp_path):
    trial = make_trial(7, 45)
    trial.pngs = [b"no picture"] * 45
    reason = r"none of its 11 observations has all its pictures \(the first .* is picture 1: not a PNG\)"
    with pytest.raises(UserError, match=f"trial 7: {reason}"):
        score(run, write_v1(tmp_path / "data", [trial]))


def test_what_is_left_out_is_counted(home, run, tmp_path):
    trial = make_trial(7, 45)
    trial.pngs[20] = trial.pngs[20][:100]
    score(run, write_v1(tmp_path / "data", [trial]))
    entry = read(run).trials[0]
    assert entry["observations"] == 11 - 4
    assert entry["report"]["frames_undecodable"] == 1
    assert "1 pictures that do not decode" in entry["problems"]
    assert "the first that does not decode is picture 21: truncated" in entry["problems"]
    assert not set(read(run).frames["frame"]) & {20, 24, 28, 32}


def test_averaged_pictures_are_told_in_report_summary_and_table(run, tmp_path, capsys):
    """`frame_averaging`: two consecutive frames averaged, on which no agent was trained."""
    trials = [make_trial(7, 45, averaged=True, load_trial=5), make_trial(9, 45)]
    summary = score(run, write_v4(tmp_path / "data", trials), controls=False)
    averaged, plain = read(run).trials
    assert AVERAGED in averaged["problems"]
    assert AVERAGED not in plain["problems"]
    how = ("frame_averaging", "load_trial", "avg_error", "max_error", "low_sample_rate")
    assert [averaged["report"][name] for name in how] == [True, 5, 0.34, 0.73, 0.012]
    assert [plain["report"][name] for name in how] == [False, 0, 0.34, 0.73, 0.012]
    assert summary["trials"]["averaged"] == [7]
    capsys.readouterr()
    print_summary(summary)
    assert f"Trial 7: {AVERAGED}\n" in capsys.readouterr().out


def test_attention_that_has_died_is_told(run, tmp_path, capsys):
    step = 64
    parameters = networks.random_parameters(NETWORK, 9, np.random.default_rng(0))
    parameters["attention3/score/bias"] = np.full(1, -1e4)
    add_checkpoint(run, step, parameters)
    data = write_v1(tmp_path / "data", [make_trial(7, 45)])
    summary = score(run, data, controls=False, step=step)
    assert summary["dead_attention"] is True
    assert read(run).trials[0]["largest_saliency"] < 1e-6
    capsys.readouterr()
    print_summary(summary)
    assert f"{NETWORK}: {DEAD_ATTENTION}\n" in capsys.readouterr().out
    assert any(DEAD_ATTENTION in note for note in gaze_table(summary).notes)
    assert score(run, data, controls=False, step=32)["dead_attention"] is False


def test_a_game_that_is_not_there_lists_the_games_that_are(home, tmp_path):
    write_run(tmp_path / "pong", NETWORK, "Pong")
    with pytest.raises(UserError, match=r"no Atari-HEAD trials of Pong .*MsPacman \(2\)"):
        score(tmp_path / "pong", home.data)


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
    scored = trial_pass._score
    # A batch whose inputs are still in use when the next one's are made is no growth, but a peak.
    monkeypatch.setattr(trial_pass, "_score", lambda *inputs: jax.block_until_ready(scored(*inputs)))
    agent = load_agent(home.run)
    peaks = []
    for frames in (400, 1600):
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


@pytest.mark.skipif(not CLIP, reason="set ATARI_HEAD_CLIP to the folder of the real clip")
@pytest.mark.parametrize("protocol", ["aligned", "paper"])
def test_the_real_clip(home, run, tmp_path, protocol):
    """Rows against brute force, and what a map scores there that knows nothing."""
    assert CLIP
    summary = score(run, CLIP, protocol=protocol)
    assert summary["observations"] == 200
    assert summary["dataset"] == {
        "path": str(Path(CLIP).resolve()),
        "release": "v1",
        "metadata_release": "v4",
    }
    assert summary["citation"].endswith("zenodo.3451402")  # whose metadata it has
    assert summary["notes"] == {"other_trials": "no other trial"}
    frames = read(run, f"{protocol}-screen").frames.set_index(["frame", "map"])
    archive = next(Path(CLIP).glob("*.tar.bz2"))
    pictures = tmp_path / "png"
    pictures.mkdir()
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.name.endswith(".png"):
                (pictures / Path(member.name).name).write_bytes(packed.extractfile(member).read())
    theirs = oracle.OracleTrial(
        pictures, archive.with_name(archive.name.replace(".tar.bz2", ".txt")), protocol, "screen"
    )
    assert frames.index.unique("frame").tolist() == theirs.frames
    uniform = oracle.uniform(theirs)
    sampled = (0, 57, 199)
    stacks = np.stack([theirs.stack(theirs.frames[k]) for k in sampled])
    model = theirs.network_maps(networks.forward(NETWORK, home.parameters, stacks)[2], oracle.SPARSE_GEOMETRY)
    for k, model_map in zip(sampled, model, strict=True):
        for name, map_ in (("uniform", uniform), ("model", model_map)):
            expected = theirs.score(map_, theirs.frames[k])
            for metric in METRICS:
                if (metric, protocol) != ("sauc", "paper"):
                    assert frames.loc[(theirs.frames[k], name), metric] == pytest.approx(
                        expected[metric], rel=2e-4, abs=3e-3 if "auc" in metric else 2e-4, nan_ok=True
                    )
    z = (uniform - uniform.mean()) / uniform.std()
    fixations = [theirs.fixations(i) for i in theirs.frames]
    looked = [counts for counts in fixations if counts.any()]
    nss = summary["scores"]["uniform"]["nss"]
    assert nss["coverage"] == len(looked) / 200
    assert nss["mean"] == pytest.approx(np.mean([np.average(z, weights=c) for c in looked]), rel=1e-4)
    assert nss["mean"] > 0.4
