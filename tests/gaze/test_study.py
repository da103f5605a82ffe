from __future__ import annotations

import copy
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fls_jax.errors import UserError
from fls_jax.gaze.controls import CONTROLS
from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.study import Layout, markdown, percent, run_table, study_table, write_study
from fls_jax.gaze.tables import print_study, print_summary
from fls_jax.statistics import paper


def summary(
    network: str, game: str, seed: int, value: float | None, coverage: float = 1.0, **changes
) -> dict:
    """What summary.json says, with one value for the model and the control's number for each control."""

    def score(mean, coverage):
        interval = None if mean is None else [mean - 0.1, mean + 0.1]
        return {"mean": mean, "coverage": coverage, "interval_frames": interval, "interval_trials": None}

    model = dict.fromkeys(METRICS, score(value, coverage if value is not None else 0.0))
    controls = {name: dict.fromkeys(METRICS, score(float(k), 1.0)) for k, name in enumerate(CONTROLS)}
    return {
        "protocol": "aligned",
        "space": "screen",
        "game": game,
        "network": network,
        "training_seed": seed,
        "env_step": 1000,
        "trials": {"asked": [1, 2], "scored": [1], "failed": {"2": "damaged"}},
        "observations": 100,
        "complete": True,
        "run": f"runs/{game}/{network}/seed{seed}",
        "maps": ["model", *CONTROLS],
        "notes": {} if value is not None else {"model": "no map"},
        "scores": {"model": model, **controls},
    } | changes


@pytest.fixture
def summaries():
    return [
        summary("cnn_sparse_fls", "MsPacman", 1, 0.5, 0.75),
        summary("cnn_sparse_fls", "MsPacman", 9, 0.8, 0.25),
        summary("cnn_sparse_fls", "Hero", 1, 1.5),
        summary("cnn", "MsPacman", 1, None),
    ]


def test_mean_and_std_over_seeds_beside_the_papers_figure(summaries):
    table = study_table(run_table(summaries)).set_index(["game", "network", "map", "metric"])
    row = table.loc[("MsPacman", "cnn_sparse_fls", "model", "nss")]
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx(0.65)
    assert row["std"] == pytest.approx(np.std([0.5, 0.8], ddof=1))
    assert row["coverage"] == pytest.approx(0.5)
    assert row["paper"] == 0.631
    single = table.loc[("Hero", "cnn_sparse_fls", "model", "nss")]
    assert (single["seeds"], single["mean"]) == (1, 1.5)
    assert np.isnan(single["std"])
    assert np.isnan(single["paper"])
    nothing = table.loc[("MsPacman", "cnn", "model", "sauc")]
    assert (nothing["seeds"], nothing["coverage"]) == (0, 0)
    assert np.isnan(nothing["mean"])
    assert np.isnan(table.loc[("MsPacman", "cnn_sparse_fls", "uniform", "nss"), "paper"])


def test_controls_that_all_networks_share_are_pooled(summaries):
    table = study_table(run_table(summaries)).set_index(["game", "network", "map", "metric"])
    assert table.loc[("MsPacman", "any network", "centre", "nss"), "seeds"] == 2  # 1 and 9
    assert table.loc[("MsPacman", "cnn", "uniform", "nss"), "seeds"] == 1
    assert ("MsPacman", "cnn", "centre", "nss") not in table.index


def test_only_maps_that_depend_on_the_seed_have_a_spread_over_seeds(summaries):
    summaries[1] = copy.deepcopy(summaries[1])
    for name in CONTROLS:
        summaries[1]["scores"][name]["nss"]["mean"] += 0.5
    table = study_table(run_table(summaries))
    spread = table[(table["metric"] == "nss") & (table["game"] == "MsPacman")].groupby("map")["std"].max()
    assert set(spread.dropna().index) == {"model", "untrained"}
    rows = {(row[0], row[1]): row for row in Layout(table, "nss", only_ours=True).rows()}
    assert "(2; " not in " ".join(rows["any network", "centre"])


def test_protocols_and_spaces_are_apart(summaries):
    other = summary("cnn_sparse_fls", "MsPacman", 1, 0.1, protocol="paper")
    table = study_table(run_table([*summaries, other]))
    model = table[(table["map"] == "model") & (table["metric"] == "nss") & (table["game"] == "MsPacman")]
    by_protocol = model[model["network"] == "cnn_sparse_fls"].set_index("protocol")["mean"]
    assert by_protocol.to_dict() == pytest.approx({"aligned": 0.65, "paper": 0.1})


def cells(layout: Layout) -> dict:
    return {(row[0], row[1]): dict(zip(layout.header[2:], row[2:], strict=False)) for row in layout.rows()}


def test_the_papers_layout(summaries):
    layout = Layout(study_table(run_table(summaries)), "nss")
    assert layout.header == ["network", "map"] + [
        word for game in [*paper.SALIENCY_GAMES, "Hero"] for word in (game, "paper")
    ]
    rows = layout.rows()
    assert [row[0] for row in rows if row[1] == "model"] == [*paper.SALIENCY_NETWORKS, "cnn"]
    assert all(len(row) == len(layout.header) for row in rows)
    ours = next(row for row in rows if row[0] == "cnn_sparse_fls")
    column = layout.header.index("MsPacman")
    assert ours[column : column + 2] == ["0.650 ± 0.212 (2; 50%)", "0.631"]
    assert ours[layout.header.index("Breakout") :][:2] == ["", "0.510"]
    assert ours[layout.header.index("Hero") :][:2] == ["1.500 (1; 100%)", ""]
    assert next(row for row in rows if row[0] == "cnn")[column] == "no map (0%)"
    assert rows[rows.index(ours) + 1][1] == "uniform"
    assert [row[1] for row in rows if row[0] == "any network"] == [
        "centre", "other_trials", "other_humans", "frame_difference", "random",
    ]  # fmt: skip
    assert "paper" not in Layout(study_table(run_table(summaries)), "kl_smoothed").header


def test_a_map_that_no_frame_counts_for_is_not_no_map(summaries):
    nowhere = summary("cnn_daqn", "MsPacman", 1, 0.5)
    nowhere["scores"]["model"]["kl"] = {"mean": None, "coverage": 0.0, "interval_frames": None}
    alone = summary("cnn_daqn", "Hero", 1, 0.5, notes={"other_trials": "no other trial"})
    empty = {"mean": None, "coverage": 0.0, "interval_frames": None}
    alone["scores"]["other_trials"] = dict.fromkeys(METRICS, empty)
    table = study_table(run_table([*summaries[3:], nowhere, alone]))
    by_row = cells(Layout(table, "kl"))
    assert by_row["cnn_daqn", "model"]["MsPacman"] == "undefined (0%)"
    assert by_row["cnn", "model"]["MsPacman"] == "no map (0%)"
    assert by_row["any network", "other_trials"]["Hero"] == "no other trial (0%)"
    assert by_row["any network", "other_trials"]["MsPacman"].startswith("2.000")
    assert cells(Layout(table, "nss"))["cnn_daqn", "model"]["MsPacman"] == "0.500 (1; 100%)"


def test_hardly_ever_is_not_never():
    shares = (0.0, 1 / 200, 0.0499, 0.5, 199 / 200, 1.0)
    assert [percent(share) for share in shares] == ["0%", "<1%", "5%", "50%", ">99%", "100%"]


def test_files_hold_the_whole_study(summaries, tmp_path):
    write_study(summaries, tmp_path / "out")
    runs, study = (pd.read_csv(tmp_path / "out" / name) for name in ("runs.csv", "study.csv"))
    assert len(runs) == 4 * (1 + len(CONTROLS)) * len(METRICS)
    row = runs.set_index(["run", "map", "metric"]).loc[
        ("runs/MsPacman/cnn_sparse_fls/seed9", "model", "sauc")
    ]
    assert row["mean"] == 0.8
    assert (row["interval_low"], row["interval_high"]) == pytest.approx((0.7, 0.9))
    assert (row["trials"], row["observations"], row["training_seed"]) == (1, 100, 9)
    assert len(study) > 0
    text = (tmp_path / "out" / "study.md").read_text()
    assert paper.SALIENCY_CAVEAT in text
    assert text.count("\n## ") == len(METRICS)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    for heading in [line for line in text.splitlines() if line.startswith("## ")]:
        assert "aligned" in heading
    assert all("uniform" in part for part in text.split("\n## ")[1:])
    assert any("0.650 ± 0.212" in line for line in tables)


def test_a_place_that_cannot_be_written_is_a_sentence(summaries, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_study(summaries, tmp_path / "file" / "out")


def test_the_terminal_shows_what_was_run_and_the_caveat(summaries):
    console = Console(width=200, record=True, file=io.StringIO())
    print_study(study_table(run_table(summaries)), console)
    text = console.export_text()
    assert "0.650 ± 0.212" in text
    assert "uniform" in text
    assert "Breakout" not in text
    assert "rough guide" in text


def test_the_terminals_table_of_one_run(summaries):
    console = Console(width=80, record=True, file=io.StringIO())
    print_summary(summaries[0], console)
    print_summary(summaries[3], console)
    text = console.export_text()
    assert "…" not in text  # all headings fit
    assert "75%" in text
    assert "no map" in text
    assert "Trial 2 failed: damaged" in text
    assert "100 observations of 1 of 2 trials" in " ".join(text.split())
    score = {"mean": 0.25, "coverage": 1.0, "interval_frames": [-0.125, 0.5], "interval_trials": None}
    compared = summaries[0] | {"differences": {name: dict.fromkeys(METRICS, score) for name in CONTROLS}}
    print_summary(compared, console)
    text = console.export_text()
    assert "model - uniform: sAUC +0.250 [-0.125, +0.500], NSS +0.250 [-0.125, +0.500], KL " in text
    assert "model - untrained: sAUC" in text
    assert "model - centre" not in text  # a table of its own has them all
    alone = copy.deepcopy(summaries[0]) | {"maps": ["model"]}
    alone["scores"] = {"model": alone["scores"]["model"]}
    print_summary(alone, console)
    assert "say nothing about the agent" in " ".join(console.export_text().split())


def test_the_papers_figures_stand_where_they_belong():
    """Spot checks, by row and column of the paper's table."""
    assert paper.saliency_score("sauc", "cnn_daqn", "Breakout") == 0.758
    assert paper.saliency_score("sauc", "cnn_dense_fls", "SpaceInvaders") == 0.419
    assert paper.saliency_score("nss", "cnn_dense_fls", "MsPacman") == -0.136
    assert paper.saliency_score("nss", "cnn_sparse_fls", "Enduro") == 1.588
    assert paper.saliency_score("kl", "cnn_rsppo", "Seaquest") == 3.294
    assert paper.saliency_score("kl", "cnn_dense_fls", "Seaquest") is None
    assert paper.saliency_score("kl_smoothed", "cnn_daqn", "Breakout") is None
    assert paper.saliency_score("nss", "cnn", "Breakout") is None


def test_networks_trained_on_gaze_have_a_row_of_their_own(summaries):
    """As published, for the metrics and games that are known, aligned with the columns of the games."""
    table = study_table(run_table(summaries))
    (row,) = Layout(table, "nss").published()
    layout = Layout(table, "nss")
    assert len(row) == len(layout.header)
    assert row[layout.header.index("MsPacman")] == "4.674"
    assert row[layout.header.index("MsPacman") + 1] == ""  # beside the paper's column
    assert row[layout.header.index("SpaceInvaders")] == ""
    assert Layout(table, "sauc").published() == []
    text = markdown(table)
    assert "arXiv 1903.06754" in text
    assert text.count("| published | gaze network |") == 3  # NSS, KL, CC
