"""Figures from run folders: what is drawn, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.analysis.runs import Runs, load_runs
from experiments.analysis.selection import select
from experiments.commands.figures import Settings, main, make_figures
from experiments.data.grid import ABLATIONS, BASELINE, PAPER, Cell
from experiments.data.style import STYLES
from experiments.pages.plots import band, draw_curves, draw_scores
from experiments.pages.presentation import Empty, Table, draw_table
from experiments.pages.tables import runs_table, score_table
from fls_jax.errors import UserError
from tests.experiments.folders import PAIRS, UPDATES, write_pilot, write_run


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_pilot(root)
    return root


@pytest.fixture(scope="module")
def drawn(pilot, tmp_path_factory):
    """(the files, the folder that holds the experiment's)."""
    out = tmp_path_factory.mktemp("out")
    return make_figures(Settings(roots=(pilot,), out=out, benchmarks=out / "missing")), out / "pilot"


def test_every_picture_and_table_is_there(drawn):
    files, folder = drawn
    assert sorted(files) == sorted(folder.iterdir())
    names = {path.name for path in files}
    for stem in ("curves", "scores_plot", "runs", "scores", "free_lunch", "parameters", "throughput"):
        assert {f"{stem}.svg", f"{stem}.png"} <= names
    assert "curves_others.svg" in names  # networks on patches
    for path in files:
        if path.suffix == ".png":
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert picture.min() < 60 < 250 < picture.max()
    page = (folder / "README.md").read_text()
    assert set(re.findall(r"\]\((.*?)\)", page)) <= names
    assert page.index("curves.svg") < page.index("final scores")
    assert "*No run has been scored: see docs/gaze.md.*" in page
    assert "| Breakout | cnn |  |  | *not run* |" in page
    assert "| MsPacman | cnn_sparse_fls |  |  | *unfinished: 1.00M of 2M steps* |" in page


@pytest.mark.parametrize("network", ["cnn", "cnn_sparse_fls"])
def test_one_network_alone_is_drawn_with_tables_that_say_none(tmp_path, network):
    write_run(tmp_path / "runs", Cell("Pong", network, 1), [1.0, 2.0])
    *files, page = make_figures(
        Settings("own", roots=(tmp_path / "runs",), out=tmp_path, benchmarks=tmp_path)
    )
    assert all(path.stat().st_size for path in files)
    assert f"| Pong | {network} | 1 |" in page.read_text()
    table = Table("empty", "No rows", ("game", "mean"), [], pd.DataFrame(), ["A note."])
    assert "| *none* |  |" in table.markdown()
    assert draw_table(table).texts


def test_own_runs_of_any_settings_are_drawn(tmp_path):
    for network in ("cnn", "cnn_sparse_fls"):
        path = write_run(tmp_path / "runs" / network, Cell("Alien", network, 3), [300.0, 400.0, 500.0])
        config = json.loads((path / "config.json").read_text()) | {"gamma": 0.9, "total_steps": 50_000_000}
        (path / "config.json").write_text(json.dumps(config))
    settings = Settings("own", roots=(tmp_path / "runs",), out=tmp_path / "out", benchmarks=tmp_path)
    page = make_figures(settings)[-1]
    text = page.read_text()
    assert page == tmp_path / "out" / "own" / "README.md"
    assert "2 runs: 2 unfinished" in text
    assert "| Alien | cnn_sparse_fls | 3 | *unfinished* | 1,999,872 |" in text
    assert "Left out" not in text
    with pytest.raises(UserError, match="There are no runs"):
        make_figures(dataclasses.replace(settings, roots=(tmp_path / "none",)))


def test_the_same_bytes_in_another_process_from_a_copy_and_with_other_settings(drawn, pilot, tmp_path):
    files, _ = drawn
    copy = tmp_path / "copy"
    shutil.copytree(pilot / "Pong", copy / "z" / "Pong")
    for game in ("MsPacman", "Breakout"):
        shutil.copytree(pilot / game, copy / game)
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 9\nsvg.hashsalt: other\n")
    command = [sys.executable, "-m", "experiments.commands.figures", "--out", str(tmp_path / "out")]
    command += ["--roots", str(copy), str(tmp_path / "nothing"), "--benchmarks", str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | {"MATPLOTLIBRC": str(tmp_path)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == len(files)
    for path in files:
        assert (tmp_path / "out" / "pilot" / path.name).read_bytes() == path.read_bytes(), path.name
    assert b"<dc:date" not in files[0].read_bytes()


def test_what_is_left_out_is_listed_and_matplotlibs_settings_are_left_alone(pilot, tmp_path):
    shutil.copytree(pilot / "Breakout", tmp_path / "runs" / "a")
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "config.json").write_text("{")
    write_run(tmp_path / "runs" / "c", Cell("Pong", "cnn", 1), [])  # nothing recorded yet
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 3}):
        make_figures(Settings(roots=(tmp_path / "runs",), out=tmp_path / "out", benchmarks=tmp_path))
        assert matplotlib.rcParams["font.size"] == 3
    assert dict(matplotlib.rcParams) == before
    page = (tmp_path / "out" / "pilot" / "README.md").read_text()
    left_out = page.split("## Left out")[1]
    assert f"- {tmp_path / 'runs' / 'b'}: " in left_out
    assert "runs/a" not in left_out
    assert "| Pong | cnn | 1 | *unfinished* | 0 | *unknown* | *none yet* |" in page


def test_the_papers_grid_without_any_run():
    selection = select(Runs(), PAPER)
    assert score_table(selection).markdown().count("*not run*") == 15 * 6 + 8
    assert "6,949 ± 2,569" in score_table(selection).markdown()
    assert len(runs_table(selection).rows) == 15 * 6
    figure = draw_curves(selection, (BASELINE, *ABLATIONS), "Title")
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["not run"] * 6
    assert not figure.legends


class TestBand:
    def test_mean_and_std_over_seeds_by_step(self, tmp_path):
        a = write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [None, 1.0, 2.0, 3.0], updates=[1, 2, 3, 4])
        b = write_run(tmp_path / "b", Cell("Pong", "cnn", 9), [None, 5.0, 8.0], updates=[1, 2, 3])
        runs = load_runs([a, b]).runs
        curve = band(runs)
        assert curve["env_step"].tolist() == [2048, 3072]  # as long as both have a score
        np.testing.assert_allclose(curve["mean"], [3, 5])
        np.testing.assert_allclose(curve["std"], [2, 3])
        assert curve["seeds"].tolist() == [2, 2]

    def test_nothing_yet(self, tmp_path):
        path = write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [None, None], updates=[1, 2])
        assert band(load_runs([path]).runs).empty
        assert band([]).empty


def test_curves_show_the_runs(pilot):
    figure = draw_curves(select(load_runs([pilot]), PAIRS), ("cnn", "cnn_sparse_fls"), "Title")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["Pong", "MsPacman", "Breakout"]
    lines = {line.get_color(): line for line in panels["Pong"].lines}
    assert {STYLES["cnn"].colour, STYLES["cnn_sparse_fls"].colour} <= set(lines)
    assert len(panels["Pong"].collections) == 2  # bands only where there are two seeds
    assert len(panels["Breakout"].collections) == 0
    x, y = lines[STYLES["cnn"].colour].get_data()
    assert x[-1] == pytest.approx(1.999872)
    assert y[-1] == pytest.approx(11, abs=1.5)  # seeds end near 10 and 12
    halfway = [line for line in panels["MsPacman"].lines if len(line.get_xdata()) > 2]
    assert max(halfway[0].get_xdata()) == pytest.approx(1.0, abs=0.02)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "CNN (baseline): 2 seeds",
        "Sparse FLS: 1 to 2 seeds",
    ]


def test_a_seed_under_way_does_not_cut_off_the_others(tmp_path):
    write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [1.0, 2.0, 3.0], [100, 200, UPDATES])
    write_run(tmp_path / "b", Cell("Pong", "cnn", 9), [1.0, 2.0], [100, 200])
    write_run(tmp_path / "c", Cell("MsPacman", "cnn", 1), [None], [1])
    figure = draw_curves(select(load_runs([tmp_path]), PAIRS), ("cnn", "cnn_sparse_fls"), "Title")
    pong, pacman, breakout = figure.axes
    (line,) = [line for line in pong.lines if line.get_color() == STYLES["cnn"].colour]
    assert len(line.get_xdata()) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["CNN (baseline): 1 seed"]
    assert pong.get_title(loc="right") == "Sparse FLS: not run"
    said = [[text.get_text() for text in axes.texts] for axes in (pacman, breakout)]
    assert said == [["no whole game yet or not run"], ["not run"]]
    unplanned = draw_curves(select(load_runs([tmp_path]), PAIRS), ("cnn", "cnn_daqn"), "Title")
    assert unplanned.axes[0].get_title(loc="right") == ""


def test_scores_show_intervals_and_reasons(pilot):
    figure = draw_scores(select(load_runs([pilot]), PAIRS))
    pong, pacman, breakout = figure.axes
    assert [text.get_text() for text in pacman.texts] == ["not run", "unfinished: 1.00M of 2M steps"]
    assert [text.get_text() for text in breakout.texts] == ["not run"]
    assert not pong.texts
    colours = {line.get_color() for line in pong.lines}
    assert {STYLES["cnn"].colour, STYLES["cnn_sparse_fls"].colour} <= colours


def test_a_table_keeps_its_columns_apart():
    rows = [
        ["Pong", "", Empty("a long reason that spills to the left"), "1.5"],
        ["Breakout", "7", "3.0", "-2.5"],
    ]
    table = Table("name", "Title", ["game", "seeds", "mean\nreturn", "x"], rows, pd.DataFrame(), ["A note."])
    figure = draw_table(table)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts if text.get_text()]
    width, height = figure.canvas.get_width_height()
    for i, (text, box) in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= width, text
        assert 0 <= box.y0 < box.y1 <= height, text
        for other, another in boxes[i + 1 :]:
            assert not box.overlaps(another), (text, other)


def test_an_unwritable_folder_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = ["figures", "--out", str(tmp_path / "file"), "--roots", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("figures: ")
    assert len(told.err.splitlines()) == 1
