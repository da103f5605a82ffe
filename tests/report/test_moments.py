"""Bookmarks and what they are made of, against loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from fls_jax.benchmark.highlights import importance
from fls_jax.report.moments import (
    advantages,
    bookmarks,
    effective_area,
    peaks,
    policy_change,
)


def gae_by_loop(rewards, values, ends, gamma, gae_lambda):
    """The sum of discounted temporal differences up to the end of a life, term by term."""
    steps = len(values) - 1
    found = np.full(len(values), np.nan)
    for t in range(steps):
        total, weight = 0.0, 1.0
        for k in range(t, steps):
            following = 0.0 if ends[k] else values[k + 1]
            total += weight * (np.sign(rewards[k]) + gamma * following - values[k])
            weight *= gamma * gae_lambda
            if ends[k]:
                break
        found[t] = total
    return found


def test_advantages(rng):
    rewards, values = rng.choice([0, 0, 7.0, -3.0], 40), rng.normal(size=40)
    ends = rng.random(40) < 0.1
    found = advantages(rewards, values, ends, 0.99, 0.95)
    np.testing.assert_allclose(found, gae_by_loop(rewards, values, ends, 0.99, 0.95), atol=1e-5)
    assert np.isnan(advantages(rewards[:1], values[:1], ends[:1], 0.99, 0.95)).all()


def test_peaks_are_apart_and_the_largest():
    values = np.array([0, 5, 9, 8, 0, 7, np.nan, 1.0])
    assert peaks(values, 3, apart=2) == [2, 5, 7]
    assert peaks(values, 2, apart=1) == [2, 3]
    assert peaks(np.full(3, np.nan), 2) == []
    assert peaks(values, 99, apart=100) == [2]


def test_bookmarks_are_in_order_and_name_ends():
    ends = np.zeros(200, bool)
    ends[[50, 120]] = True
    games = np.where(np.arange(200) > 120, 2, 1)
    advantage = np.zeros(200)
    advantage[[10, 150]] = -2, 3
    logits = np.zeros((200, 3))
    logits[80] = 0, 4, 9
    found = bookmarks(advantage, logits, ends, games)
    assert [mark["frame"] for mark in found] == sorted(mark["frame"] for mark in found)
    texts = {(mark["kind"], mark["frame"]): mark["text"] for mark in found}
    assert texts["life", 50] == "life lost"
    assert texts["life", 120] == "game over"
    assert texts["highest", 150] == "highest advantage (+3.00)"
    assert texts["lowest", 10] == "lowest advantage (-2.00)"
    assert texts["highlight", 80] == "choice matters (logits span 9.0)"
    assert importance(logits)[80] == 9


def test_effective_area(rng):
    maps = rng.gamma(0.3, size=(5, 6, 7)).astype(np.float32)
    maps[1] *= -1
    expected = [np.exp(entropy(np.abs(each).ravel())) / 42 for each in maps]
    np.testing.assert_allclose(effective_area(maps), expected, rtol=1e-5)
    single = np.zeros((2, 4, 4))
    single[0, 1, 2] = 3
    np.testing.assert_allclose(effective_area(np.stack([single[0], np.ones((4, 4))])), [1 / 16, 1])
    assert np.isnan(effective_area(single)[1])


def test_policy_change_is_the_largest_difference_of_any_event(rng):
    one, other = softmax(rng.normal(size=(2, 8, 4)), axis=2)
    events = np.array([[bit >> n & 1 for n in range(4)] for bit in range(16)], float)
    expected = np.abs((one - other) @ events.T).max(axis=1)
    np.testing.assert_allclose(policy_change(one, other), expected)
    assert policy_change(np.eye(4)[:1], np.eye(4)[1:2]) == pytest.approx(1)
