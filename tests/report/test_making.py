"""`--make`: what is missing is made, what is there stays, what fails is named."""

from __future__ import annotations

import json
import os
import signal

import pytest

from fls_jax.agent import load_agent
from fls_jax.benchmark.comparison import Comparison
from fls_jax.errors import UserError
from fls_jax.evaluation import attention_use
from fls_jax.evaluation.job import _Job
from fls_jax.gaze import job as gaze_job
from fls_jax.report import making
from fls_jax.report.job import report
from fls_jax.report.making import evaluation_settings, make_missing
from fls_jax.report.sources import read_sources
from tests.atari_head.synthetic import make_trial, write_v1
from tests.report.conftest import document_of
from tests.report.runs import STEP, write_agent
from tests.run_folders import edit_config


@pytest.fixture
def quick(monkeypatch):
    """As little of everything as there can be."""
    monkeypatch.setattr(attention_use, "STEPS", 32)
    monkeypatch.setattr(making, "REPLACEMENTS", {"mean": ""})
    monkeypatch.setattr(making, "METHODS", ("attention", "gradient"))
    monkeypatch.setattr(making, "FRAMES", 8)
    monkeypatch.setattr(making, "FAITHFUL", 1)


@pytest.fixture
def folder(tmp_path):
    """A run of short games, without results."""
    path = write_agent(tmp_path / "run", "cnn_sparse_fls_pool", [1], game="Breakout")
    (path / "evaluation" / f"{STEP}-standard.json").unlink()
    edit_config(path, max_episode_steps=27000)
    return path


def missing(path, games=2, atari_head=None):
    (run,) = read_sources([path]).runs
    return list(making._missing(run, load_agent(path), games, atari_head))


def test_everything_is_made_once_and_stands_in_the_report(folder, quick, tmp_path):
    data = write_v1(tmp_path / "head", [make_trial(7, game="Breakout")], unpacked=True)
    everything = ["an evaluation", "replaced attention", "a comparison of saliency methods", "a gaze pass"]
    assert missing(folder, atari_head=data) == everything
    (path,) = report([folder], tmp_path / "r.html", steps=0, make=True, games=2, atari_head=data)
    found = document_of(path)
    assert found["problems"] == []
    names = [table["id"].split("-")[0] for table in found["tables"]]
    assert names == ["training", "evaluation", "replacement", "gaze", "saliency"]
    assert missing(folder, atari_head=data) == []
    results = {each: each.read_bytes() for each in folder.rglob("*.json")}
    assert len(json.loads(results[folder / "evaluation" / f"{STEP}-standard.json"])["games"]) == 2
    report([folder], tmp_path / "r.html", steps=0, make=True, games=2, atari_head=data)
    assert {each: each.read_bytes() for each in folder.rglob("*.json")} == results


def test_what_an_agent_cannot_have_is_not_made(tmp_path):
    path = write_agent(tmp_path / "run", "cnn", [1, 2])
    assert missing(path) == ["a comparison of saliency methods"]


def test_games_with_another_map_are_those_that_are_there(folder):
    agent = load_agent(folder)
    ours = evaluation_settings(folder, agent, 40)
    assert (ours.num_envs, ours.games_per_env) == (16, 3)
    result = {"summary": {}, "num_envs": 3, "games_per_env": 5, "protocol": "paper", "seed": 77}
    (folder / "evaluation" / f"{STEP}-standard.json").write_text(json.dumps(result))
    there = evaluation_settings(folder, agent, 40)
    assert (there.num_envs, there.games_per_env, there.protocol, there.seed) == (3, 5, "paper", 77)


def test_what_fails_is_named_and_the_rest_is_made(folder, quick, monkeypatch):
    def refuse(*_, **__):
        raise UserError("the disk is full")

    monkeypatch.setattr(making, "evaluate", refuse)
    monkeypatch.setattr(making, "evaluate_attention", refuse)
    problems = make_missing(read_sources([folder]).runs, 2, None)
    assert [problem["reason"] for problem in problems] == [
        "--make, an evaluation: the disk is full",
        "--make, replaced attention: the disk is full",
    ]
    assert missing(folder) == ["an evaluation", "replaced attention"]


STAGES = (
    (_Job, "play_round"), (attention_use, "frames_of_play"), (Comparison, "run"), (gaze_job, "score_run"),
)  # fmt: skip


def test_ctrl_c_in_any_stage_keeps_what_is_made_and_the_same_call_goes_on(
    folder, quick, monkeypatch, tmp_path, capsys
):
    data = write_v1(tmp_path / "head", [make_trial(7, game="Breakout")], unpacked=True)
    arguments = {"steps": 0, "make": True, "games": 2, "atari_head": data}
    left = missing(folder, atari_head=data)
    for place, name in STAGES:
        with monkeypatch.context() as patched:
            work = getattr(place, name)

            def interrupted(*args, work=work, **kwargs):
                os.kill(os.getpid(), signal.SIGINT)
                return work(*args, **kwargs)

            patched.setattr(place, name, interrupted)
            assert report([folder], tmp_path / "r.html", **arguments) == []
        said = capsys.readouterr().out
        assert said.count("missing and made now") == 1, "nothing is begun after the signal"
        assert said.endswith("Stopped before the report; the same command goes on from there.\n")
        assert missing(folder, atari_head=data) == left
        assert not (tmp_path / "r.html").exists()
        (run,) = read_sources([folder]).runs
        making._missing(run, load_agent(folder), 2, data)[left.pop(0)]()
    assert report([folder], tmp_path / "r.html", **arguments) == [tmp_path / "r.html"]


@pytest.mark.parametrize(
    ("place", "words"),
    [("make_missing", "Stopped before the report"), ("_Job.load", "is not written")],
)
def test_ctrl_c_between_the_stages_and_in_the_clips(folder, place, words, monkeypatch, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fls_jax.report.job.{place}", interrupt)
    assert report([folder], tmp_path / "r.html", make=place == "make_missing") == []
    assert words in capsys.readouterr().out
    assert list(tmp_path.glob("*.html*")) == []
