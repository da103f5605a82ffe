"""How the results are to be read follows from the runs."""

from __future__ import annotations

import re

import pytest

from experiments.analysis.runs import Runs, load_runs
from experiments.analysis.selection import select
from experiments.commands.figures import Settings, make_figures
from experiments.data.grid import PAPER, Cell
from experiments.pages.free_lunch import free_lunch_table
from experiments.pages.reading import reading
from tests.experiments.folders import PAIRS, write_evaluation, write_gaze, write_pilot, write_run


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_pilot(root)
    return select(load_runs([root]), PAIRS)


def read(selection):
    return "\n".join(reading(selection, free_lunch_table(selection).data))


def test_how_far_it_is(pilot):
    text = read(pilot)
    assert "12 runs are planned: 5 evaluated, 1 unfinished, 6 not run; " in text
    hours = sum(run.history["seconds_total"].max() for run in pilot.runs.values()) / 3600
    assert f"{hours:,.1f} hours of training so far" in text
    assert "**Seeds.** 1 to 2 a score; the paper has 5." in text
    assert "2M agent steps, 4% of the paper's 50M" in text
    assert "Pong is not among the paper's" in text
    assert "It does not show whether the paper is right" in text


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([30, 31, 32], "1 with an interval above 0, 0 with one below, 0 with one that holds 0"),
        ([1, 2, 3], "0 with an interval above 0, 1 with one below, 0 with"),
        ([8, 10, 12], "0 with an interval above 0, 0 with one below, 1 with one that holds 0, which is not"),
    ],
)
def test_differences_are_counted_by_their_intervals(ours, words, tmp_path):
    for network, returns in (("cnn", [9, 10, 11]), ("cnn_sparse_fls", ours)):
        write_evaluation(write_run(tmp_path / network, Cell("Pong", network, 1), [1.0]), returns)
    text = read(select(load_runs([tmp_path]), PAIRS))
    assert f"1 difference to the baseline: {words}" in text
    assert "another seed may well end outside it" in text
    assert "these compare the agents that were trained, not the networks." in text


def test_without_any_run():
    text = read(select(Runs(), PAPER))
    assert "450 runs are planned: 450 not run." in text
    assert "No finished run has been evaluated yet" in text
    assert "No network has a score beside the baseline's" in text
    assert "50M agent steps, as in the paper" in text
    assert "not among the paper's" not in text
    assert "The whole grid was run" not in text
    assert "Nothing yet: no run was evaluated." in text
    assert "the system works" not in text


def test_the_page_may_lie_elsewhere_and_its_pictures_are_found(tmp_path):
    write_pilot(tmp_path / "runs")
    scores = {"model": {"nss": 1.25, "kl": None}, "uniform": {"nss": 0.5, "kl": 2.0}}
    write_gaze(tmp_path / "runs" / "MsPacman" / "cnn_sparse_fls" / "seed1", scores)
    page = tmp_path / "results" / "README.md"
    written = make_figures(
        Settings(
            roots=(tmp_path / "runs",), out=tmp_path / "results" / "figures", page=page, benchmarks=tmp_path
        )
    )
    assert written[-1] == page
    links = re.findall(r"\]\((.*?)\)", page.read_text())
    assert links == [
        f"figures/pilot/{name}.svg" for name in ("curves", "curves_others", "scores_plot", "lengths")
    ]
    assert all((page.parent / link).exists() for link in links)
    assert not (tmp_path / "results" / "figures" / "pilot" / "README.md").exists()
    gaze = page.read_text().split("## Saliency against human gaze")[1]
    assert "### MsPacman, cnn_sparse_fls, seed 1, step 1,999,872: protocol aligned, screen" in gaze
    assert "| map | NSS | KL |" in gaze
    assert "| model | 1.250 [1.150, 1.350] (90%) | *undefined (0%)* |" in gaze
