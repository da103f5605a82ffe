"""Measures of single maps and pairs of maps against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy, pearsonr, spearmanr
from skimage.feature import hog as skimage_hog
from skimage.metrics import structural_similarity

from fls_jax.benchmark import location, shape, similarity
from fls_jax.statistics.clusters import cluster_means


@pytest.fixture
def maps(rng):
    return rng.gamma(0.5, size=(5, 84, 84)).astype(np.float32)


@pytest.fixture
def masks(rng):
    found = np.zeros((5, 84, 84), bool)
    for mask in found[:4]:
        row, column = rng.integers(0, 70, 2)
        mask[row : row + 9, column : column + 12] = True
    return found  # the last is empty


def test_lift_is_mass_over_area(maps, masks):
    for n in range(4):
        mass = maps[n][masks[n]].sum(dtype=float) / maps[n].sum(dtype=float)
        np.testing.assert_allclose(location.mass_share(maps, masks)[n], mass, rtol=1e-5)
        np.testing.assert_allclose(location.area_share(masks)[n], 108 / 7056)
        np.testing.assert_allclose(location.lift(maps, masks)[n], mass * 7056 / 108, rtol=1e-5)
    for measure in (location.lift, location.mass_share, location.pointing, location.rank_accuracy):
        assert np.isnan(measure(maps, masks)[4])
    np.testing.assert_allclose(location.lift(np.ones_like(maps), masks)[:4], 1)
    assert np.isnan(location.lift(np.zeros_like(maps), masks)).all()


def test_pointing_and_rank_accuracy(maps, masks):
    for n in range(4):
        top = np.argsort(-maps[n], axis=None)
        assert location.pointing(maps, masks)[n] == masks[n].ravel()[top[0]]
        expected = masks[n].ravel()[top[:108]].mean()
        np.testing.assert_allclose(location.rank_accuracy(maps, masks)[n], expected)
    np.testing.assert_allclose(location.rank_accuracy(masks.astype(float), masks)[:4], 1)


def test_ties_count_by_their_share(masks):
    """A flat map points anywhere: its scores are the mask's share of the screen."""
    flat = np.ones(masks.shape, np.float32)
    share = masks.mean(axis=(1, 2))[:4]
    np.testing.assert_allclose(location.pointing(flat, masks)[:4], share)
    np.testing.assert_allclose(location.rank_accuracy(flat, masks)[:4], share)
    mixed = flat.copy()
    mixed[:, 0, 0] = 2  # one pixel above all, off the masks or on them
    inside = masks[:4, 0, 0]
    expected = (inside + 107 * (108 - inside) / 7055) / 108
    np.testing.assert_allclose(location.rank_accuracy(mixed, masks)[:4], expected)


def test_gini_is_the_mean_difference_of_pairs(rng):
    small = rng.gamma(0.7, size=(3, 6, 7))
    for each, ours in zip(small, shape.gini(small), strict=True):
        flat = each.ravel()
        pairs = np.abs(flat[:, None] - flat[None]).mean() / (2 * flat.mean())
        np.testing.assert_allclose(ours, pairs)
    np.testing.assert_allclose(shape.gini(np.ones((1, 5, 5))), 0, atol=1e-12)
    assert np.isnan(shape.gini(np.zeros((1, 5, 5)))).all()


def test_effective_area_is_of_the_entropy(maps):
    expected = [np.exp(entropy(each.ravel().astype(float))) / 7056 for each in maps]
    np.testing.assert_allclose(shape.effective_area(maps), expected, rtol=1e-5)
    half = np.zeros((1, 10, 10))
    half[:, :5] = 3
    np.testing.assert_allclose(shape.effective_area(half), 0.5)
    assert np.isnan(shape.effective_area(half * 0)).all()


def test_correlations_are_scipys(maps, rng):
    other = np.round(maps + rng.normal(size=maps.shape), 1)  # with ties
    for n in range(len(maps)):
        pair = maps[n].ravel(), other[n].ravel()
        np.testing.assert_allclose(shape.correlation(maps, other)[n], pearsonr(*pair).statistic, rtol=1e-4)
        np.testing.assert_allclose(similarity.spearman(maps, other)[n], spearmanr(*pair).statistic, rtol=1e-6)
    assert np.isnan(shape.correlation(maps, np.ones_like(maps))).all()


def test_ssim_is_scikit_images(maps, rng):
    other = maps + rng.normal(size=maps.shape)
    for n, ours in enumerate(similarity.ssim(maps, other)):
        a, b = ((m[n] - m[n].min()).astype(float) / float(np.ptp(m[n])) for m in (maps, other))
        theirs = structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(similarity.ssim(maps, 3 * maps + 1), 1, rtol=1e-4)


def test_hog_is_scikit_images(maps, rng):
    smooth = np.cumsum(np.cumsum(rng.normal(size=maps.shape), axis=1), axis=2)
    for each in (*maps.astype(float), *smooth):
        theirs = skimage_hog(each, 9, (12, 12), (1, 1), block_norm="L2-Hys")
        np.testing.assert_allclose(similarity.hog(each), theirs, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(similarity.hog_correlation(smooth, 2 * smooth + 3), 1)
    assert np.isnan(similarity.hog_correlation(smooth, np.ones_like(smooth))).all()


def test_means_over_frames_with_games_resampled(rng):
    games = np.repeat([4, 7, 9, 11, 15], [30, 10, 20, 5, 35])
    values = (
        rng.normal(size=(100, 2)) + rng.normal(size=5)[np.searchsorted([4, 7, 9, 11, 15], games)][:, None]
    )
    values[::7, 1] = np.nan
    whole, holed = cluster_means(values, games)
    np.testing.assert_allclose(whole.value, values[:, 0].mean())
    np.testing.assert_allclose(holed.value, np.nanmean(values[:, 1]))
    assert (whole.n, holed.n) == (100, np.isfinite(values[:, 1]).sum())
    draws = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(games == g) for g in rng.choice([4, 7, 9, 11, 15], 5)])
        draws.append(values[rows, 0].mean())
    np.testing.assert_allclose([whole.low, whole.high], np.percentile(draws, [2.5, 97.5]), atol=0.25)
    shifted = cluster_means(values - 1, games)[0]
    np.testing.assert_allclose([shifted.low, shifted.high], [whole.low - 1, whole.high - 1])
    alone = cluster_means(values[:30], games[:30])[0]
    assert np.isnan([alone.low, alone.high]).all()
    empty = cluster_means(np.full((100, 1), np.nan), games)[0]
    assert np.isnan(empty.value)
    assert empty.n == 0
