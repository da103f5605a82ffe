from __future__ import annotations

import numpy as np
import pytest

from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.summary import (
    BLOCK,
    RESAMPLES,
    model_summary,
    over_controls,
    trial_statistics,
    trial_summary,
)

MAPS = ("model", "uniform")


def scores(rng, n: int, undefined: float = 0.2) -> np.ndarray:
    values = rng.normal(size=(n, len(MAPS), len(METRICS))) + np.arange(len(METRICS))
    values[rng.random(values.shape) < undefined] = np.nan
    return values.astype(np.float32)


def test_a_trials_value_is_the_mean_over_the_frames_that_count(rng):
    values = scores(rng, 130)
    values[:, 1, 2] = np.nan
    summary = trial_summary(trial_statistics(values, trial=7), MAPS)
    for i, name in enumerate(MAPS):
        for j, metric in enumerate(METRICS):
            column = values[:, i, j].astype(float)
            score = summary[name][metric]
            assert score["coverage"] == pytest.approx(np.isfinite(column).mean())
            if (i, j) == (1, 2):
                assert score == {"mean": None, "coverage": 0.0, "interval": None}
            else:
                assert score["mean"] == pytest.approx(np.nanmean(column))
                low, high = score["interval"]
                assert low < score["mean"] < high


def test_a_models_value_is_the_mean_over_trials_however_long_they_are(rng):
    trials = [scores(rng, n) + shift for n, shift in ((60, 0), (200, 1), (35, 5))]
    trials[2][:, 0, 3] = np.nan  # this trial says nothing of one metric
    summary = model_summary([trial_statistics(t, k) for k, t in enumerate(trials)], MAPS)
    for j, metric in enumerate(METRICS):
        means = [np.nanmean(t[:, 0, j].astype(float)) for t in trials[: 2 if j == 3 else 3]]
        assert summary["model"][metric]["mean"] == pytest.approx(np.mean(means))
        pooled = np.concatenate([t[:, 0, j] for t in trials])
        assert summary["model"][metric]["coverage"] == pytest.approx(np.isfinite(pooled).mean())


def test_intervals_have_the_width_that_theory_gives(rng):
    """Independent frames: the standard error of a mean; frames that are equal in a block: that of blocks."""
    n = 400 * BLOCK
    independent = np.zeros((n, 1, len(METRICS)), np.float32) + rng.normal(size=(n, 1, 1)).astype(np.float32)
    in_blocks = np.repeat(independent[:400], BLOCK, axis=0)
    for values, error in ((independent, 1 / np.sqrt(n)), (in_blocks, 1 / np.sqrt(400))):
        low, high = trial_summary(trial_statistics(values, 0), ("model",))["model"]["nss"]["interval"]
        assert high - low == pytest.approx(2 * 1.96 * error * values.std(), rel=0.15)


def test_the_interval_over_trials_has_their_spread(rng):
    centres = rng.normal(size=40)
    trials = [np.full((2 * BLOCK, 1, len(METRICS)), c, np.float32) for c in centres]
    summary = model_summary([trial_statistics(t, k) for k, t in enumerate(trials)], ("model",))
    score = summary["model"]["kl"]
    low, high = score["interval_trials"]
    assert high - low == pytest.approx(2 * 1.96 * centres.std() / np.sqrt(40), rel=0.15)
    assert score["interval_frames"] == pytest.approx([centres.mean()] * 2)


def test_a_trial_that_is_drawn_twice_has_its_blocks_drawn_twice(rng):
    """Trials with one mean: what is left is the error of a trial's mean, over the root of their number."""
    blocks, count = 40, 30
    trials = []
    for k in range(count):
        noise = rng.normal(size=blocks)
        values = np.repeat((noise - noise.mean()) / noise.std(), BLOCK)
        trials.append(trial_statistics(np.tile(values[:, None, None], (1, 1, len(METRICS))), k))
    low, high = model_summary(trials, ("model",))["model"]["nss"]["interval_trials"]
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(blocks * count), rel=0.15)


def test_no_interval_without_anything_to_resample(rng):
    one = trial_statistics(scores(rng, BLOCK), 3)
    assert trial_summary(one, MAPS)["model"]["nss"]["interval"] is None
    score = model_summary([one], MAPS)["model"]["nss"]
    assert score["interval_frames"] is None
    assert score["interval_trials"] is None


def test_no_interval_where_a_metric_counts_in_one_block_alone(rng):
    values = scores(rng, 4 * BLOCK)
    values[1:, 0, 0] = np.nan
    statistics = trial_statistics(values, 1)
    summary = trial_summary(statistics, MAPS)["model"]
    assert (summary["nss"]["interval"], summary["nss"]["coverage"]) == (None, 0.01)
    assert summary["kl"]["interval"] is not None
    both = model_summary([statistics, trial_statistics(scores(rng, 60), 2)], MAPS)["model"]["nss"]
    assert both["interval_frames"] is not None
    values[:, 0, 0] = np.nan
    alone = [trial_statistics(values, 1), trial_statistics(scores(rng, 60), 2)]
    score = model_summary(alone, MAPS)["model"]["nss"]
    assert (score["interval_trials"], score["interval_frames"] is None) == (None, False)


def test_differences_are_taken_frame_by_frame(rng):
    """What is common to two maps, however large its spread, is not in the interval of their difference."""
    common = np.repeat(rng.normal(scale=10, size=(20, 1, len(METRICS))), BLOCK, axis=0)
    values = np.concatenate([common + 0.5, common], axis=1)
    values[:BLOCK, 1, 2] = np.nan
    differences = over_controls(values)
    assert differences.shape == (20 * BLOCK, 1, len(METRICS))
    score = model_summary([trial_statistics(differences, 3)], MAPS[1:])["uniform"]
    assert score["nss"]["interval_frames"] == pytest.approx([0.5, 0.5])
    assert score[METRICS[2]]["coverage"] == pytest.approx(19 / 20)
    low, high = model_summary([trial_statistics(values, 3)], MAPS)["model"]["nss"]["interval_frames"]
    assert high - low > 2
    assert model_summary([trial_statistics(over_controls(values[:, :1]), 3)], ()) == {}


def test_a_frame_that_counts_in_few_blocks_leaves_resamples_out_without_a_warning(rng):
    values = scores(rng, 4 * BLOCK)
    values[2 * BLOCK :, 0, 0] = np.nan
    statistics = trial_statistics(values, 1)
    assert 0 < np.isnan(statistics.resampled[:, 0, 0]).sum() < RESAMPLES
    interval = trial_summary(statistics, MAPS)["model"]["nss"]["interval"]
    means = [np.nanmean(values[k * BLOCK : (k + 1) * BLOCK, 0, 0]) for k in (0, 1)]
    assert interval == pytest.approx(sorted(means), abs=1e-6)


def test_the_same_scores_give_the_same_summary(rng):
    values = scores(rng, 100)
    first, second = (trial_summary(trial_statistics(values, 5), MAPS) for _ in range(2))
    assert first == second
    assert trial_summary(trial_statistics(values, 6), MAPS) != first
