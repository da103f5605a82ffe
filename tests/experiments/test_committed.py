"""What is committed: agents that load and play, cards and a results page that say what the runs say."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from experiments.analysis.runs import load_runs
from experiments.analysis.selection import select
from experiments.commands import demo, figures
from experiments.commands.demo import RECORDS, make_demo
from experiments.commands.figures import make_figures
from experiments.commands.ship import HOME
from experiments.data.grid import PILOT
from experiments.pages.cards import model_card
from experiments.pages.presentation import markdown_row
from experiments.pages.saliency import planted_table, saliency_table
from experiments.pages.tables import number, score_table
from experiments.pages.verdict import verdict_table
from fls_jax import load_agent
from fls_jax.runs.folder import find_runs

ROOT = Path(__file__).resolve().parents[2]
AGENTS = find_runs(HOME)
name = pytest.mark.parametrize("agent", AGENTS, ids=lambda path: "-".join(path.parts[-2:]))


@name
def test_a_pretrained_agent_loads_and_its_card_is_its_own(agent):
    config = json.loads((agent / "config.json").read_text())
    loaded = load_agent(agent)
    assert (loaded.game, loaded.config.variant) == agent.parts[-2:]
    assert (loaded.game, loaded.network) == (config["game"], config["network"])
    assert loaded.step == config["pretrained"]["env_step"]
    assert (agent / "README.md").read_text() == model_card(config)
    assert sum(path.stat().st_size for path in agent.rglob("*") if path.is_file()) < 20e6


def test_the_tracked_files_are_light():
    """A clone stays quick, and fits machines that take 64 MiB: weights live once, in `pretrained/`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 100
    assert sum(path.stat().st_size for path in files if path.is_file()) < 30e6


@pytest.mark.parametrize("path", [*AGENTS, *find_runs(RECORDS)], ids=lambda path: "-".join(path.parts[-3:]))
def test_nothing_committed_names_a_place_on_the_machine_it_was_made_on(path):
    for file in path.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".md", ""):
            found = re.search(rb'"(/(home|root|tmp|work|Users|mnt)/[^"]*)"', file.read_bytes())
            assert not found, (file, found)


def test_the_results_page_is_that_of_the_committed_records(tmp_path):
    settings = figures.Settings(
        roots=(RECORDS,),
        out=tmp_path / "figures",
        page=tmp_path / "README.md",
        benchmarks=ROOT / "benchmarks/results",
    )
    make_figures(settings)
    committed = (RECORDS / "README.md").read_text()
    assert (tmp_path / "README.md").read_text() == committed, "run `make results`"
    written = {path.name: path for path in (tmp_path / "figures" / "pilot").iterdir()}
    kept = {path.name: path for path in (RECORDS / "figures" / "pilot").iterdir()}
    assert written.keys() == kept.keys()
    assert {Path(name).suffix for name in kept} == {".csv", ".png", ".svg"}
    for name, path in kept.items():
        assert_same_content(written[name], path)


def assert_same_content(one: Path, other: Path) -> None:
    """The same table, drawing or picture, whatever its ids are called and however its numbers are rounded."""
    if one.suffix == ".csv":
        tables = [pd.read_csv(path) for path in (one, other)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-9, obj=one.name)
    elif one.suffix == ".svg":
        (words, numbers), (other_words, other_numbers) = map(drawing, (one, other))
        assert words == other_words, one.name
        np.testing.assert_allclose(numbers, other_numbers, atol=0.02, err_msg=one.name)
    else:
        pictures = [cv2.imread(str(path)).astype(float) for path in (one, other)]
        assert pictures[0].shape == pictures[1].shape, one.name
        assert np.abs(pictures[0] - pictures[1]).mean() < 0.05, one.name


def drawing(path: Path) -> tuple[str, np.ndarray]:
    """An SVG as its text without ids and with a mark for each number, and its numbers."""
    text = re.sub(r'(id="|#)[a-z]+[0-9a-f]{10,}', r"\1", path.read_text())
    number = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+")
    return number.sub("N", text), np.array([float(each) for each in number.findall(text)])


def changed(path: Path, before: str, after: str, folder: Path) -> Path:
    """A copy with its first `before` made `after`."""
    content = path.read_text()
    assert before in content
    (folder / path.name).write_text(content.replace(before, after, 1))
    return folder / path.name


def test_a_changed_number_of_a_table_or_a_drawing_is_noticed(tmp_path):
    figures = RECORDS / "figures" / "pilot"
    for name in ("scores.csv", "curves.svg"):
        assert_same_content(figures / name, figures / name)
    with pytest.raises(AssertionError):
        assert_same_content(
            changed(figures / "scores.csv", "3.70833", "3.70834", tmp_path), figures / "scores.csv"
        )
    line = re.search(r'<path d="M [\d.]+ ([\d.]+) ', (figures / "curves.svg").read_text())
    assert line is not None
    moved = line[0].replace(line[1], str(float(line[1]) + 0.5))
    with pytest.raises(AssertionError):
        assert_same_content(changed(figures / "curves.svg", line[0], moved, tmp_path), figures / "curves.svg")


def test_the_demo_of_an_agent_a_game_needs_no_network(tmp_path, monkeypatch):
    """The last of each game but Pong, whose games are the longest: all would play for a minute."""

    def connect(self, address):
        raise AssertionError(f"the demo called {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    agents = {agent.parent.name: agent for agent in AGENTS if agent.parent.name != "Pong"}
    for game, agent in agents.items():
        shutil.copytree(agent, tmp_path / "shipped" / game / agent.name)
    written = make_demo(demo.Settings(agents=tmp_path / "shipped", games=1, steps=5, out=tmp_path / "demo"))
    games = set(agents)
    assert {"Breakout", "MsPacman"} <= games
    assert {path.name for path in written} >= {"curves.svg", "scores.md", *(f"{game}.mp4" for game in games)}
    table = (tmp_path / "demo" / "scores.md").read_text().splitlines()
    for agent in agents.values():
        assert sum(line.startswith(f"| {agent.parent.name} | {agent.name} |") for line in table) == 1


def test_the_readme_says_what_the_records_say():
    selection = select(load_runs([RECORDS]), PILOT)
    told = {}
    for line in (ROOT / "README.md").read_text().split("## Results")[1].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0] in PILOT.games:
            told[cells[0], cells[1]] = cells[2:4]
    expected = {}
    for row in score_table(selection).data.to_dict("records"):
        game, network = row["environment"], row["network"]
        if row["state"] == "evaluated":
            ends = f"{number(row['low'])} to {number(row['high'])}"
            score = f"{number(row['mean'])} ({ends}; {row['games']:.0f} games)"
            expected[game, network] = [f"{row['seeds']:.0f}", score]
        else:
            expected[game, network] = ["", "under way" if selection.of(game, network) else "not run"]
    assert told == expected


def readme_verdict(text: str) -> str:
    """A verdict of the results page as the README has it: without margins and other numbers."""
    if ": " not in text or text.startswith("cnn"):
        return f"*{text}*"
    state, numbers = text.split(": ", 1)
    first = re.match(r"(?:area |mean )?([+\-\d.,]+\d(?: \([^;)]*)?)", numbers)
    assert first, text
    told = first[1] + (")" if "(" in first[1] else "")
    return f"{'**refuted**' if state == 'refuted' else state}: {told}"


def test_the_readme_judges_as_the_rule_does():
    front = (ROOT / "README.md").read_text().split("\n## ")[0]
    told = [line.strip("| ").split(" | ") for line in front.splitlines() if line.startswith("|")][2:]
    table = verdict_table(select(load_runs([RECORDS]), PILOT))
    expected = [[row[0], row[1], *map(readme_verdict, row[3:])] for row in table.rows]
    assert told == expected
    assert {"not refuted", "**refuted**"} <= {cell.split(":")[0] for row in told for cell in row[3:]}


def returns_at(history, steps):
    """As the pages write them: `eprewmean` after so many steps, without decimals from 100 on."""
    values = [history[history["env_step"] <= step]["eprewmean"].iloc[-1] for step in steps]
    return [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" for value in values]


def test_what_to_expect_is_what_the_records_say():
    page = (ROOT / "docs/training.md").read_text().split("## What to expect")[1].split("\n## ")[0]
    told = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")][2:]
    runs = select(load_runs([RECORDS]), PILOT).runs
    expected = [
        [cell.game, cell.network, *returns_at(run.history, (5e5, 1e6, 2e6))]
        for cell, run in runs.items()
        if run.finished
    ]
    assert sorted(told) == sorted(expected)


def test_the_curves_of_the_throughput_preset_are_those_of_the_records():
    page = (ROOT / "docs/scaling.md").read_text().split("learning curve on Pong")[1]
    rows = [line.strip("| ").split(" | ") for line in page.split("\n## ")[0].splitlines() if line[:1] == "|"]
    paper, preset = (RECORDS / place / "Pong/cnn_patch_fls/seed1" for place in ("pilot", "throughput"))
    histories = [load_runs([each]).runs[0].history for each in (paper, preset)]
    assert [row[1:] for row in rows[2:]] == [returns_at(each, (5e5, 1e6, 1.5e6, 2e6)) for each in histories]
    for run, interval in ((preset, "95% interval "), (paper, "")):
        (file,) = (run / "evaluation").glob("*-standard.json")
        summary = json.loads(file.read_text())["summary"]
        low, high = summary["interval_95"]["mean"]
        assert f"{summary['mean']:.1f} ({interval}{low:.1f} to {high:.1f}) with the" in page


def test_the_saliency_findings_are_those_of_the_records():
    """Every table stands on the page, and every number of its sentences in a table."""
    page = (ROOT / "docs/saliency-findings.md").read_text()
    compared = [each for run in load_runs([RECORDS]).runs for each in run.saliency]
    planted = planted_table(pd.read_csv(RECORDS / "planted_cue" / "scores.csv"))
    tables = [*(saliency_table(*each) for each in compared), planted]
    assert len(compared) >= 2
    for table in tables:
        assert "\n".join(map(markdown_row, table.rows)) in page, f"{table.title}: not as in the records"
    told = page.split("## What the tables say")[1].split("\n## ")[0]
    cells = {
        word.strip("()") for table in tables for row in table.rows for cell in row for word in cell.split()
    }
    numbers = re.findall(r"-?\d+\.\d+|\d+(?=%)", told)
    assert len(numbers) > 10
    assert [number for number in numbers if not {number, f"{number}%"} & cells] == []
