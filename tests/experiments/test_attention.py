"""Tables of replaced attention: on the results page, on cards and on W&B."""

from __future__ import annotations

import json

import pytest

from experiments.analysis.runs import load_runs
from experiments.commands.figures import Settings, make_figures
from experiments.data.grid import Cell
from experiments.pages.attention import attention_table
from fls_jax.runs.folder import RunFolder
from fls_jax.wandb.sync import pack
from tests.experiments.folders import ATTENTION, LAST_STEP, write_attention, write_evaluation, write_run

CELL = Cell("Pong", "cnn_sparse_fls", 1)


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", CELL, [8.0])
    write_evaluation(path, [8.0, 8.0])
    write_attention(path)
    return path


def test_the_table():
    table = attention_table(ATTENTION)
    trained, mean, constant = table.rows
    assert trained[:5] == ["trained", "4", "8.0", "", ""]
    assert mean[2:5] == ["-1.5", "-9.5", "-14.5 to -4.5"]
    assert constant[3:5] == ["-26.0", ""]
    assert "effective area 0.780; Gini 0.381" in table.notes[1]
    assert "a uniform map's undefined (one of them is flat)" in table.notes[1]
    assert table.data["difference"].tolist()[1:] == [-9.5, -26.0]


def test_it_stands_on_the_results_page_and_a_damaged_one_is_named(run, tmp_path):
    page = tmp_path / "out/README.md"
    settings = Settings(roots=(tmp_path,), out=tmp_path / "out", page=page)
    make_figures(settings)
    assert attention_table(ATTENTION).markdown() in page.read_text()
    file = run / "attention" / f"{LAST_STEP}-standard.json"
    file.write_text(json.dumps(ATTENTION | {"replacements": {"mean": {}}}))
    found = load_runs([tmp_path])
    assert found.runs[0].attention == ()
    assert [str(file) in problem.reason for problem in found.problems] == [True]


def test_it_is_sent_to_wandb_under_names_of_its_own(run):
    (parcel,) = [each for each in pack(RunFolder(run), "p") if "attention" in each.identity.title]
    assert parcel.what.row["attention-replaced/Pong/mean/difference"] == -9.5
    assert parcel.what.row["attention-map/Pong/gini"] == 0.381
    assert parcel.what.tables["attention/Pong"]["attention"] == ["trained", "mean", "constant:1"]
    scores = [each for each in pack(RunFolder(run), "p") if "standard" in each.identity.title]
    assert len(scores) == 1  # replaced attention gives the agent no score
