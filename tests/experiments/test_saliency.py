"""Tables of saliency methods on the results page."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from experiments.analysis.runs import load_runs
from experiments.commands.figures import Settings, make_figures
from experiments.data.grid import Cell
from experiments.pages.saliency import saliency_table
from fls_jax.runs.record import pack, packed
from tests.experiments.folders import LAST_STEP, write_evaluation, write_run

CELL = Cell("Pong", "cnn", 1)
AGENT = f"Pong/cnn/{LAST_STEP}"
SUMMARY = {
    "game": "Pong", "network": "cnn", "training_seed": 1, "env_step": LAST_STEP,
    "targets": ["action", "value"], "count": 48, "frames": {"episodes": 8, "insertion_deletion": 24},
    "complete": True, "objects": {"from": "memory", "kinds": ["ball", "player"]},
}  # fmt: skip
INSERTION = "insertion_blurred_probability"
ROWS = [
    (AGENT, "greydanus", "action", INSERTION, 0.7512, 0.7, 0.8, 24),
    (AGENT, "greydanus - random", "action", INSERTION, 0.2, 0.1, 0.3, 24),
    (AGENT, "greydanus - untrained", "action", INSERTION, -0.1, -0.2, -0.05, 24),
    (AGENT, "greydanus", "action", "lift:ball", 31.25, 20, 40, 40),
    (AGENT, "greydanus - random", "action", "lift:ball", 30.2, -1, 40, 40),
    (AGENT, "greydanus", "value", "lift:ball", 99, 98, 100, 40),
    (AGENT, "random", "action", INSERTION, 0.55, 0.5, 0.6, 24),
    (AGENT, "random", "action", "effective_area", 0.75, 0.74, 0.76, 48),
    (f"{AGENT} untrained", "greydanus", "action", INSERTION, 0.85, 0.8, 0.9, 24),
]


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", CELL, [8.0])
    write_evaluation(path, [8.0, 8.0])
    folder = path / "saliency" / f"{LAST_STEP}-48-1000"
    (folder / "maps").mkdir(parents=True)
    (folder / "maps" / "greydanus.npz").write_bytes(b"many maps")
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    columns = ["agent", "method", "target", "metric", "value", "low", "high", "n"]
    pd.DataFrame(ROWS, columns=columns).to_csv(folder / "scores.csv", index=False)
    return path


def test_the_table_has_the_agents_numbers_and_marks_what_differs(run):
    ((summary, scores),) = load_runs([run]).runs[0].saliency
    table = saliency_table(summary, scores)
    assert table.columns[:5] == ("method", "insertion", "black", "background", "KL")
    assert [row[0] for row in table.rows] == ["greydanus", "random"]
    greydanus, random = table.rows
    assert greydanus[1] == "0.751 r+u-"
    assert [greydanus[table.columns.index(name)] for name in ("black", "ball", "player")] == [
        "none",
        "31.2",
        "none",
    ]
    assert random[1] == "0.55"
    assert random[table.columns.index("area")] == "0.75"
    assert table.data.value.tolist() == [0.7512, 31.25, 0.55, 0.75]
    assert "48 frames of 8 games, 24 of them" in table.notes[0]


def test_an_agent_with_a_cost_on_attention_has_its_own_name(run):
    ((summary, scores),) = load_runs([run]).runs[0].saliency
    costly = scores.assign(agent=scores.agent.str.replace("cnn", "cnn_patch_fls-cost0.001"))
    table = saliency_table(summary | {"network": "cnn_patch_fls"}, costly)
    assert table.rows == saliency_table(summary, scores).rows
    assert "Pong, cnn_patch_fls-cost0.001, seed 1" in table.title


def test_attention_stands_there_untrained_too(run):
    ((summary, scores),) = load_runs([run]).runs[0].saliency
    scores = scores.assign(method=scores.method.str.replace("greydanus", "attention"))
    trained, untrained, random = saliency_table(summary, scores).rows
    assert (trained[:2], untrained[:2]) == (["attention", "0.751 r+u-"], ["attention, untrained", "0.85"])
    assert random[0] == "random"


def test_without_scores_of_its_target_the_table_is_empty(run):
    ((summary, scores),) = load_runs([run]).runs[0].saliency
    table = saliency_table(summary | {"targets": ["policy"]}, scores)
    assert table.rows == []
    assert "Pong, cnn, seed 1" in table.title


def test_it_stands_on_the_results_page_and_a_damaged_one_is_named(run, tmp_path):
    page = tmp_path / "out/README.md"
    make_figures(Settings(roots=(run,), out=tmp_path / "out", page=page))
    assert saliency_table(*load_runs([run]).runs[0].saliency[0]).markdown() in page.read_text()
    file = next(run.glob("saliency/*/scores.csv"))
    file.write_text("agent,method\n")
    found = load_runs([run])
    assert found.runs[0].saliency == ()
    assert ["it lacks high, low" in problem.reason for problem in found.problems] == [True]


def test_in_an_archive_it_is_compressed(run):
    ((_, before),) = load_runs([run]).runs[0].saliency
    file = next(run.glob("saliency/*/scores.csv"))
    pack(file, packed(file))
    file.unlink()
    ((_, scores),) = load_runs([run]).runs[0].saliency
    pd.testing.assert_frame_equal(scores, before)
    packed(file).write_bytes(packed(file).read_bytes()[:-20])
    found = load_runs([run])
    assert found.runs[0].saliency == ()
    assert len(found.problems) == 1


def test_one_that_was_stopped_is_left_out(run):
    file = next(run.glob("saliency/*/summary.json"))
    file.write_text(json.dumps(SUMMARY | {"complete": False}))
    found = load_runs([run])
    assert found.runs[0].saliency == ()
    assert not found.problems
