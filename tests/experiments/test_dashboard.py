"""The W&B workspace and report: valid, of what is sent, saved where there is a key."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.analysis.runs import Runs, load_runs
from experiments.analysis.selection import select
from experiments.commands.dashboard import publish
from experiments.data.grid import PAPER, Cell
from experiments.data.style import STYLES
from experiments.pages.wandb_views import build_report, build_workspace, parts, validated_json
from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder
from fls_jax.wandb.service import log_row
from fls_jax.wandb.sync import pack
from tests.experiments.folders import PAIRS, row, write_evaluation, write_gaze, write_run
from tests.wandb.wandb_server import wandb_server

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef01234567"
GAZE = {"model": dict.fromkeys(("nss", "kl", "kl_smoothed", "sauc"), 1.0)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished MsPacman pair with evaluations, gaze and a video."""
    root = tmp_path_factory.mktemp("runs")
    for network, returns in (("cnn", [100, 140]), ("cnn_sparse_fls", [160, 180])):
        path = write_run(root / network, Cell("MsPacman", network, 1), [50.0, 120.0])
        write_evaluation(path, returns, game="MsPacman")
        write_gaze(path, GAZE)
        (path / "video").mkdir()
        for variant in ("", "-greedy", "-paper", "-2-agents", "-gaze-118", "-gaze-118-paper"):
            (path / "video" / f"1999872{variant}.mp4").write_bytes(b"film")
    return root


@pytest.fixture(scope="module")
def selection(runs):
    return select(load_runs([runs]), PAIRS)


def panels(text):
    """All panels of the JSON of a workspace or a report."""
    found = []

    def visit(value):
        if isinstance(value, dict):
            if "viewType" in value:
                found.append(value)
            for each in value.values():
                visit(each)
        elif isinstance(value, list):
            for each in value:
                visit(each)

    visit(json.loads(text))
    return found


def shown(text):
    """Names of the numbers, tables and videos that panels show."""
    names = set()
    for panel in panels(text):
        names |= {*panel["config"].get("metrics", []), *panel["config"].get("mediaKeys", [])}
        names |= set(re.findall(r'"(gaze-maps/[^"]*)"', json.dumps(panel)))
    return names


def sent(root):
    """Names of all that a MsPacman run sends, the training columns as documented."""
    (path, *_) = sorted(root.iterdir())
    names = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "training.md").read_text()))
    logged = []
    training = row(1, 1.0, attention_mean=0.1, attention_max=0.2, attention_entropy=3.0)
    log_row(type("Run", (), {"log": lambda _, values, **__: logged.append(values)})(), training, "MsPacman")
    names |= set(logged[0])
    for parcel in pack(RunFolder(path), "p")[1:]:
        names |= {*parcel.what.row, *parcel.what.tables, *parcel.what.videos}
    return names


def test_shows_what_is_sent_and_nothing_else(selection, runs):
    for build in (build_workspace, build_report):
        names = shown(validated_json(build(selection, "entity", "project")))
        of_the_game = {name for name in names if "Pong" not in name and "Breakout" not in name}
        assert of_the_game <= sent(runs)
        assert {
            "eprewmean/MsPacman", "score/MsPacman/aligned/mean", "sps/MsPacman",
            "attention_entropy/MsPacman", "video/MsPacman", "video/MsPacman-gaze",
            "gaze/MsPacman/aligned-screen/nss", "gaze-maps/MsPacman/aligned-screen", "approx_kl",
        } <= names  # fmt: skip
        for pattern in ("eprewmean/{}", "score/{}/aligned/mean", "video/{}", "sps_overall/{}"):
            assert {pattern.format(game) for game in PAIRS.games} <= names
        assert "gaze/Pong/aligned-screen/nss" not in names  # no human gaze for Pong


def test_curves_are_bands_over_seeds_by_network(selection):
    plots = {
        panel["config"]["metrics"][0]: panel["config"]
        for panel in panels(validated_json(build_report(selection, "e", "p")))
        if "Line" in panel["viewType"]
    }
    curve = plots["eprewmean/Pong"]
    assert (curve["xAxis"], curve["groupBy"], curve["groupAgg"], curve["groupArea"]) == (
        "env_step", "network.value", "mean", "stddev",
    )  # fmt: skip


def test_tables_have_intervals_and_differences(selection):
    texts = "\n".join(
        panel["config"]["value"]
        for panel in panels(validated_json(build_workspace(selection, "e", "p")))
        if panel["viewType"] == "Markdown Panel"
    )
    assert re.search(
        r"\| MsPacman \| cnn_sparse_fls \| 1 / 1 \| 120 \| 170 \| \+50\.0 \| \+\S+ to \+\S+ \|", texts
    )
    assert "| Pong | cnn |  |  | *not run* |" in texts


def test_runs_of_the_experiment_alone_in_the_figures_colours(selection):
    spec = json.loads(validated_json(build_workspace(selection, "e", "p")))["spec"]["section"]
    (runset,) = spec["runSets"]
    filters = {each["key"]["name"]: each["value"] for each in runset["filters"]["filters"]}
    assert filters == {
        "total_steps": 2_000_000,
        "game": list(PAIRS.games),
        "network": ["cnn", "cnn_sparse_fls"],
        "seed": [1, 9],
    }
    assert runset["grouping"] == [{"section": "config", "name": "network.value"}]
    assert sorted(spec["customRunColors"].values()) == sorted(
        STYLES[name].colour for name in ("cnn", "cnn_sparse_fls")
    )


def test_the_report_counts_what_is_finished(tmp_path):
    write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [1.0], updates=[9])
    text = validated_json(build_report(select(load_runs([tmp_path]), PAIRS), "e", "p"))
    assert "0 of 12 runs of 2,000,000 agent steps are finished, 1 begun." in text


def test_what_is_left_out_of_the_tables_is_said(tmp_path):
    write_run(tmp_path / "runs" / "a", Cell("Pong", "cnn_daqn", 1), [1.0])
    done = dashboard(tmp_path / "runs", tmp_path)
    assert (
        f"Left out of the tables: {tmp_path / 'runs' / 'a'}: Pong, cnn_daqn, seed 1 is not a cell"
        in done.stdout
    )


def test_the_papers_grid_without_any_run():
    selection = select(Runs(), PAPER)
    assert [part.title for part in parts(selection)] == [
        "Learning curves", "Final scores", "Free lunch", "Attention", "Human gaze", "Videos",
        "Training health",
    ]  # fmt: skip
    names = shown(validated_json(build_report(selection, "e", "p")))
    assert "gaze/Enduro/aligned-screen/sauc" in names
    assert "gaze/BeamRider/aligned-screen/sauc" not in names


def test_json_that_is_read_back_as_something_else_is_refused(selection, monkeypatch):
    report = build_report(selection, "e", "p")
    numbers = itertools.count()  # different at every call
    monkeypatch.setattr("experiments.pages.wandb_views._plain", lambda model: {"number": next(numbers)})
    monkeypatch.setattr(
        "wandb_workspaces.reports.v2.internal.ReportViewspec.model_validate",
        lambda values: report._to_model(),
    )
    with pytest.raises(ValueError, match="something else"):
        validated_json(report)


def dashboard(runs, home, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HTTP"))}
    command = [
        sys.executable,
        "-m",
        "experiments.commands.dashboard",
        "--roots",
        str(runs),
        "--out",
        str(home / "out"),
    ]
    return subprocess.run(
        [*command, *arguments],
        env=kept | {"HOME": str(home), "NETRC": str(home / "netrc")} | environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_key_json_and_how_to_publish(runs, tmp_path):
    with wandb_server(refuses=True) as server:
        done = dashboard(runs, tmp_path, WANDB_BASE_URL=server.url, HTTPS_PROXY=server.url)
        assert server.calls == []
    assert (done.returncode, done.stderr) == (0, "")
    workspace, report, how = done.stdout.splitlines()
    for path in (workspace, report):
        assert panels(Path(path).read_text())
    assert how.startswith("Not published. There is no W&B key on this machine: set WANDB_API_KEY")


def test_with_a_key_saved_and_saved_again_in_the_same_place(runs, tmp_path):
    with wandb_server("file_stream") as server:
        for _ in range(2):
            done = dashboard(runs, tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
            assert (done.returncode, done.stderr) == (0, "")
            *_, workspace, report = done.stdout.splitlines()
            assert workspace.startswith(f"{server.url}/me/fls-jax?nw=")
            assert re.fullmatch(rf"{server.url}/me/fls-jax/reports/[\w.-]+--view1", report)
        assert len(server.views) == 2
        assert {view["type"] for view in server.views.values()} == {"runs", "project-view"}
        for view in server.views.values():
            assert shown(view["spec"]) >= {"eprewmean/MsPacman", "score/MsPacman/aligned/mean"}


def test_a_dashboard_that_half_failed_is_not_saved_twice(runs, tmp_path):
    with wandb_server("file_stream") as server:
        takes_all = dict(server.answers)
        for name in ("upsertView", "UpsertView2"):
            server.answers[name] = lambda view: (
                {"upsertView": None} if view["type"] == "project-view" else server.keep_view(view)
            )
        done = dashboard(runs, tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        assert done.returncode == 2
        assert len(server.views) == 1
        server.answers |= takes_all
        done = dashboard(runs, tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        assert (done.returncode, done.stderr) == (0, "")
        assert {view["type"] for view in server.views.values()} == {"runs", "project-view"}
        assert len(server.views) == 2


@pytest.mark.parametrize("text", ['{"me/fls', "[]", '{"me/fls-jax": 3}'])
def test_a_damaged_memory_of_dashboards_is_named(selection, tmp_path, text):
    (tmp_path / "saved.json").write_text(text)
    with pytest.raises(UserError, match=r"saved\.json cannot be read"):
        publish(selection, "me", "fls-jax", tmp_path / "saved.json")


def test_a_refused_dashboard_is_told(runs, tmp_path):
    with wandb_server("file_stream") as server:
        server.answers["upsertView"] = lambda _: {"upsertView": None}
        done = dashboard(runs, tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("dashboard: W&B has not taken the dashboard")
    assert KEY not in line
