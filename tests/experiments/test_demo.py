"""The demo: shipped agents really play, and what stands in its folder says so."""

from __future__ import annotations

import json
import re
import shutil
import sys

import av
import numpy as np
import pandas as pd
import pytest

from experiments.commands.demo import Settings, Stopped, _report, main, make_demo
from experiments.commands.ship import Settings as ShipSettings
from experiments.commands.ship import ship
from fls_jax.errors import UserError
from fls_jax.film.drawing import AgentTile
from fls_jax.runs.folder import RunFolder
from tests.experiments.agents import STEP, shipped, write_agent
from tests.experiments.folders import write_attention, write_pilot
from tests.run_folders import edit_config

STEPS = 4


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """A Breakout pair, shipped."""
    root = tmp_path_factory.mktemp("agents")
    for network, returns in (("cnn", [2, 5, 8]), ("cnn_sparse_fls_pool", [10, 20])):
        shipped(root / "runs" / network, root / "pretrained", network=network, returns=returns)
    write_attention(root / "runs/cnn_sparse_fls_pool", STEP)
    ship(ShipSettings(root / "runs/cnn_sparse_fls_pool", out=root / "pretrained", update=True))
    return root / "pretrained"


@pytest.fixture(scope="module")
def demo(agents, tmp_path_factory):
    """(settings, the files) of a demo."""
    root = tmp_path_factory.mktemp("demo")
    write_pilot(root / "records")
    settings = Settings(agents, root / "records", games=2, steps=STEPS, out=root / "demo")
    return settings, make_demo(settings)


def games_played(settings, network):
    file = settings.out / "agents" / "Breakout" / network / "evaluation" / f"{STEP}-standard.json"
    return file, json.loads(file.read_text())["games"]


def test_the_agents_of_a_game_are_filmed_side_by_side(demo):
    settings, written = demo
    assert written[0] == settings.out / "Breakout.mp4"
    with av.open(str(written[0])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == STEPS
    assert frames[0].shape == (AgentTile.HEIGHT, 2 * AgentTile.WIDTH, 3)


def test_the_table_is_of_the_games_that_were_played_and_of_the_recorded_ones(demo):
    settings, written = demo
    table = pd.read_csv(settings.out / "scores.csv").set_index("network")
    assert list(table.index) == ["cnn", "cnn_sparse_fls_pool"]
    for network, recorded in (("cnn", [2, 5, 8]), ("cnn_sparse_fls_pool", [10, 20])):
        _, games = games_played(settings, network)
        assert sorted(game["environment"] for game in games) == [0, 1]
        assert all(game["steps"] > 50 for game in games)
        assert table.loc[network, "mean_now"] == pytest.approx(np.mean([game["return"] for game in games]))
        assert table.loc[network, "mean"] == pytest.approx(np.mean(recorded))
        assert table.loc[network, "games"] == len(recorded)
    text = (settings.out / "scores.md").read_text()
    assert re.search(r"\| Breakout \| cnn \| 2,048 \| 2 \| .* \| 3 \| 5.0 ± 2.4 \| .* \| 618 ± 209 \|", text)
    assert {path.name for path in written} == {
        "Breakout.mp4", "curves.svg", "curves.png", "scores.svg", "scores.png", "scores.csv", "scores.md",
        "attention.md", "report.html",
    }  # fmt: skip


def test_what_replacing_attention_changed_is_in_a_file(demo):
    settings, _ = demo
    text = (settings.out / "attention.md").read_text()
    assert re.search(r"\| mean \| 4 \| -1\.5 \| -9\.5 \| -14\.5 to -4\.5 \|", text)


def test_the_shipped_agents_are_left_as_they_are(demo, agents):
    assert not list(agents.rglob("evaluation"))
    assert not list(agents.rglob("video"))


def test_again_keeps_the_games(demo, capsys):
    settings, written = demo
    file, _ = games_played(settings, "cnn")
    before = file.stat().st_mtime_ns
    assert make_demo(settings) == written
    assert file.stat().st_mtime_ns == before
    assert capsys.readouterr().out.count("This evaluation is finished") == 2


def test_another_number_of_games_and_a_changed_agent(tmp_path, monkeypatch):
    for drawn in ("_films", "_curves", "_scores"):
        monkeypatch.setattr(f"experiments.commands.demo.{drawn}", lambda *_: [])
    run = tmp_path / "run"
    target = shipped(run, tmp_path / "pretrained", network="cnn")
    settings = Settings(tmp_path / "pretrained", tmp_path / "none", games=1, steps=1, out=tmp_path / "demo")
    make_demo(settings)
    make_demo(Settings(settings.agents, settings.records, games=2, steps=1, out=settings.out))
    file, games = games_played(settings, "cnn")
    assert len(games) == 2
    assert file.with_name(f"{file.name}.old-1").exists()
    edit_config(target, seed=4)
    make_demo(settings)
    file, games = games_played(settings, "cnn")
    assert len(games) == 1
    assert RunFolder(file.parents[1]).read_config()["seed"] == 4
    assert (file.parents[1].with_name("cnn.old-1") / "evaluation").is_dir()


def test_without_records_the_curves_say_so(tmp_path, monkeypatch, agents, capsys):
    arguments = ["demo", "--agents", str(agents), "--records", str(tmp_path), "--games", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path / "demo")])
    monkeypatch.setattr("experiments.pages.presentation._SETTINGS", {"svg.fonttype": "none"})
    assert main() == 0
    assert (tmp_path / "demo" / "curves.svg").read_text().count(">not run<") == 3
    last = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert len(last) == 9
    assert last[-1].endswith("report.html")
    assert all(line.startswith(str(tmp_path / "demo")) for line in last)


def test_a_copy_cut_short_is_made_again(agents, tmp_path, monkeypatch):
    copied = shutil.copytree

    def cut(source, target, **options):
        target.mkdir()
        shutil.copyfile(source / "config.json", target / "config.json")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copytree", cut)
    with pytest.raises(UserError, match=r"No space left on device.*free space"):
        make_demo(Settings(agents, tmp_path, games=1, steps=1, out=tmp_path / "demo"))
    monkeypatch.setattr(shutil, "copytree", copied)
    make_demo(Settings(agents, tmp_path, games=1, steps=1, out=tmp_path / "demo"))


@pytest.mark.parametrize(("name", "value"), [("game", "../../elsewhere"), ("network", "../../elsewhere")])
def test_a_config_cannot_name_a_place_outside(tmp_path, name, value):
    edit_config(shipped(tmp_path / "run", tmp_path / "pretrained", network="cnn"), **{name: value})
    with pytest.raises(UserError, match=f"There is no {name}"):
        make_demo(Settings(tmp_path / "pretrained", out=tmp_path / "a" / "b" / "demo"))
    assert not list(tmp_path.rglob("elsewhere"))


def test_an_unfinished_agent_is_called_so(tmp_path, monkeypatch):
    for drawn in ("_films", "_curves"):
        monkeypatch.setattr(f"experiments.commands.demo.{drawn}", lambda *_: [])
    run = write_agent(tmp_path / "run", network="cnn")
    edit_config(run, total_steps=4096)
    ship(ShipSettings(run, out=tmp_path / "pretrained", unfinished=True))
    make_demo(Settings(tmp_path / "pretrained", tmp_path, games=1, steps=1, out=tmp_path / "demo"))
    assert "| Breakout | cnn | 2,048, unfinished |" in (tmp_path / "demo" / "scores.md").read_text()


def test_with_nothing_to_show_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    for agents in (tmp_path, tmp_path / "nothing"):
        arguments = ["demo", "--agents", str(agents), "--out", str(tmp_path / "demo")]
        monkeypatch.setattr(sys, "argv", arguments)
        assert main() == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert re.fullmatch(r"demo: There is no trained agent in .*: make one .*RUN`\.\n", told.err)
    assert not (tmp_path / "demo").exists()


def test_runs_are_not_played_in_place_of_pretrained_agents(tmp_path):
    write_agent(tmp_path / "run")
    with pytest.raises(UserError, match="run is not a shipped agent"):
        make_demo(Settings(tmp_path, out=tmp_path / "demo"))


def test_a_signal_ends_it_without_a_traceback(agents, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.commands.demo.evaluate", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["demo", "--agents", str(agents), "--out", str(tmp_path)])
    assert main() == 130
    assert capsys.readouterr().err == "demo: stopped; the same command resumes it.\n"


def test_a_signal_while_clips_are_recorded_ends_it_too(monkeypatch):
    """The report then returns no file; the demo does not go on to claim one."""
    monkeypatch.setattr("experiments.commands.demo.report", lambda *_, **__: [])
    with pytest.raises(Stopped):
        _report([], Settings())
