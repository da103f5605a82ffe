"""A pass's files against brute force over the pictures and texts on disk, synthetic and real."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest

from fls_jax.agent import load_agent
from fls_jax.gaze.controls import random_maps
from fls_jax.gaze.scoring import METRICS, draw_other_frames, frame_keys
from tests.gaze import oracle
from tests.gaze.passes import MAPS, NETWORK, NO_OTHERS, read, score
from tests.oracles import networks

CLIP = os.environ.get("ATARI_HEAD_CLIP")


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
        "other_humans": np.stack([density / density.max()] * n),  # the other trial is the other player's
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
    assert summary["notes"] == NO_OTHERS
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
