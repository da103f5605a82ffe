"""The whole job on real games: its numbers, stopping and going on, and what it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from fls_jax.agent import load_agent
from fls_jax.atari.emulator import EmulatedGame
from fls_jax.errors import UserError
from fls_jax.evaluation.job import evaluate
from fls_jax.evaluation.progress import EvaluationProgress
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.runs.contents import read_evaluation
from fls_jax.wandb.contents import evaluation_content
from tests.oracles import networks as oracle
from tests.processes import small_disk
from tests.run_folders import edit_config, write_run

SMALL = EvaluationSettings(num_envs=2, games_per_env=3)


@pytest.fixture(scope="module")
def breakout(tmp_path_factory):
    """A run, and the evaluation of it that was never interrupted."""
    path = tmp_path_factory.mktemp("breakout")
    parameters = write_run(path, "cnn_sparse_fls_pool", "Breakout", step=64)
    return path, parameters, json.loads(evaluate(path, SMALL).read_text())


@pytest.fixture
def run(breakout, tmp_path):
    """The same run without an evaluation."""
    write_run(tmp_path / "run", "cnn_sparse_fls_pool", "Breakout", step=64)
    return tmp_path / "run"


def timeless(games):
    return sorted(({**g, "seconds": 0} for g in games), key=lambda g: (g["game"], g["environment"]))


def test_result(breakout):
    path, _, result = breakout
    assert (path / "evaluation" / "64-standard.json").exists()
    assert not list((path / "evaluation").glob("*.part*"))
    games = result["games"]
    assert sorted((g["environment"], g["game"]) for g in games) == [
        (e, k) for e in range(2) for k in range(3)
    ]
    returns = np.array([g["return"] for g in games])
    summary = result["summary"]
    assert summary["games"] == 6
    assert summary["mean"] == pytest.approx(returns.mean())
    assert summary["std"] == pytest.approx(returns.std())
    assert summary["median"] == np.median(returns)
    assert summary["iqm"] == pytest.approx(np.sort(returns)[1:-1].mean())
    low, high = summary["interval_95"]["mean"]
    assert returns.min() <= low < summary["mean"] < high <= returns.max()
    assert summary["human_normalised"]["mean"] == pytest.approx((returns.mean() - 1.7) / 28.8)
    assert summary["mean_steps"] == pytest.approx(np.mean([g["steps"] for g in games]))
    assert all(g["frames"] == 4 * g["steps"] and g["seconds"] > 0 and not g["cut"] for g in games)
    assert result["seconds"] > max(g["seconds"] for g in games)
    stated = ("game", "network", "env_step", "protocol", "seed", "max_episode_steps", "games_per_env")
    assert [result[k] for k in stated] == ["Breakout", "cnn_sparse_fls_pool", 64, "aligned", 1000, 27_000, 3]
    assert result["versions"]["envpool"]
    assert "commit" in result


def test_a_finished_evaluation_says_so(breakout, capsys):
    path, _, _ = breakout
    file = path / "evaluation" / "64-standard.json"
    before = file.stat().st_mtime_ns
    assert evaluate(path, SMALL) == file
    assert "This evaluation is finished: 6 games, mean return" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before


def test_greedy_games_are_those_of_the_numpy_network_on_the_emulator(breakout):
    path, parameters, _ = breakout
    settings = EvaluationSettings(num_envs=1, games_per_env=1, greedy=True, seed=77)
    (game,) = json.loads(evaluate(path, settings).read_text())["games"]
    emulator = EmulatedGame("breakout", seed=77)
    emulator.start()
    score, steps, over = 0.0, 0, False
    while not over:
        seen = np.moveaxis(emulator.observation(), 0, -1)[None]
        action = oracle.forward("cnn_sparse_fls_pool", parameters, seen)[0].argmax()
        reward, life_ended, over = emulator.act(int(action))
        if life_ended and not over:
            emulator.start()
        score += reward
        steps += 1
        assert steps <= game["steps"]
    assert (game["return"], game["steps"]) == (score, steps)


@contextlib.contextmanager
def stopping_after(games, monkeypatch):
    """Evaluations in this block get a SIGTERM as soon as so many games have ended."""
    add = EvaluationProgress.add

    def add_and_stop(self, score):
        add(self, score)
        if self._done == games:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationProgress, "add", add_and_stop)
        yield


@pytest.mark.parametrize("games_before_the_signal", [1, 4])
def test_a_stopped_evaluation_goes_on_to_the_same_result(
    games_before_the_signal, run, breakout, monkeypatch, capsys
):
    with stopping_after(games_before_the_signal, monkeypatch):
        assert evaluate(run, SMALL) is None
    kept = 2 * (games_before_the_signal // 2)  # rounds of one game in each of two environments
    assert f"Stopped: {kept} of 6 games are kept" in capsys.readouterr().out
    with (run / "evaluation/64-standard.part.jsonl").open("a") as file:
        file.write('{"round": 9, "games": [{"environ')  # as a process leaves it that dies while writing
    result = json.loads(evaluate(run, SMALL).read_text())
    assert timeless(result["games"]) == timeless(breakout[2]["games"])
    assert result["summary"] == breakout[2]["summary"]
    assert len(result["sessions"]) == 2
    assert [p.name for p in (run / "evaluation").iterdir()] == ["64-standard.json"]


def test_the_sessions_of_an_older_version_are_read(run, breakout, monkeypatch):
    """A part file of an older version has lines `sitting`: its rounds and its session both count."""
    part = run / "evaluation/64-standard.part.jsonl"
    with stopping_after(4, monkeypatch):
        assert evaluate(run, SMALL) is None
    part.write_text(part.read_text().replace('{"session": {', '{"sitting": {"old": true, '))
    result = json.loads(evaluate(run, SMALL).read_text())
    assert ["old" in session for session in result["sessions"]] == [True, False]
    assert timeless(result["games"]) == timeless(breakout[2]["games"])


def test_the_command_stops_at_a_signal_and_goes_on(run, breakout):
    part = run / "evaluation/64-standard.part.jsonl"
    command = [sys.executable, "-m", "fls_jax", "evaluate", str(run), "--num-envs=2", "--games-per-env=3"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None and not (part.exists() and b'"round"' in part.read_bytes()):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "Stopped: " in said
    assert "The same command plays the rest." in said
    result = json.loads(evaluate(run, SMALL).read_text())
    assert len(result["sessions"]) == 2
    assert timeless(result["games"]) == timeless(breakout[2]["games"])


def test_breakout_infinite_and_the_limit(run, monkeypatch):
    monkeypatch.setattr("fls_jax.evaluation.settings._PAPER_BREAKOUT", 40)
    settings = replace(SMALL, protocol="paper", infinite_breakout=True, games_per_env=1)
    path = evaluate(run, settings)
    assert path.name == "64-infinite.json"
    result = json.loads(path.read_text())
    assert (result["environment"], result["protocol"]) == ("BreakoutInfinite", "paper")
    assert [(g["steps"], g["cut"]) for g in result["games"]] == [(40, True)] * 2
    assert result["summary"]["games_cut"] == 2
    assert result["summary"]["human_normalised"] is None


def test_other_settings_are_refused_and_nothing_is_lost(run, breakout):
    path = breakout[0]
    with pytest.raises(UserError, match=r"other settings \(seed: 1000 -> 5\).*--fresh"):
        evaluate(path, replace(SMALL, seed=5))
    folder = run / "evaluation"
    folder.mkdir()
    (folder / "64-standard.json").write_text("an older result")
    with pytest.raises(UserError, match=r"64-standard.json cannot be read"):
        evaluate(run, SMALL)
    (folder / "64-standard.part.jsonl").write_text("{}\n")
    (folder / "64-standard.json").rename(folder / "kept")
    with pytest.raises(UserError, match=r"part.jsonl is damaged: set it aside with --fresh"):
        evaluate(run, SMALL)
    (folder / "kept").rename(folder / "64-standard.json")
    assert evaluate(run, replace(SMALL, num_envs=1, games_per_env=1), fresh=True)
    assert (folder / "64-standard.json.old-1").read_text() == "an older result"
    assert (folder / "64-standard.part.jsonl.old-1").read_text() == "{}\n"


def test_a_result_of_other_parameters_is_refused(run):
    """Another training in the same place: same game, network, step and settings."""
    one = replace(SMALL, num_envs=1, games_per_env=1)
    path = evaluate(run, one)
    result = json.loads(path.read_text())
    assert result["parameters"] == load_agent(run).fingerprint
    shutil.rmtree(run / "checkpoints")
    write_run(run, "cnn_sparse_fls_pool", "Breakout", seed=1, step=64)
    edit_config(run, seed=0)
    with pytest.raises(UserError, match=rf"parameters: {result['parameters']} -> [0-9a-f]{{16}}\).*--fresh"):
        evaluate(run, one)
    del result["parameters"]  # from before it was kept
    path.write_text(json.dumps(result))
    assert evaluate(run, one) == path


def test_a_single_game_has_no_interval(run, capsys):
    path = evaluate(run, replace(SMALL, num_envs=1, games_per_env=1))
    content = json.loads(path.read_text())
    assert content["summary"]["interval_95"] == {"mean": None, "median": None, "iqm": None}
    assert "(no interval from one game)" in capsys.readouterr().out
    assert read_evaluation(path).interval is None
    assert not [
        name for name in evaluation_content(read_evaluation(path)).row if name.endswith(("low", "high"))
    ]


def test_a_run_that_cannot_be_written_is_evaluated_with_out(run, tmp_path):
    with small_disk(tmp_path, "size=10m") as disk:
        shutil.copytree(run, disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        one = replace(SMALL, num_envs=1, games_per_env=1)
        with pytest.raises(UserError, match="--out"):
            evaluate(disk / "run", one)
        path = evaluate(disk / "run", one, out=tmp_path / "results")
    assert path == tmp_path / "results" / "64-standard.json"
    assert json.loads(path.read_text())["summary"]["games"] == 1


def test_two_at_once_are_refused(run):
    (run / "evaluation").mkdir()
    with (run / "evaluation/64-standard.part.jsonl").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process is running this evaluation"):
            evaluate(run, SMALL)


def test_fresh_takes_nothing_from_an_evaluation_at_work(run, breakout):
    folder = run / "evaluation"
    folder.mkdir()
    (folder / "64-standard.json").write_text("a result")
    part = folder / "64-standard.part.jsonl"
    with part.open("w") as file:
        file.write("its progress\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process is running this evaluation"):
            evaluate(run, SMALL, fresh=True)
    assert part.read_text() == "its progress\n"
    assert (folder / "64-standard.json").read_text() == "a result"


def test_a_fresh_evaluation_that_is_stopped_goes_on_without_fresh(run, breakout, monkeypatch, capsys):
    (run / "evaluation").mkdir()
    (run / "evaluation/64-standard.json").write_text("an older result")
    with stopping_after(4, monkeypatch):
        assert evaluate(run, SMALL, fresh=True) is None
    assert "The same command without --fresh plays the rest." in capsys.readouterr().out
    result = json.loads(evaluate(run, SMALL).read_text())
    assert len(result["sessions"]) == 2
    assert timeless(result["games"]) == timeless(breakout[2]["games"])


@pytest.mark.parametrize("text", ["[]", "null", '{"summary": 3}'])
def test_a_file_that_is_no_result_is_a_sentence(run, text):
    (run / "evaluation").mkdir()
    (run / "evaluation/64-standard.json").write_text(text)
    with pytest.raises(UserError, match="it has no summary"):
        evaluate(run, SMALL)


def test_a_game_that_there_is_not_is_a_sentence(run):
    edit_config(run, game="Nope")
    with pytest.raises(UserError, match="Nope"):
        evaluate(run, SMALL)


def test_a_folder_that_cannot_be_written(run):
    (run / "evaluation").write_text("a file")
    with pytest.raises(UserError, match=r"evaluation cannot be written"):
        evaluate(run, SMALL)


def test_an_agent_of_another_game(tmp_path):
    write_run(tmp_path, "cnn_sparse_fls_pool", "Pong")
    with pytest.raises(UserError, match="this one plays Pong"):
        evaluate(tmp_path, replace(SMALL, infinite_breakout=True))
