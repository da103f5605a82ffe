"""A person's game in a report: the frames that an agent would see, and the gaze as the file has it."""

from __future__ import annotations

import csv

import jsonschema
import numpy as np
import pytest

from fls_jax.agent import load_agent
from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.errors import UserError
from fls_jax.report.document import schema
from fls_jax.report.encoding import unpacked, unpacked_pictures
from fls_jax.report.job import report
from fls_jax.report.trial import watch
from tests.atari_head.synthetic import make_trial, write_v1
from tests.gaze.oracle import OFFSETS, OracleTrial
from tests.report.conftest import document_of
from tests.report.runs import write_agent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two trials of MsPacman, one of Breakout."""
    trials = [make_trial(7), make_trial(9), make_trial(3, game="Breakout")]
    return write_v1(tmp_path_factory.mktemp("head"), trials, unpacked=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_agent(tmp_path_factory.mktemp("run") / "fls", "cnn_sparse_fls_pool", [1, 2], game="MsPacman")


def oracle(data, number=7):
    (text,) = data.glob(f"{number}_*.txt")
    return OracleTrial(data / text.stem, text, "aligned", "screen"), text


def medians(text, frame):
    """The median gaze of each frame behind an observation, oldest first, from the text of the file."""
    with text.open() as file:
        rows = {int(row[0].rpartition("_")[2]): row[6:] for row in list(csv.reader(file))[1:]}
    found = []
    for offset in reversed(OFFSETS):
        values = [each for each in rows.get(frame - offset + 1, []) if each not in ("", "null")]
        if values:
            x, y = np.median(np.array(values, float).reshape(-1, 2), axis=0)
            x, y = np.round(2 * x) / 2, np.round(2 * y) / 2
            if 0 <= x < 160 and 0 <= y < 210:
                found.append((x, y))
    return found


def test_the_frames_and_the_gaze_are_those_of_the_files(data):
    expected, text = oracle(data)
    trial = next(trial for trial in open_dataset(data).trials if trial.id == 7)
    watched = watch(trial, 900)
    assert len(watched.frames) == len(expected.frames) == len(watched.gaze)
    for t, frame in enumerate(expected.frames):
        np.testing.assert_array_equal(
            np.moveaxis(watched.frames.observation(t), 0, -1), expected.stack(frame)
        )
        pair = [expected.colour[j][..., ::-1] for j in (frame - 1, frame) if j >= 0]
        np.testing.assert_array_equal(watched.frames.screen(t), np.maximum.reduce(pair))
        assert watched.gaze[t].tolist() == [list(point) for point in medians(text, frame)]
    few = watch(trial, 5)
    assert len(few.frames) == 5
    np.testing.assert_array_equal(few.frames.screen(4), watched.frames.screen(4))


def test_a_trial_is_a_clip_of_a_person(data, run, tmp_path):
    (path,) = report([run], tmp_path / "r.html", steps=8, atari_head=data)
    document = document_of(path)
    jsonschema.validate(document, schema())
    agents, person = document["clips"]
    assert (agents["gaze"], agents["player"]) == (None, "a1")
    assert (person["id"], person["player"], person["actions"], person["rewards"]) == ("h7", None, None, None)
    assert "CC-BY-4.0" in person["description"]
    offsets, points = (unpacked(person["gaze"][name]) for name in ("offsets", "points"))
    text = oracle(data)[1]
    for t in range(8):
        np.testing.assert_allclose(points[offsets[t] : offsets[t + 1]].reshape(-1, 2),
                                   np.reshape(medians(text, 4 * t), (-1, 2)), rtol=1e-3)  # fmt: skip
    expected = oracle(data)[0]
    stacks = np.stack([expected.stack(frame) for frame in expected.frames[:8]])
    np.testing.assert_allclose(
        unpacked(person["observers"][0]["values"]), load_agent(run)(stacks).value, rtol=2e-3, atol=1e-4
    )
    assert unpacked_pictures(person["frames"]).shape == (8, 210, 160)
    assert {mark["kind"] for mark in person["bookmarks"]} <= {"highlight", "depends"}
    assert "--atari-head" in document["made"]["command"]


def test_trials_can_be_chosen(data, run, tmp_path):
    (path,) = report([run], tmp_path / "r.html", steps=2, atari_head=data, trials=[9, 7])
    assert [clip["id"] for clip in document_of(path)["clips"]] == ["c1", "h7", "h9"]
    with pytest.raises(UserError, match="no trial 3, 5 of MsPacman; it has 7, 9"):
        report([run], tmp_path / "r.html", steps=2, atari_head=data, trials=[5, 3])


def test_a_game_without_trials_is_said_before_anything_is_played(data, pair, tmp_path):
    other = write_agent(tmp_path / "pong", "cnn", [1], game="Pong")
    with pytest.raises(UserError, match="no trials of Pong; it has Breakout, MsPacman"):
        report([other], tmp_path / "r.html", steps=2, atari_head=data)
    (path,) = report([other, pair[0]], tmp_path / "r.html", steps=2, atari_head=data)
    assert [clip["id"] for clip in document_of(path)["clips"]] == ["c1", "h3", "c2"]


def test_a_damaged_trial_is_named_and_left_out(run, tmp_path):
    trial = make_trial(4)
    trial.pngs = [b"no picture"] * len(trial.pngs)
    data = write_v1(tmp_path / "head", [trial], unpacked=True)
    with pytest.raises(TrialError, match="no four pictures"):
        watch(open_dataset(data).trials[0], 8)
    (path,) = report([run], tmp_path / "r.html", steps=2, atari_head=data)
    document = document_of(path)
    assert [clip["id"] for clip in document["clips"]] == ["c1"]
    assert "no four pictures" in document["problems"][0]["reason"]
