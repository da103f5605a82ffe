"""Evaluations with the attention replaced: the same games, the table, the numbers of the map."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from fls_jax.agent import load_agent
from fls_jax.errors import UserError
from fls_jax.evaluation import attention_use
from fls_jax.evaluation.attention_job import compared, evaluate_attention, names_in
from fls_jax.evaluation.attention_use import compare_policies, frames_of_play, map_statistics, split
from fls_jax.evaluation.job import evaluate
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.runs.contents import attention_tables, evaluation_files
from fls_jax.runs.folder import RunFolder
from tests.oracles import networks as oracle
from tests.run_folders import edit_config, write_run

SMALL = EvaluationSettings(num_envs=2, games_per_env=2)


@pytest.fixture
def few_frames(monkeypatch):
    monkeypatch.setattr(attention_use, "STEPS", 8)
    monkeypatch.setattr(attention_use, "EVERY", 2)


@pytest.fixture
def agent(tmp_path):
    write_run(tmp_path / "patch", "cnn_patch_fls", "Breakout")
    return load_agent(tmp_path / "patch")


def screens(rng, batch):
    return rng.integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8)


def test_the_whole_job(tmp_path, few_frames, capsys):
    """Every replacement plays the same games; the trained agent's file is what a plain evaluation writes."""
    write_run(tmp_path / "plain", "cnn_patch_fls", "Breakout")
    write_run(tmp_path / "run", "cnn_patch_fls", "Breakout")
    plain = json.loads(evaluate(tmp_path / "plain", SMALL).read_text())
    names = ("mean", "constant:0")
    table = evaluate_attention(tmp_path / "run", SMALL, names)
    folder = tmp_path / "run/evaluation"
    assert {path.name for path in folder.iterdir()} == {
        "32-standard.json", "32-standard-mean.json", "32-standard-constant-0.json"
    }  # fmt: skip
    ends = ("", "-mean", "-constant-0")
    trained, mean, zero = (json.loads((folder / f"32-standard{end}.json").read_text()) for end in ends)

    def returns(result):
        return [(g["environment"], g["game"], g["return"], g["steps"]) for g in result["games"]]

    assert returns(trained) == returns(plain)
    assert "attention" not in trained
    assert mean["attention"] == "mean"
    assert mean["parameters"] == trained["parameters"] == plain["parameters"]
    assert returns(zero) != returns(trained)

    content = json.loads(table.read_text())
    assert table == tmp_path / "run/attention/32-standard.json"
    assert list(content["replacements"]) == ["trained", *names]
    assert content["frames"] == content["reference_frames"] == 2 * 16
    for name, row in content["replacements"].items():
        assert row["games"] == 4
        assert (row["kl"]["mean"] == 0) is (name == "trained")
    row = content["replacements"]["constant:0"]
    assert row["difference"] == pytest.approx(zero["summary"]["mean"] - trained["summary"]["mean"])
    assert attention_tables(RunFolder(tmp_path / "run")) == [content]
    # No score of the agent's is one with its attention replaced.
    assert [path.name for path in evaluation_files(RunFolder(tmp_path / "run"))] == ["32-standard.json"]

    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    evaluate_attention(tmp_path / "run", SMALL, ["mean"])  # the rows that are there stay
    said = capsys.readouterr().out
    assert said.count("This evaluation is finished") == 3
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert json.loads(table.read_text()) == content


def test_out_names_another_folder(tmp_path, few_frames):
    """A run that cannot be written gets no file; a table of other games or a damaged one is not added to."""
    write_run(tmp_path / "run", "cnn_patch_fls", "Breakout")
    before = sorted((tmp_path / "run").rglob("*"))
    out = tmp_path / "results/deep"
    settings = replace(SMALL, num_envs=1, games_per_env=1)
    table = evaluate_attention(tmp_path / "run", settings, ["constant:0"], out=out)
    assert table == out / "attention/32-standard.json"
    names = {path.name for path in out.iterdir()}
    assert names == {"32-standard.json", "32-standard-constant-0.json", "attention"}
    assert sorted((tmp_path / "run").rglob("*")) == before

    agent, settings = load_agent(tmp_path / "run"), settings.validated("Breakout")
    assert names_in(table, agent, settings) == ("trained", "constant:0")
    assert names_in(table, agent, replace(settings, games_per_env=3)) == ()
    for damaged in ("[", "[]", '{"replacements": ["nonsense"]}'):
        table.write_text(damaged)
        assert names_in(table, agent, settings) == ()


def result(returns, games_per_env):
    """A result file's content: returns [environment, game]."""
    games = [
        {"environment": e, "game": g, "return": float(score)}
        for e, row in enumerate(returns)
        for g, score in enumerate(row)
    ]
    summary = {"games": len(games), "mean": float(np.mean(returns)), "interval_95": {"mean": [0, 1]}}
    return {"games": games[::-1], "summary": summary, "games_per_env": games_per_env}


def test_differences_are_those_of_the_same_games(rng):
    """A constant loss in games that differ much is known exactly, which unpaired it is not."""
    trained = rng.normal(scale=100, size=(4, 6))
    results = {"trained": result(trained, 6), "mean": result(trained - 3, 6)}
    row = compared(results, "mean")
    assert row["difference"] == pytest.approx(-3)
    assert row["difference_interval_95"] == pytest.approx([-3, -3])
    assert "difference" not in compared(results, "trained")
    noisy = {"trained": result(trained, 6), "mean": result(trained + rng.normal(-3, 1, (4, 6)), 6)}
    row = compared(noisy, "mean")
    low, high = row["difference_interval_95"]
    assert low < row["difference"] < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(24), rel=0.4)


def test_games_of_one_round_are_resampled_together(rng):
    """256 games of an environment are two a round; that they are alike makes no interval narrower."""
    each = rng.normal(size=(2, 128))
    twice = np.repeat(each, 2, axis=1)
    results = {"trained": result(np.zeros((2, 256)), 256), "mean": result(twice, 256)}
    low, high = compared(results, "mean")["difference_interval_95"]
    assert high - low == pytest.approx(2 * 1.96 * each.std() / 16, rel=0.2)


def test_policies_are_compared_frame_by_frame(agent, rng):
    frames, games = screens(rng, 9), np.arange(9) % 3
    other = agent.with_attention("constant:0.2")
    found = compare_policies(agent, other, frames, games)
    p, q = (softmax(each(frames).logits.astype(float), axis=1) for each in (agent, other))
    assert found["kl"]["mean"] == pytest.approx(entropy(p, q, axis=1).mean(), rel=1e-6)
    values = np.abs(agent(frames).value - other(frames).value)
    assert found["value_change"]["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert found["same_action"]["mean"] == pytest.approx((p.argmax(1) == q.argmax(1)).mean())
    low, high = found["kl"]["interval_95"]
    assert low <= found["kl"]["mean"] <= high
    assert compare_policies(agent, agent, frames, games)["kl"] == {"mean": 0, "interval_95": [0, 0]}


@pytest.mark.parametrize("network", ["cnn_patch_fls", "cnn_sparse_fls"])
def test_the_numbers_of_a_map(network, tmp_path, rng):
    write_run(tmp_path, network, "Breakout")
    agent, frames = load_agent(tmp_path), screens(rng, 5)
    found = map_statistics(agent, frames)
    attention = agent(frames).attention.astype(float)
    read = 20 if "patch" in network else 7
    maps = attention[:, :read, :read].reshape(5, -1)
    n = maps.shape[1]
    assert found["mean"] == pytest.approx(maps.mean())
    assert found["max"] == pytest.approx(maps.max(axis=1).mean())
    assert found["effective_area"] == pytest.approx(np.exp(entropy(maps, axis=1)).mean() / n)
    gini = [np.abs(m[:, None] - m[None]).mean() / (2 * m.mean()) for m in maps]
    assert found["gini"] == pytest.approx(np.mean(gini))
    with_mean = [np.corrcoef(m, maps.mean(axis=0))[0, 1] for m in maps]
    assert found["correlation_with_mean"] == pytest.approx(np.mean(with_mean))
    if "patch" in network:  # painted, every pixel once
        assert found["correlation_with_uniform"] is None
    else:
        geometry = oracle.GEOMETRY[network]
        uniform = oracle.paint(np.ones((1, read, read)), *geometry).ravel()
        painted = oracle.paint(attention, *geometry).reshape(5, -1)
        correlations = [np.corrcoef(each, uniform)[0, 1] for each in painted]
        assert found["correlation_with_uniform"] == pytest.approx(np.mean(correlations), rel=1e-4)
    flat = map_statistics(agent.with_attention("constant:2"), frames)
    assert flat["effective_area"] == pytest.approx(1)
    assert flat["gini"] == pytest.approx(0, abs=1e-12)
    assert flat["correlation_with_mean"] is None


def test_frames_of_play_are_the_same_every_time_and_of_no_evaluated_game(agent, few_frames):
    frames = frames_of_play(agent, SMALL, lambda: False, lambda done: None)
    assert frames.shape == (4, 16, 84, 84, 4)
    np.testing.assert_array_equal(frames, frames_of_play(agent, SMALL, lambda: False, lambda done: None))
    other = frames_of_play(agent, replace(SMALL, games_per_env=3), lambda: False, lambda done: None)
    assert not np.array_equal(frames, other)
    assert frames_of_play(agent, SMALL, lambda: True, lambda done: None) is None
    reference, looked, games = split(frames)
    np.testing.assert_array_equal(reference[16:], frames[2])
    np.testing.assert_array_equal(looked[:16], frames[1])
    assert games.tolist() == [*range(16), *range(16)]


def test_what_cannot_be_replaced_is_a_sentence_and_nothing_is_played(tmp_path):
    write_run(tmp_path, "cnn_patch", "Breakout")
    with pytest.raises(UserError, match="cnn_patch has no attention to replace"):
        evaluate_attention(tmp_path, SMALL, ("mean",))
    with pytest.raises(UserError, match="--attention: There is no replacement 'average'"):
        evaluate_attention(tmp_path, SMALL, ("average",))
    assert not (tmp_path / "evaluation").exists()


def test_seeds_that_the_training_used_are_told(tmp_path, capsys):
    write_run(tmp_path, "cnn_patch_fls", "Breakout", seed=1000)
    one = EvaluationSettings(num_envs=1, games_per_env=1)
    edit_config(tmp_path, max_episode_steps=40)
    evaluate(tmp_path, one)
    assert "Warning" not in capsys.readouterr().out  # spread: environment 0 has another seed than 1000
    edit_config(tmp_path, environment_seeds="consecutive")
    evaluate(tmp_path, one, fresh=True)
    assert "partly used in training (1000 to 1000)" in capsys.readouterr().out
