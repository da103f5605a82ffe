"""Insertion and deletion against a loop over single forward passes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy
from sklearn.metrics import auc

from fls_jax.benchmark import faithfulness
from fls_jax.benchmark.faithfulness import area, areas, curves, fills, random_ranks
from fls_jax.benchmark.scores import ranking_of
from fls_jax.saliency import Question
from tests.saliency.small import SHAPE, frames, linear, small, small_params, softmax

HEIGHT, WIDTH = SHAPE[:2]


def question(seen, target="action", apply=small, params=None):
    return Question(apply, small_params(2) if params is None else params, seen, (target,), jax.random.key(0))


@pytest.mark.parametrize("fill", ["black", "blurred", "background"])
@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_curves_are_the_loop(direction, fill, rng):
    seen = frames(rng, 2)
    asked = question(seen)
    maps = rng.normal(size=seen.shape[:3])
    ours = curves(asked, random_ranks(maps, 0), fills(seen)[fill], direction, pixels=100)
    behind = {
        "black": np.zeros(SHAPE),
        "background": np.repeat(np.median(seen, axis=(0, 3))[..., None], SHAPE[2], -1),
    }
    for number, frame in enumerate(seen):
        filled = behind.get(fill)
        if filled is None:
            filled = np.stack([gaussian_filter(frame[..., c].astype(float), 8) for c in range(SHAPE[2])], -1)
        full = np.asarray(small(asked.params, frame[None])[0], float)[0]
        action, order = full.argmax(), np.argsort(-maps[number], axis=None)
        for step, count in enumerate([0, 100, 200, 300, 400, 480]):
            first = np.zeros(HEIGHT * WIDTH, bool)
            first[order[:count]] = True
            shown = first if direction == "insertion" else ~first
            partial = np.where(shown.reshape(HEIGHT, WIDTH, 1), frame, filled).astype(np.float32)
            logits = np.asarray(small(asked.params, partial[None])[0], float)[0]
            np.testing.assert_allclose(ours.probability[number, step], softmax(logits)[action], atol=1e-4)
            margin = logits[action] - np.delete(logits, action).max()
            np.testing.assert_allclose(ours.margin[number, step], margin, atol=1e-3)
            np.testing.assert_allclose(
                ours.kl[number, step], entropy(softmax(full), softmax(logits)), atol=1e-3
            )
        assert ours.probability.shape == (2, 6)


def test_area_is_the_trapezoid_rule(rng):
    curve = rng.normal(size=(3, 85))
    expected = [auc(np.linspace(0, 1, 85), row) for row in curve]
    np.testing.assert_allclose(area(curve), expected)


def test_an_atari_screen_takes_84_steps():
    seen = np.zeros((1, 84, 84, 4), np.uint8)
    weights = np.zeros((84, 84, 4, 3), np.float32)
    asked = question(seen, 0, linear, weights)
    ranks = random_ranks(np.zeros((1, 84, 84)), 0)
    assert curves(asked, ranks, np.zeros(seen.shape, np.float32), "deletion").kl.shape == (1, 85)


def test_ties_are_broken_at_random_and_not_by_index(rng):
    """Pixels that tie, as enlarged maps have in blocks, come in no order of their own."""
    maps = np.repeat(np.repeat(rng.normal(size=(4, 5, 6)), 8, 1), 8, 2)
    ranks = random_ranks(maps, 1)
    for each, rank in zip(maps, ranks, strict=True):
        assert sorted(rank.ravel()) == list(range(each.size))
        by_rank = each.ravel()[np.argsort(rank, axis=None)]
        assert (np.diff(by_rank) <= 0).all()
        block = rank[:8, :8].ravel() - rank[:8, :8].min()
        assert not np.array_equal(block, np.arange(64))
        assert abs(np.corrcoef(block, np.arange(64))[0, 1]) < 0.5
    assert not np.array_equal(random_ranks(maps, 2), ranks)


def test_areas_average_over_ties(rng):
    seen = frames(rng, 2)
    asked, flat = question(seen), np.zeros(seen.shape[:3])
    found = areas(asked, flat, key=4)
    draws = []
    for n in range(faithfulness.TIE_DRAWS):
        curve = curves(asked, random_ranks(flat, 4 + n), fills(seen)["black"], "insertion")
        draws.append(area(curve.probability))
    np.testing.assert_allclose(found["insertion_black_probability"], np.mean(draws, axis=0), rtol=1e-5)
    assert len(found) == 2 * 3 * 3


def test_the_order_that_matters_beats_random(rng):
    """On a linear network the true attributions delete fastest and insert fastest; their reverse slowest."""
    weights = np.zeros((*SHAPE, 3), np.float32)
    weights[..., 0] = rng.normal(size=SHAPE) / 5000
    seen = frames(rng, 3)
    asked = question(seen, 0, linear, weights)
    truth = (weights[..., 0] * seen).sum(axis=-1)
    best, noise, worst = (areas(asked, m) for m in (truth, rng.normal(size=truth.shape), -truth))
    for output in ("probability", "margin"):
        for low, high in ((best, noise), (noise, worst)):
            assert (low[f"deletion_black_{output}"] < high[f"deletion_black_{output}"]).all()
            assert (low[f"insertion_black_{output}"] > high[f"insertion_black_{output}"]).all()
    with pytest.raises(ValueError, match="the target names none"):
        areas(question(seen, "value"), truth)


def test_derivatives_are_ranked_by_size_and_effects_by_their_sign(rng):
    """A checkerboard of opposite weights cancels on a flat frame: by sign one half of it comes first."""
    weights = np.zeros((*SHAPE, 3), np.float32)
    signs = np.where(np.indices(SHAPE[:2]).sum(axis=0) % 2, 1.0, -1.0)
    weights[4:8, 4:8, :, 0] = signs[4:8, 4:8, None] / 200
    maps = 100 * weights[..., 0].sum(axis=-1)[None]
    asked = question(np.full((1, *SHAPE), 100, np.uint8), 0, linear, weights)
    black = fills(asked.observations)["black"]
    by = {
        family: curves(asked, random_ranks(ranking_of(maps, family), 0), black, "insertion", pixels=8)
        for family in ("gradient", "perturbation")
    }
    whole = by["gradient"].probability[0, -1]
    assert by["gradient"].probability[0, 2] == pytest.approx(whole, abs=1e-5)  # both halves are shown
    assert by["perturbation"].probability[0, 1] > 0.99 > whole
