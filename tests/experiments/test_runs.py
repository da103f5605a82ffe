from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from experiments.analysis.comparison import mean_estimate
from experiments.analysis.runs import load_runs
from experiments.analysis.selection import select
from experiments.data.grid import PILOT, Cell
from tests.experiments.folders import LAST_STEP, UPDATES, row, write_evaluation, write_gaze, write_run

CNN = Cell("Pong", "cnn", 1)
FLS = Cell("Pong", "cnn_sparse_fls", 1)


def test_a_run_as_tables(tmp_path):
    path = write_run(tmp_path / "a", CNN, [None, -20.5, 3.25])
    write_evaluation(path, [1, 2, 6])
    write_evaluation(path, [9, 9, 9], mode="greedy")
    found = load_runs([tmp_path])
    assert not found.problems
    (run,) = found.runs
    history = run.history
    assert history["env_step"].tolist() == [1024 * u for u in (UPDATES - 2, UPDATES - 1, UPDATES)]
    assert (run.key["network"], run.key["total_steps"]) == ("cnn", 2_000_000)
    np.testing.assert_array_equal(history["eprewmean"], [math.nan, -20.5, 3.25])
    summaries = {each.mode: each.summary for each in run.evaluations}
    assert [summaries["standard"][name] for name in ("mean", "median", "games")] == [3, 2, 3]
    assert summaries["greedy"]["mean"] == 9
    normalised = summaries["standard"]["human_normalised"]["mean"]
    assert normalised == pytest.approx((3 + 20.7) / (14.6 + 20.7))
    assert run.finished
    assert run.steps_per_second == 200
    assert [each.returns for each in run.final_evaluations] == [[1, 2, 6]]


def test_with_one_seed_the_interval_is_the_evaluations_own(tmp_path):
    file = write_evaluation(write_run(tmp_path / "a", CNN, [1.0]), np.random.default_rng(0).normal(size=40))
    content = json.loads(file.read_text())
    for number, game in enumerate(content["games"]):  # rounds of four environments, ended in any order
        game["environment"], game["game"] = number % 4, number // 4
    content["games"].reverse()
    file.write_text(json.dumps(content))
    selection = select(load_runs([tmp_path]), PILOT)
    estimate = mean_estimate(selection.sample("Pong", "cnn"))
    assert [estimate.low, estimate.high] == content["summary"]["interval_95"]["mean"]


def test_no_runs_are_empty_tables(tmp_path):
    found = load_runs([tmp_path, tmp_path / "missing"])
    assert (found.runs, found.problems) == ([], [])


def test_a_record_written_over_after_a_kill_counts_once(tmp_path):
    path = write_run(tmp_path / "a", CNN, [])
    rows = [row(1, 1.0), row(2, 2.0), row(2, 2.5), row(3, 3.0)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows) + '{"upd')
    (run,) = load_runs([tmp_path]).runs
    assert run.history["eprewmean"].tolist() == [1.0, 2.5, 3.0]
    assert run.env_step == 3 * 1024
    assert not run.finished


def test_evaluations_of_earlier_steps_and_of_unfinished_runs_are_not_final(tmp_path):
    done = write_run(tmp_path / "done", CNN, [1.0])
    write_evaluation(done, [5, 5], step=LAST_STEP - 1024)
    halfway = write_run(tmp_path / "halfway", FLS, [1.0], updates=[100])
    write_evaluation(halfway, [5, 5], step=100 * 1024)
    found = load_runs([tmp_path])
    assert [len(each.final_evaluations) for each in found.runs] == [0, 0]
    selection = select(found, PILOT)
    assert selection.sample("Pong", "cnn") is None
    assert selection.why_empty("Pong", "cnn") == "not evaluated"
    assert selection.why_empty("Pong", "cnn_sparse_fls") == "unfinished: 0.10M of 2M steps"
    assert selection.why_empty("Breakout", "cnn") == "not run"
    assert selection.why_empty("Enduro", "cnn") == "not planned"
    assert selection.state(CNN) == "not evaluated"
    assert selection.state(FLS) == "unfinished"


def test_what_is_damaged_is_named_and_left_out(tmp_path):
    for name in ("config", "types", "record", "number"):
        write_run(tmp_path / name, CNN, [1.0, 2.0])
    (tmp_path / "config" / "config.json").write_text("{")
    types = tmp_path / "types" / "config.json"
    types.write_text(types.read_text().replace('"seed": 1', '"seed": "one"'))
    record = tmp_path / "record" / "metrics.jsonl"
    record.write_text("nonsense\n" + record.read_text())
    odd = tmp_path / "number" / "metrics.jsonl"
    odd.write_text(odd.read_text().replace('"eprewmean": 1.0', '"eprewmean": "high"'))
    found = load_runs([tmp_path])
    assert found.runs == []
    problems = {problem.path.name: problem.reason for problem in found.problems}
    assert "cannot be read" in problems["config"]
    assert "seed is 'one'" in problems["types"]
    assert "line 1" in problems["record"]
    assert "not a number" in problems["number"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "[]",
        lambda text: text.replace('"summary"', '"sum"'),
        lambda text: text.replace('"return": 2.0', '"return": null'),
        lambda text: text.replace('"return": 2.0', '"return": NaN'),
        lambda text: text.replace('"interval_95"', '"interval"'),
        lambda text: text.replace('"environment": "Pong"', '"env": "Pong"'),
        lambda text: text.replace('"environment": "Pong"', '"environment": "![i](http://x)"'),
        lambda text: text.replace('"protocol": "aligned"', '"protocol": "<b>"'),
    ],
)
def test_a_damaged_evaluation_is_named_and_leaves_the_run(tmp_path, damage):
    path = write_run(tmp_path / "a", CNN, [1.0])
    file = write_evaluation(path, [1, 2, 6])
    text = file.read_text()
    file.write_text(damage(text))
    assert file.read_text() != text
    found = load_runs([tmp_path])
    assert [problem.path for problem in found.problems] == [file]
    (run,) = found.runs
    assert run.evaluations == ()


def test_a_machine_that_is_not_described_is_named(tmp_path):
    write_run(tmp_path / "a", CNN, [1.0], machine="box")
    (problem,) = load_runs([tmp_path]).problems
    assert "a machine described as 'box'" in problem.reason


def test_scores_under_another_protocol_do_not_take_the_place_of_aligned_ones(tmp_path):
    for cell, protocol in ((CNN, "aligned"), (FLS, "Aa")):
        file = write_evaluation(write_run(tmp_path / cell.network, cell, [1.0]), [1, 2, 6])
        file.write_text(file.read_text().replace('"aligned"', f'"{protocol}"'))
    selection = select(load_runs([tmp_path]), PILOT)
    assert selection.protocol == "aligned"
    assert [selection.state(cell) for cell in (CNN, FLS)] == ["evaluated", "not evaluated"]


def test_gaze_summaries(tmp_path):
    path = write_run(tmp_path / "a", CNN, [1.0])
    write_gaze(path, {"model": {"nss": 1.5, "kl": None}})
    (run,) = load_runs([tmp_path]).runs
    assert run.gaze[0]["scores"]["model"]["nss"]["mean"] == 1.5
    shutil.copytree(path / "gaze" / "aligned-screen", path / "gaze" / "aligned-screen.old-1")
    file = path / "gaze" / "aligned-screen" / "summary.json"
    file.write_text(file.read_text().replace('"mean": 1.5', '"mean": "high"'))
    found = load_runs([tmp_path])
    assert [problem.path for problem in found.problems] == [file]
    assert found.runs[0].gaze == ()


def test_other_runs_are_no_cells(tmp_path):
    write_run(tmp_path / "good", CNN, [1.0, 2.0])
    write_run(tmp_path / "again", CNN, [1.0], updates=[50])
    write_run(tmp_path / "other", Cell("Pong", "cnn_daqn", 1), [1.0])
    smoke = write_run(tmp_path / "smoke", Cell("Pong", "cnn", 9), [1.0])
    config = json.loads((smoke / "config.json").read_text()) | {"total_steps": 10_240, "checkpoint_every": 5}
    (smoke / "config.json").write_text(json.dumps(config))
    write_run(tmp_path / "good.old-1", CNN, [7.0])
    selection = select(load_runs([tmp_path, tmp_path / "good"]), PILOT)
    assert {cell: run.path.name for cell, run in selection.runs.items()} == {CNN: "good"}
    reasons = {problem.path.name: problem.reason for problem in selection.problems}
    assert set(reasons) == {"again", "other", "smoke"}
    assert "trained further" in reasons["again"]
    assert "not a cell" in reasons["other"]
    assert reasons["smoke"].endswith("(total_steps: 2000000 -> 10240)")


def test_of_two_copies_of_a_run_the_one_with_results_is_taken(tmp_path):
    write_run(tmp_path / "a", CNN, [1.0])
    write_evaluation(write_run(tmp_path / "b", CNN, [1.0]), [3.0])
    selection = select(load_runs([tmp_path]), PILOT)
    assert selection.state(CNN) == "evaluated"
    (problem,) = selection.problems
    assert (problem.path.name, problem.reason) == ("a", f"the same cell as {tmp_path / 'b'}, which is as far")


def test_scores_of_two_protocols_are_not_put_together(tmp_path):
    def under_paper(path, returns):
        file = write_evaluation(path, returns)
        file.write_text(file.read_text().replace('"protocol": "aligned"', '"protocol": "paper"'))
        return file

    paper = under_paper(write_run(tmp_path / "a", CNN, [1.0]), [3.0])
    alone = select(load_runs([tmp_path]), PILOT)
    assert (alone.protocol, alone.state(CNN), alone.problems) == ("paper", "evaluated", [])
    write_evaluation(write_run(tmp_path / "b", FLS, [1.0]), [5.0])
    both = select(load_runs([tmp_path]), PILOT)
    assert (both.protocol, both.state(FLS), both.state(CNN)) == ("aligned", "evaluated", "not evaluated")
    assert [problem.path for problem in both.problems] == [paper]


def test_a_run_without_rows(tmp_path):
    (run,) = load_runs([write_run(tmp_path / "a", CNN, [])]).runs
    assert (run.env_step, run.finished) == (0, False)
    assert math.isnan(run.steps_per_second)
    assert run.config == PILOT.config(CNN)
