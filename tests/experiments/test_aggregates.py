"""Scores over all games: which games and seeds count, what is said where none do, what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from experiments.analysis.aggregate import final_scores, training_curves
from experiments.analysis.runs import load_runs
from experiments.analysis.selection import select
from experiments.data.grid import PILOT, Cell
from experiments.data.style import style
from experiments.pages.aggregates import aggregate_table, draw_efficiency, draw_lengths, draw_profiles
from experiments.pages.presentation import drawing_settings
from fls_jax.statistics import REFERENCES
from tests.experiments.folders import UPDATES, write_evaluation, write_pilot, write_run

NETWORKS = ("cnn", "cnn_sparse_fls")


def selected(root):
    return select(load_runs([root]), PILOT)


def write_grid(root, scores):
    """{(game, network): [return of each seed's evaluation]}, each run climbing to it in a straight line."""
    for (game, network), levels in scores.items():
        for seed, level in zip((1, 9), levels, strict=False):
            path = root / game / network / f"seed{seed}"
            updates = [1, UPDATES // 2, UPDATES]
            low = REFERENCES[game].random
            write_run(path, Cell(game, network, seed), [low, (low + level) / 2, level], updates)
            write_evaluation(path, [level - 1, level + 1], game=game)


@pytest.fixture
def whole(tmp_path):
    scores = {
        ("Pong", "cnn"): (5.0, 10.0),
        ("Pong", "cnn_sparse_fls"): (8.0, 4.0),
        ("Breakout", "cnn"): (30.0, 59.0),
        ("Breakout", "cnn_sparse_fls"): (90.0, 20.0),
        ("MsPacman", "cnn"): (900.0, 1000.0),
        ("MsPacman", "cnn_sparse_fls"): (1100.0, 1000.0),
    }
    write_grid(tmp_path, scores)
    return selected(tmp_path), scores


def expected(scores, network):
    """Human-normalised by hand: [seeds, games]."""
    games = ("Pong", "MsPacman", "Breakout")
    rows = []
    for seed in range(2):
        row = []
        for game in games:
            random, human = REFERENCES[game]
            row.append((scores[game, network][seed] - random) / (human - random))
        rows.append(row)
    return np.array(rows)


def test_every_seed_of_every_game_is_normalised(whole):
    selection, scores = whole
    final = final_scores(selection)
    assert final.games == ("Pong", "MsPacman", "Breakout")
    for network in NETWORKS:
        np.testing.assert_allclose(final.of(network), expected(scores, network))


def test_the_table_has_the_statistics_and_their_intervals(whole):
    selection, scores = whole
    table = aggregate_table(selection, final_scores(selection)).data.set_index("network")
    for network in NETWORKS:
        values, row = expected(scores, network), table.loc[network]
        assert row["iqm"] == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=None))
        assert row["mean"] == pytest.approx(values.mean())
        assert row["median"] == pytest.approx(np.median(values.mean(axis=0)))
        assert row["optimality_gap"] == pytest.approx(np.clip(1 - values, 0, None).mean())
        assert row["iqm_low"] <= row["iqm"] <= row["iqm_high"]
    ours, theirs = (expected(scores, network) for network in reversed(NETWORKS))
    wins = [scipy.stats.mannwhitneyu(ours[:, j], theirs[:, j]).statistic / 4 for j in range(3)]
    assert table.loc["cnn_sparse_fls", "improvement"] == pytest.approx(np.mean(wins))
    assert np.isnan(table.loc["cnn", "improvement"])


def test_games_that_a_network_lacks_and_seeds_that_a_game_lacks_do_not_count(tmp_path):
    write_grid(
        tmp_path,
        {("Pong", "cnn"): (5.0, 10.0), ("Pong", "cnn_sparse_fls"): (8.0,), ("Breakout", "cnn"): (30.0, 59.0)},
    )
    final = final_scores(selected(tmp_path))
    assert final.games == ("Pong",)
    assert {network: final.of(network).shape for network in NETWORKS} == {
        "cnn": (2, 1),
        "cnn_sparse_fls": (1, 1),
    }
    row = aggregate_table(selected(tmp_path), final).rows[1]
    assert row[:3] == ["cnn_sparse_fls", "1", "1"]
    assert not any("[" in cell for cell in row), "no interval from one seed"
    assert row[-1] == "one seed"


def test_cells_that_are_empty_say_why(tmp_path):
    empty = selected(tmp_path)
    text = aggregate_table(empty, final_scores(empty)).markdown()
    assert "*no network has been evaluated yet in a game with published human scores*" in text
    assert draw_profiles(empty, final_scores(empty)) is None
    assert draw_efficiency(empty, training_curves(empty)) is None
    assert draw_lengths(empty) is None
    write_grid(tmp_path, {("Pong", "cnn"): (5.0,), ("Breakout", "cnn_sparse_fls"): (30.0,)})
    apart = selected(tmp_path)
    final = final_scores(apart)
    assert final.games == ("Pong",)
    assert final.left_out == ("cnn_sparse_fls",)
    assert aggregate_table(apart, final).rows[1][2] == "no game in common with the others"


def test_a_network_of_one_game_does_not_take_the_others_games_from_them(tmp_path):
    cells = {(game, network): (5.0,) for game in ("Pong", "MsPacman") for network in NETWORKS}
    write_grid(tmp_path, cells | {("Breakout", "cnn_patch"): (30.0,)})
    selection = selected(tmp_path)
    for aggregate in (final_scores(selection), training_curves(selection)):
        assert aggregate.games == ("Pong", "MsPacman")
        assert aggregate.left_out == ("cnn_patch",)
        assert aggregate.of("cnn_patch") is None
        assert all(aggregate.of(network).shape[:2] == (1, 2) for network in NETWORKS)


def test_the_baseline_is_not_left_out_for_others_of_more_games(tmp_path):
    cells = {(game, "cnn_sparse_fls"): (5.0,) for game in ("Pong", "MsPacman")}
    write_grid(tmp_path, cells | {("Breakout", "cnn"): (30.0,)})
    assert final_scores(selected(tmp_path)).left_out == ("cnn_sparse_fls",)


def test_curves_are_at_the_same_steps(whole):
    selection, scores = whole
    curves = training_curves(selection)
    assert curves.games == ("Pong", "MsPacman", "Breakout")
    for network in NETWORKS:
        matrix = curves.of(network)
        assert matrix.shape == (2, 3, len(curves.steps))
        np.testing.assert_allclose(matrix[..., 0], 0.0, atol=1e-9)  # random play
        np.testing.assert_allclose(matrix[..., -1], expected(scores, network))
        middle = np.argmin(abs(curves.steps - 1024 * (UPDATES // 2)))
        np.testing.assert_allclose(matrix[..., middle], expected(scores, network) / 2, atol=0.05)


def test_figures_show_every_network(whole):
    selection, _ = whole
    with drawing_settings():
        profiles = draw_profiles(selection, final_scores(selection))
        efficiency = draw_efficiency(selection, training_curves(selection))
        lengths = draw_lengths(selection)
    for figure in (profiles, efficiency):
        (axes,) = figure.axes
        assert [line.get_color() for line in axes.lines] == [style(network).colour for network in NETWORKS]
    for line in profiles.axes[0].lines:
        shares = line.get_ydata()
        assert shares[0] == 1.0
        assert shares[-1] == 0.0
        assert (np.diff(shares) <= 0).all()
    titles = [axes.get_title(loc="left") for axes in lengths.axes]
    assert titles == ["Pong", "MsPacman", "Breakout"]
    steps, returns = lengths.axes[0].lines[0].get_data()
    assert set(steps) == {900}
    assert sorted(returns) == [4.0, 6.0, 9.0, 11.0]


def test_breakout_without_end_is_a_panel_of_its_own(tmp_path):
    write_pilot(tmp_path)
    write_evaluation(
        tmp_path / "Breakout" / "cnn_sparse_fls" / "seed1", [200.0], mode="infinite", game="Breakout"
    )
    with drawing_settings():
        figure = draw_lengths(selected(tmp_path))
    assert [axes.get_title(loc="left") for axes in figure.axes][-1] == "BreakoutInfinite"
    assert figure.axes[-1].lines[0].get_ydata().tolist() == [200.0]
