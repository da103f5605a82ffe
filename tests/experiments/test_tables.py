from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from experiments.analysis.runs import Runs, load_runs
from experiments.analysis.selection import select
from experiments.data.grid import PAPER, Cell
from experiments.pages.free_lunch import free_lunch_table
from experiments.pages.presentation import Empty, drawing_settings, write_table
from experiments.pages.tables import number, parameter_table, runs_table, score_table, signed
from experiments.pages.throughput import throughput_table
from fls_jax.networks.specs import NETWORKS, PUBLISHED
from fls_jax.runs.record import Record
from tests.experiments.folders import PAIRS, PROVENANCE, write_evaluation, write_run


def cells(table, *key):
    """The row of a table that begins with `key`, by column, line breaks taken out."""
    (row,) = [row for row in table.rows if tuple(row[: len(key)]) == key]
    return dict(zip((name.replace("\n", " ") for name in table.columns), row, strict=True))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Pong: cnn with seeds 1 and 9, Sparse FLS with seed 1."""
    root = tmp_path_factory.mktemp("runs")
    for name, network, seed, returns, sps in (
        ("a", "cnn", 1, [1, 2, 3], 240.0),
        ("b", "cnn", 9, [5, 6, 7], 260.0),
        ("c", "cnn_sparse_fls", 1, [10, 10, 16], 125.0),
    ):
        path = write_run(root / name, Cell("Pong", network, seed), [0.0, 4.5], sps=sps)
        write_evaluation(path, returns)
    return select(load_runs([root]), PAIRS)


def test_scores_beside_the_papers(pair):
    table = score_table(pair)
    ours = cells(table, "Pong", "cnn")
    assert ours["mean ± std"] == f"4.0 ± {np.std([1, 2, 3, 5, 6, 7]):.1f}"
    assert (ours["seeds"], ours["games"], ours["IQM"]) == ("2", "6", "4.0")
    assert ours["human- normalised"] == f"{(4 + 20.7) / 35.3:.2f}"
    low, high = (float(text) for text in ours["95% interval"].split(" to "))
    assert 1 < low < 4 < high < 7
    missing = cells(table, "Breakout", "cnn_sparse_fls")
    assert missing["the paper's mean ± std"] == "624 ± 211"
    assert missing["mean ± std"] == "not run"
    assert isinstance(missing["mean ± std"], Empty)
    assert {row[0] for row in table.rows} == {"Pong", "MsPacman", "Breakout"}
    data = table.data.set_index(["environment", "network"])
    assert data.loc[("Pong", "cnn"), "mean"] == 4
    assert np.isnan(data.loc[("Breakout", "cnn"), "mean"])
    assert data.loc[("Breakout", "cnn"), "paper_mean"] == 618


def test_breakout_infinite_stands_by_itself(tmp_path):
    path = write_run(tmp_path / "a", Cell("Breakout", "cnn", 1), [3.0])
    write_evaluation(path, [400, 402], game="Breakout")
    write_evaluation(path, [900, 1000], mode="infinite", game="Breakout")
    table = score_table(select(load_runs([tmp_path]), PAIRS))
    assert cells(table, "Breakout", "cnn")["mean ± std"] == "401 ± 1"
    infinite = cells(table, "BreakoutInfinite", "cnn")
    assert (infinite["mean ± std"], infinite["the paper's mean ± std"]) == ("950 ± 50", "652 ± 274")
    assert infinite["human- normalised"] == "none"
    grid = score_table(select(Runs(), PAPER))
    assert sum(row[0] == "BreakoutInfinite" for row in grid.rows) == 8


def test_the_free_lunch(pair):
    table = free_lunch_table(pair)
    row = cells(table, "Pong", "cnn_sparse_fls")
    assert (row["return of cnn"], row["return"], row["difference"], row["seeds"]) == (
        "4.0",
        "12.0",
        "+8.0",
        "1 / 2",
    )
    low, high = (float(text) for text in row["95% interval"].split(" to "))
    assert 3 < low < 8 < high < 13
    assert row["human-normalised difference"] == f"+{8 / 35.3:.3f}"
    assert (row["steps/s of cnn"], row["steps/s"], row["time per step"]) == ("250", "125", "2.00x")
    assert cells(table, "Breakout", "cnn_sparse_fls")["95% interval"] == "cnn_sparse_fls: not run"
    assert not any(row[0] == "all games" for row in table.rows)


def test_over_all_games_and_other_machines(tmp_path):
    for game, network, returns in (
        ("Pong", "cnn", [0, 2]),
        ("Pong", "cnn_sparse_fls", [4, 6]),
        ("Breakout", "cnn", [10, 20]),
        ("Breakout", "cnn_sparse_fls", [14, 24]),
    ):
        elsewhere = {"machine": {**PROVENANCE["machine"], "cpu": network}} if game == "Pong" else {}
        path = write_run(tmp_path / f"{game}{network}", Cell(game, network, 1), [1.0], **elsewhere)
        write_evaluation(path, returns, game=game)
    table = free_lunch_table(select(load_runs([tmp_path]), PAIRS))
    expected = np.mean([4 / 35.3, 4 / 28.8])
    assert cells(table, "all games")["human-normalised difference"] == f"+{expected:.3f}"
    assert cells(table, "Pong")["time per step"] == "other machine or code"
    assert cells(table, "Breakout")["time per step"] == "1.00x"
    assert table.rules[-1] == len(table.rows) - 1


def test_sessions_on_other_machines_and_code_are_named(tmp_path):
    """A run that moved is not shown under the machine where it began, and its speed compared with none."""
    for network in ("cnn", "cnn_sparse_fls"):
        write_run(tmp_path / network, Cell("Pong", network, 1), [1.0, 2.0])
    place = lambda: select(load_runs([tmp_path]), PAIRS)  # noqa: E731
    assert cells(free_lunch_table(place()), "Pong")["time per step"] == "1.00x"
    other = {"machine": PROVENANCE["machine"] | {"cpu": "Abacus 2"}, "commit": "f" * 40}
    sessions = Record(tmp_path / "cnn" / "sessions.jsonl")
    for step, details in ((1024, other), (2048, {})):  # the first one is known to config.json alone
        sessions.write({"env_step": step, **PROVENANCE, **details})
    sessions.close()
    row = cells(runs_table(place()), "Pong", "cnn", "1")
    assert row["machine"] == "Abacus 1, 2 cores; Abacus 2, 2 cores"
    assert row["commit"] == "0123456789, ffffffffff"
    assert cells(free_lunch_table(place()), "Pong")["time per step"] == "other machine or code"


def test_an_unfinished_run_has_no_speed_to_compare(tmp_path):
    write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [1.0])
    write_run(tmp_path / "b", Cell("Pong", "cnn_sparse_fls", 1), [1.0], updates=[9])
    row = cells(free_lunch_table(select(load_runs([tmp_path]), PAIRS)), "Pong")
    assert (row["steps/s of cnn"], row["steps/s"], row["time per step"]) == ("200", "", "")


def test_texts_of_others_are_no_markup(tmp_path):
    strange = PROVENANCE["machine"] | {"cpu": "<script>alert(1)</script> | $x^{$ 2\nGHz"}
    write_run(tmp_path / "a", Cell("Pong", "cnn", 1), [1.0], machine=strange)
    table = runs_table(select(load_runs([tmp_path]), PAIRS))
    (line,) = [line for line in table.markdown().splitlines() if "GHz" in line]
    assert "&lt;script>alert(1)&lt;/script> / $x^{$ 2 GHz, 2 cores" in line
    assert line.count("|") == len(table.columns) + 1
    linked = dataclasses.replace(table, notes=["see ![it](http://x/y.png) or [that](http://x)\n<b>"])
    assert linked.markdown().endswith("see ![it]\\(http://x/y.png) or [that]\\(http://x) &lt;b>\n")
    with drawing_settings():
        write_table(table, tmp_path)  # which must not be read as a formula


def test_runs(pair):
    table = runs_table(pair)
    assert len(table.data) == 12
    assert len(table.rows) == 3 + 5  # what there is, and a row a game and network for what there is not
    row = cells(table, "Pong", "cnn", "1")
    assert (row["state"], row["steps"], row["last 100 games"]) == ("evaluated", "1,999,872", "4.5")
    assert row["machine"] == "Abacus 1, 2 cores"
    assert row["hours"] == f"{1999872 / 240 / 3600:.1f}"
    assert cells(table, "Pong", "cnn_sparse_fls", "9")["state"] == "not run"
    assert cells(table, "MsPacman", "cnn", "1, 9")["state"] == "not run"


def test_parameters():
    table = parameter_table()
    assert [row[1] for row in table.rows] == list(NETWORKS)
    sparse = cells(table, "the paper", "cnn_sparse_fls")
    assert sparse["parameters"] == sparse["published"]
    assert sparse["of cnn"] == "109%"
    assert cells(table, "the paper", "cnn_sparse_fls_sp2")["published"] == "none"
    assert cells(table, "the paper", "cnn_dense_fls")["attention map"] == "84x84"
    assert {row[1] for row in table.rows if row[0] == "the paper"} == set(PUBLISHED)
    assert table.rules == [len(PUBLISHED)]
    ours = cells(table, "ours", "cnn_patch_fls")
    assert (ours["parameters"], ours["of cnn"], ours["attention map"]) == ("1,682,726", "100%", "21x21")


class TestThroughput:
    def test_nothing_measured_says_so(self, tmp_path):
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "other.json").write_text('{"benchmark": "gaze"}')
        table = throughput_table(tmp_path / "missing")
        assert throughput_table(tmp_path).rows == table.rows
        assert table.rows[0][0].startswith("not measured here")
        assert table.rows[1][3:] == ["not run", "", "GPU or TPU"]
        assert table.data.empty

    def test_both_benchmarks(self, tmp_path):
        machine = {"cpu": "Abacus 1", "cores": 2, "load_average": 0.1}
        common = {"game": "Pong", "num-envs": 8, "seconds": [3.0, 2.0, 4.0], "steps": 1024}
        rows = [
            common
            | {"part": "loop", "network": "block_mean", "backend": "cpu", "seconds_envpool": [1.5, 1.6, 3.0]},
            common | {"part": "update", "network": "cnn", "trained_samples": 4096},
            common | {"part": "end-to-end", "network": "cnn", "overlap": True},
            {"part": "memory", "network": "cnn", "total_bytes": 5},
            {"part": "policy", "num-envs": 8, "network": "cnn", "error": "no"},
        ]
        record = {"machine": machine, "commit": "c" * 40, "rows": rows}
        (tmp_path / "throughput.json").write_text(json.dumps(record))
        trainers = [
            {"name": name, "network": "cnn", "median_steps_per_second": speed, "ours_over_it": ratio}
            for name, speed, ratio in (("ours", 250.0, 1.0), ("sb3", 125.0, 2.0), ("sbx", None, None))
        ]
        trainers[1]["allocator"] = "tuned"
        record = {
            "machine": machine | {"load_average": 4.11},
            "settings": {"num_envs": 8},
            "trainers": trainers,
        }
        (tmp_path / "peers.json").write_text(json.dumps(record))
        table = throughput_table(tmp_path)
        assert [row[:5] for row in table.rows] == [
            ["training: ours", "cnn", "8", "250", ""],
            ["training: sb3, tuned allocator", "cnn", "8", "125", "2.00"],
            ["training: sbx", "cnn", "8", "failed", ""],
            ["EnvPool alone", "", "8", "640", "0.75"],
            ["loop around a network of almost no cost", "block_mean", "8", "341", ""],
            ["update alone (samples)", "cnn", "8", "1,365", ""],
            ["training, end to end, overlapped", "cnn", "8", "341", ""],
            ["training, end to end", "", "", "not run", ""],
        ]
        assert table.notes[-1] == (
            "From peers.json (no commit; the machine was busy: load 4.1), throughput.json (cccccccccc)."
        )
        assert table.data["per_second"].notna().sum() == 6


def test_numbers():
    assert [number(value) for value in (-20.66, 99.94, 99.96, 6949, -1234.5)] == [
        "-20.7", "99.9", "100", "6,949", "-1,234",
    ]  # fmt: skip
    assert (signed(-2.5), signed(2.5), signed(0.12345, 3)) == ("-2.5", "+2.5", "+0.123")


def test_markdown(pair):
    text = score_table(pair).markdown()
    header, rule, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert header.count("|") == rule.count("|") == 10
    assert all(row.count("|") == 10 for row in rows)
    assert "| *not run* |" in text
    assert "the paper's mean ± std" in header
