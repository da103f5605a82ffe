"""The comparison of methods from a real run folder, small: files, numbers, what goes on and what fails."""

from __future__ import annotations

import json
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from fls_jax import load_agent
from fls_jax.benchmark import comparison, sanity
from fls_jax.benchmark.frames import load_frames, play_frames
from fls_jax.benchmark.job import compare
from fls_jax.benchmark.objects import find_objects, masks_of
from fls_jax.errors import UserError
from fls_jax.saliency import METHODS, Method
from tests.run_folders import write_run

NETWORK = "cnn_sparse_fls_pool"
SMALL = {"frames": 9, "faithful": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    write_run(path, NETWORK, "Pong")
    return path


@pytest.fixture(scope="module")
def folder(run):
    """Results of two methods and what stands beside them."""
    (written,) = compare([run], ["attention", "gradient"], ["action", "value"], **SMALL)
    return written


def test_frames_are_a_seeded_set_of_the_agents_own_games(run):
    agent = load_agent(run)
    frames = play_frames(agent, 20, seed=1005)
    assert frames.observations.shape == (20, 84, 84, 4)
    assert frames.ram.shape == (20, 4, 128)
    again, other = play_frames(agent, 20, seed=1005), play_frames(agent, 20, seed=1006)
    np.testing.assert_array_equal(again.observations, frames.observations)
    assert not np.array_equal(other.observations, frames.observations)
    assert len(np.unique(frames.observations.reshape(20, -1), axis=0)) > 10  # before a serve nothing moves
    assert len(np.unique(frames.episodes)) == 8
    followers = frames.observations[frames.followed]
    np.testing.assert_array_equal(frames.followers[..., :3], followers[..., 1:])  # one step later
    assert frames.followed.tolist() == [0, 8, 16]


def test_the_files_of_a_comparison(run, folder):
    assert folder == run / "saliency" / "32-9-1000-action-value"
    table = pd.read_csv(folder / "scores.csv")
    assert list(table) == ["agent", "method", "target", "metric", "value", "low", "high", "n"]
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "scores.parquet"), table, rtol=1e-4)
    name = f"Pong/{NETWORK}/32"
    assert set(table.agent) == {name, f"{name} untrained"}
    assert set(table.target) == {"action", "value"}
    own = table[table.agent == name]
    assert set(own.method) == {
        "random", "attention", "attention - random", "attention - untrained",
        "gradient", "gradient - random", "gradient - untrained",
    }  # fmt: skip
    metrics = set(own[(own.method == "gradient") & (own.target == "action")].metric)
    assert {"gini", "lift:ball", "insertion_blurred_probability", "steadiness", "ms_per_frame"} <= metrics
    assert {"spearman:heads", "ssim:conv1", "hog:attention3", "erasure:policy"} <= metrics
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["complete"]
    assert not summary["failures"]
    assert summary["objects"]["from"] == "memory"
    assert "cannot change when only these do" in summary["notes"][0]
    with np.load(folder / "maps" / "gradient.npz") as maps:
        assert maps["action"].dtype == np.float16
        whole = maps["action"].astype(np.float32) * maps["action:scale"]
    frames = load_frames(folder / "frames.npz")
    expected = load_agent(run).saliency(frames.observations, "gradient")
    np.testing.assert_allclose(whole, expected, atol=1e-3 * expected.max())


def test_figures_and_the_curves_behind_them(folder):
    """Pictures of the maps and curves; a curve's area is the mean of the scores."""
    figures = {path.name: cv2.imread(str(path)) for path in (folder / "figures").iterdir()}
    assert set(figures) == {"maps.png", "insertion.png", "deletion.png"}
    assert all(picture.std() > 5 for picture in figures.values())
    with np.load(folder / "values" / "gradient.npz") as stored:
        curve = stored["curve|deletion_blurred_probability"]
        areas = stored["action|deletion_blurred_probability"]
    assert curve.shape == (85,)
    np.testing.assert_allclose(np.trapezoid(curve) / 84, np.nanmean(areas), rtol=1e-5)


def test_numbers_and_differences_are_those_of_the_maps(run, folder):
    """Lift on the player from maps computed here, its difference to the untrained network's, and coverage."""
    frames, agent = load_frames(folder / "frames.npz"), load_agent(run)
    things = find_objects("Pong", frames.observations, frames.ram)
    masks = masks_of(things, "player", 9, (84, 84))
    table = pd.read_csv(folder / "scores.csv").set_index(["agent", "method", "target", "metric"])
    lifts = {}
    for label, each in (("", agent), (" untrained", agent.untrained(agent.config.seed + comparison.FRESH))):
        maps = each.saliency(frames.observations, "gradient", "value").astype(float)
        mass = np.array(
            [m[k].sum() / m.sum() if k.any() else np.nan for m, k in zip(maps, masks, strict=True)]
        )
        lifts[label] = mass / np.where(masks.any(axis=(1, 2)), masks.mean(axis=(1, 2)), np.nan)
        row = table.loc[(f"Pong/{NETWORK}/32{label}", "gradient", "value", "lift:player")]
        np.testing.assert_allclose(row.value, np.nanmean(lifts[label]), rtol=1e-3)
        assert row.n == np.isfinite(lifts[label]).sum()
    row = table.loc[(f"Pong/{NETWORK}/32", "gradient - untrained", "value", "lift:player")]
    np.testing.assert_allclose(row.value, np.nanmean(lifts[""] - lifts[" untrained"]), rtol=1e-2, atol=1e-3)
    assert row.low <= row.value <= row.high


def test_attention_cannot_change_above_its_own_layer(run, folder):
    table = pd.read_csv(folder / "scores.csv").set_index(["agent", "method", "target", "metric"])
    own = table.sort_index().loc[(f"Pong/{NETWORK}/32", "attention", "action")]
    for layer in ("heads", "dense", "conv3"):
        expected = layer in ("heads", "dense")
        assert (own.loc[f"spearman:{layer}"].value > 0.9999) == expected
    agent = load_agent(run)
    fresh = agent.untrained(1)
    names = [name for name, _ in sanity.cascade(agent.params, fresh.params, agent.spec)]
    assert names == ["heads", "dense", "attention3", "conv3", "conv2", "conv1"]
    *_, (_, last) = sanity.cascade(agent.params, fresh.params, agent.spec)
    seen = np.random.default_rng(0).integers(0, 256, (2, 84, 84, 4), dtype=np.uint8)
    np.testing.assert_array_equal(agent.with_params(last)(seen).logits, fresh(seen).logits)


def test_the_same_command_goes_on_with_what_is_missing(run, folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "values").iterdir()}
    compare([run], ["attention", "gradient", "centre"], ["action", "value"], **SMALL)
    after = {path: path.stat().st_mtime_ns for path in (folder / "values").iterdir()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in after.keys() - before.keys()} == {"centre.npz"}
    assert "gradient" in set(pd.read_csv(folder / "scores.csv").method)


def test_a_method_that_fails_keeps_no_other_from_being_measured(tmp_path, capsys):
    write_run(tmp_path, "cnn", "Pong")
    broken = Method(lambda question: np.full((1, len(question.observations), 84, 84), np.nan), "control")
    with (
        mock.patch.dict(METHODS, {"broken": broken}),
        pytest.raises(
            UserError, match=r"2 of the methods .*attention: the network cnn has no attention.*broken"
        ),
    ):
        compare([tmp_path], ["attention", "broken", "centre"], frames=8, faithful=1)
    table = pd.read_csv(tmp_path / "saliency" / "32-8-1000" / "scores.csv")
    assert set(table.method) == {"random", "centre", "centre - random"}
    assert "not finite" in capsys.readouterr().out


def divides_by_nothing(question):
    return question.observations[..., 0] / (1 // 0)


def cannot(question):
    raise UserError("Frames of this game are too dark for it.")


def test_a_programming_error_is_named_with_its_place_and_traceback(tmp_path):
    """A user's sentence is told as it is; any other error is not taken for one."""
    write_run(tmp_path, "cnn", "Pong")
    own = {"broken": Method(divides_by_nothing, "control"), "dark": Method(cannot, "control")}
    with mock.patch.dict(METHODS, own), pytest.raises(UserError, match="2 of the methods") as caught:
        compare([tmp_path], ["broken", "dark", "centre"], frames=8, faithful=1)
    line = divides_by_nothing.__code__.co_firstlineno + 1
    folder = tmp_path / "saliency" / "32-8-1000"
    log = folder / "broken.log"
    place = f"broken: ZeroDivisionError at {__file__}:{line}: integer division or modulo by zero"
    assert f"{place} (traceback: {log})" in str(caught.value)
    assert "dark: Frames of this game are too dark for it." in str(caught.value)
    assert log.read_text().startswith("Traceback")
    assert "in divides_by_nothing" in log.read_text()
    assert not (folder / "dark.log").exists()
    assert set(json.loads((folder / "summary.json").read_text())["failures"]) == {"broken", "dark"}
    assert "centre" in set(pd.read_csv(folder / "scores.csv").method)
    with mock.patch.dict(METHODS, {"broken": METHODS["centre"]}):  # mended
        compare([tmp_path], ["broken"], frames=8, faithful=1)
    assert not log.exists()


def test_attention_replaced_stands_in_the_table(run, folder):
    """KL on every other frame, from the logits of both agents; of the attention alone."""
    table = pd.read_csv(folder / "scores.csv")
    of = table[(table.target == "action") & (table.agent == f"Pong/{NETWORK}/32")]
    replaced = of[of.metric.str.startswith("kl:")]
    assert set(replaced.method) == {"attention", "attention - untrained"}
    own = replaced[replaced.method == "attention"].set_index("metric")
    assert set(own.index) == {"kl:mean", "kl:uniform", "kl:shuffled", "kl:other"}
    seen, agent = load_frames(folder / "frames.npz").observations, load_agent(run)
    other = agent.with_attention("mean", seen[::2])
    p, q = (softmax(each(seen[1::2]).logits.astype(float), axis=1) for each in (agent, other))
    assert own.loc["kl:mean"].value == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-3)
    assert own.loc["kl:mean"].n == 4


def test_a_signal_stops_between_methods_and_keeps_what_is_there(tmp_path):
    write_run(tmp_path, NETWORK, "Pong")
    measure, seen = comparison.Comparison.measure, []

    def one_then_stop(self, name, method):
        seen.append(method)
        found = measure(self, name, method)
        self.stop.signal = 2
        return found

    with mock.patch.object(comparison.Comparison, "measure", one_then_stop):
        assert compare([tmp_path], ["centre", "frame_difference"], frames=8, faithful=1) == []
    folder = tmp_path / "saliency" / "32-8-1000"
    assert seen == ["random"]
    assert not json.loads((folder / "summary.json").read_text())["complete"]
    assert compare([tmp_path], ["centre", "frame_difference"], frames=8, faithful=1) == [folder]
    assert json.loads((folder / "summary.json").read_text())["complete"]


def test_frames_of_one_run_for_another(run, folder, tmp_path):
    write_run(tmp_path, "cnn", "Pong", seed=1)
    (other,) = compare([tmp_path], ["centre"], frames_from=run, **SMALL)
    assert other.name == f"32-9-1000-of-{NETWORK}-32"
    np.testing.assert_array_equal(
        load_frames(other / "frames.npz").observations, load_frames(folder / "frames.npz").observations
    )
    breakout = tmp_path / "breakout"
    write_run(breakout, "cnn", "Breakout")
    with pytest.raises(UserError, match="plays Breakout and the run of --frames-from Pong"):
        compare([breakout], ["centre"], frames_from=run, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["lime"]}, "no saliency method 'lime'"),
        ({"targets": ["JUMP"]}, "no target 'JUMP'; choose action, policy, value or one of: NOOP"),
        ({"frames": 2}, "--frames is 2"),
        ({"faithful": 99, "frames": 9}, "--faithful is 99"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_bad_input_is_told(run, arguments, message):
    with pytest.raises(UserError, match=message):
        compare([run], **{"methods": ["centre"]} | arguments)
