"""The rule of the pilot: each part is refuted by what it says and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analysis.comparison import Sample
from experiments.analysis.runs import load_runs
from experiments.analysis.selection import select
from experiments.analysis.verdict import judge_score, judge_sharpness, judge_use
from experiments.data.grid import PILOT, Cell
from experiments.pages.verdict import verdict_table
from fls_jax.statistics import REFERENCES
from tests.experiments.folders import LAST_STEP, write_attention, write_evaluation, write_run


def sample(mean, spread=1.0, games=96):
    """One seed, whose games alternate about their mean."""
    return Sample((mean + spread * np.where(np.arange(games) % 2, 1.0, -1.0),))


@pytest.mark.parametrize(
    ("ours", "spread", "refuted"),
    [(100, 1, False), (93, 1, False), (85, 1, True), (85, 400, False)],
    ids=["as good", "within the margin", "worse", "worse, but nobody knows"],
)
def test_the_score(ours, spread, refuted):
    """cnn has 100 and random play 0: the margin is 10."""
    verdict = judge_score(sample(ours, spread), sample(100, spread), random=0)
    assert verdict.refuted is refuted
    assert f"{ours - 100:+.1f} (" in verdict.numbers
    assert verdict.numbers.endswith("; -10.0)")


def test_the_margin_is_of_what_is_above_random_play():
    """Pong: -10 less 10.5, a tenth of it is 1.05, not -1."""
    assert judge_score(sample(-11.5, 0.1), sample(-10), random=-20.5).refuted
    assert not judge_score(sample(-10.5, 0.1), sample(-10), random=-20.5).refuted


@pytest.mark.parametrize(
    ("area", "still", "refuted"),
    [(0.5, 0.9, False), (0.91, 0.9, True), (0.5, 0.996, True), (0.9, 0.995, False)],
)
def test_sharpness(area, still, refuted):
    assert judge_sharpness({"effective_area": area, "correlation_with_mean": still}).refuted is refuted


def replaced(mean, other):
    """A table whose trained return is 50, with (difference, its interval) of two replacements."""
    rows = {
        name: {"difference": difference, "difference_interval_95": interval}
        for name, (difference, interval) in (("mean", mean), ("other", other))
    }
    return {"trained": {"mean": 50.0}, **rows}


@pytest.mark.parametrize(
    ("mean", "other", "refuted"),
    [
        ((-20, (-25, -15)), (-30, (-35, -25)), False),
        ((-20, (-41, 1)), (-30, (-35, -25)), True),
        ((-20, (-25, -15)), (-3, (-4, -2)), True),
        ((+20, (15, 25)), (-30, (-35, -25)), True),
        ((-20, (None, None)), (-30, (-35, -25)), True),
    ],
    ids=["both cost", "perhaps nothing", "less than a tenth", "better without", "no interval"],
)
def test_use(mean, other, refuted):
    """Random play has 10: a replacement must cost at least 4."""
    assert judge_use(replaced(mean, other), random=10.0).refuted is refuted


def test_without_a_replacement_there_is_no_verdict():
    rows = replaced((-20, (-25, -15)), (-30, (-35, -25)))
    del rows["other"]
    assert judge_use(rows, random=10.0) is None


def test_the_table_judges_what_there_is_and_says_what_is_missing(tmp_path):
    random = REFERENCES["Breakout"].random
    for network, returns in (("cnn", [40.0, 42.0]), ("cnn_patch_fls", [20.0, 22.0])):
        run = write_run(tmp_path / network, Cell("Breakout", network, 1), returns)
        write_evaluation(run, returns, game="Breakout")
    write_run(tmp_path / "pong", Cell("Pong", "cnn_sparse_fls", 1), [1.0])
    write_attention(tmp_path / "cnn_patch_fls", LAST_STEP)
    table = verdict_table(select(load_runs([tmp_path]), PILOT))
    pong, breakout = table.rows
    assert list(breakout[:3]) == ["Breakout", "cnn_patch_fls", "1"]
    assert breakout[3].startswith("refuted: -20.0 (")
    assert f"{-0.1 * (41 - random):+.1f}" in breakout[3]
    assert breakout[4] == "not refuted: area 0.78, correlation 0.900"
    assert breakout[5] == "not replaced"  # the table has no map of another moment
    assert pong[3:] == ["not evaluated"] * 3
    assert table.data["score of cnn"].tolist()[1] is True
