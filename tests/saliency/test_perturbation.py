"""Methods that hide a part of the frame: each against a loop over single forward passes in NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy

from fls_jax.saliency import compute, compute_targets
from fls_jax.saliency.rise import random_masks
from tests.saliency.small import ACTIONS, SHAPE, frames, linear, linear_params, small, small_params, softmax

TARGETS = ["action", 1, "policy", "value"]
HEIGHT, WIDTH = SHAPE[:2]
_one = jax.jit(small)


@pytest.fixture(scope="module")
def params():
    return small_params(3)


def say(params, frame):
    """Logits and value of one frame."""
    logits, value = _one(params, np.asarray(frame, np.float32)[None])
    return np.asarray(logits, np.float64)[0], float(value[0])


def change(before, after, target):
    (logits, value), (new_logits, new_value) = before, after
    if target == "value":
        return 0.5 * (value - new_value) ** 2
    if target == "policy":
        return 0.5 * np.sum((logits - new_logits) ** 2)
    action = logits.argmax() if target == "action" else target
    return softmax(logits)[action] - softmax(new_logits)[action]


def blurred_variants(frame, step, sigma, blur):
    """Greydanus' variants of a frame on a grid that is centred on it, and where they stand."""
    frame = frame.astype(np.float64)
    smooth = np.stack([gaussian_filter(frame[..., c], blur) for c in range(frame.shape[-1])], axis=-1)
    rows, columns = (centred(n, step) for n in (HEIGHT, WIDTH))
    for row in rows:
        for column in columns:
            y, x = np.mgrid[:HEIGHT, :WIDTH]
            mask = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))[..., None]
            yield frame * (1 - mask) + smooth * mask


def centred(size, step):
    points = np.arange(0, size, step, dtype=float)
    return points + (size - 1 - points[-1]) / 2


def interpolated(grid, step):
    rows, columns = centred(HEIGHT, step), centred(WIDTH, step)
    along = np.stack([np.interp(np.arange(WIDTH), columns, line) for line in grid])
    return np.stack([np.interp(np.arange(HEIGHT), rows, line) for line in along.T], axis=1)


def agrees(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_greydanus_is_the_loop(params, rng):
    seen = frames(rng, 3)
    maps = compute_targets(small, params, seen, "greydanus", TARGETS, step=4, mask_sigma=3, blur_sigma=2)
    for target in TARGETS:
        for frame, ours in zip(seen, maps[target], strict=True):
            before = say(params, frame)
            scores = [change(before, say(params, v), target) for v in blurred_variants(frame, 4, 3, 2)]
            agrees(ours, interpolated(np.reshape(scores, (5, 6)), 4))


def test_sarfa_is_the_loop(params, rng):
    seen = frames(rng, 3)
    maps = compute_targets(small, params, seen, "sarfa", ["action", 1], step=4, mask_sigma=3, blur_sigma=2)
    for target in ("action", 1):
        for frame, ours in zip(seen, maps[target], strict=True):
            logits, _ = say(params, frame)
            action = logits.argmax() if target == "action" else target
            scores = []
            for variant in blurred_variants(frame, 4, 3, 2):
                old, new = softmax(logits), softmax(say(params, variant)[0])
                drop = old[action] - new[action]
                divergence = entropy(np.delete(new, action), np.delete(old, action))
                keep = 1 / (1 + divergence)
                scores.append(2 * drop * keep / (drop + keep) if drop > 0 else 0)
            agrees(ours, interpolated(np.reshape(scores, (5, 6)), 4))
    with pytest.raises(ValueError, match="sarfa explains an action; `value` is not one"):
        compute(small, params, seen, "sarfa", "value")


@pytest.mark.parametrize(("patch", "stride"), [(5, None), (6, 3), (7, 7)])
def test_occlusion_is_the_loop(params, patch, stride, rng):
    seen = frames(rng, 2)
    maps = compute_targets(small, params, seen, "occlusion", TARGETS, patch=patch, stride=stride, grey=100)
    step = stride or patch
    for target in TARGETS:
        for frame, ours in zip(seen, maps[target], strict=True):
            before, total, count = say(params, frame), np.zeros(SHAPE[:2]), np.zeros(SHAPE[:2])
            row = 0
            while row == 0 or row + patch - step < HEIGHT:
                column = 0
                while column == 0 or column + patch - step < WIDTH:
                    place = np.s_[row : row + patch, column : column + patch]
                    hidden = frame.copy()
                    hidden[place] = 100
                    total[place] += change(before, say(params, hidden), target)
                    count[place] += 1
                    column += step
                row += step
            assert count.min() >= 1
            agrees(ours, total / count)
    with pytest.raises(ValueError, match="stride must be 1 to patch, 5; it is 6"):
        compute(small, params, seen, "occlusion", stride=6)


def test_rise_with_given_masks_is_the_loop(params, rng):
    seen = frames(rng, 2)
    masks = rng.uniform(size=(37, *SHAPE[:2])).astype(np.float32)
    maps = compute_targets(small, params, seen, "rise", TARGETS, masks=masks, p=0.5)
    for target in TARGETS:
        for frame, ours in zip(seen, maps[target], strict=True):
            before, scores = say(params, frame), []
            for mask in masks:
                said = say(params, frame * mask[..., None])
                if target == "value":
                    scores.append(said[1])
                elif target == "policy":
                    scores.append(-change(before, said, "policy"))
                else:
                    action = before[0].argmax() if target == "action" else target
                    scores.append(softmax(said[0])[action])
            weights = np.array(scores) - np.mean(scores)
            agrees(ours, np.tensordot(weights, masks.astype(np.float64), 1) / (len(masks) * 0.5))
    with pytest.raises(ValueError, match=r"Masks must be \[M, 20, 24\]"):
        compute(small, params, seen, "rise", masks=masks[:, 1:])


def test_rise_finds_the_pixels_that_a_linear_network_reads(rng):
    weights = np.zeros((*SHAPE, ACTIONS + 1), np.float32)
    weights[4:8, 15:20, :, -1] = 1e-3
    seen = np.full((1, *SHAPE), 200, np.uint8)
    saliency = compute(linear, weights, seen, "rise", "value", samples=600)[0]
    row, column = np.unravel_index(saliency.argmax(), saliency.shape)
    assert 3 <= row <= 8
    assert 14 <= column <= 20
    # Without the offset's removal the rest would stand at the mean of V; with it, about zero.
    assert np.abs(np.median(saliency)) < 0.2 * saliency.max()


def test_masks_of_rise(rng):
    masks = random_masks(jax.random.key(5), 400, 8, 0.5, (84, 84))
    assert masks.shape == (400, 84, 84)
    assert masks.min() == 0
    assert masks.max() == pytest.approx(1)
    np.testing.assert_allclose(masks.mean(axis=0), 0.5, atol=0.12)
    np.testing.assert_allclose(masks.mean(), 0.5, atol=0.01)
    np.testing.assert_array_equal(random_masks(jax.random.key(5), 400, 8, 0.5, (84, 84)), masks)
    assert not np.array_equal(random_masks(jax.random.key(6), 400, 8, 0.5, (84, 84)), masks)
    steps = masks * 255
    assert np.abs(steps - np.round(steps)).max() > 0.4  # no 8-bit steps


def test_an_action_that_is_sure_of_itself_stays_finite(rng):
    weights, seen = linear_params(rng, scale=1.0), frames(rng)
    for method in ("greydanus", "sarfa"):
        maps = compute(linear, weights, seen, method)
        assert np.isfinite(maps).all()


def test_one_action_alone_has_no_specific_saliency(rng):
    weights, seen = linear_params(rng)[..., -2:], frames(rng)
    assert not compute(linear, weights, seen, "sarfa").any()
