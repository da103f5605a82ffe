from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from fls_jax.gaze.controls import (
    centre_map,
    frame_differences,
    gaze_map,
    network_maps,
    random_maps,
    uniform_map,
)
from fls_jax.gaze.scoring import draw_other_frames, frame_keys
from fls_jax.networks.specs import NETWORKS
from tests.gaze import oracle
from tests.oracles import networks

SPACES = ("screen", "input")


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("protocol", ["aligned", "paper"])
@pytest.mark.parametrize("name", ["cnn", "cnn_sparse_fls", "cnn_sparse_fls_x3", "cnn_dense_fls", "cnn_rsppo"])
def test_the_uniform_map_has_the_networks_own_geometry(name, protocol, space):
    receptive_field, stride, padding = networks.GEOMETRY[name]
    size = {"cnn_sparse_fls_x3": 20, "cnn_dense_fls": 84}.get(name, 7)
    painted = networks.paint(np.ones((1, size, size)), receptive_field, stride, padding)[0]
    if (name, protocol) == ("cnn_rsppo", "aligned"):  # its input is padded: one pixel up and left, then zeros
        painted = np.pad(painted[1:, 1:], ((0, 1), (0, 1)))
    expected = oracle.resize(painted, (210, 160)) if space == "screen" else painted
    ours = uniform_map(NETWORKS[name], protocol, space)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    ones = np.ones((2, size, size), np.float32)
    np.testing.assert_allclose(network_maps(ones, NETWORKS[name], protocol, space)[1], ours)


def test_maps_are_resized_as_scikit_image_does_and_plateaus_stay_flat_to_the_last_bit(rng):
    attention = rng.random((2, 7, 7)).astype(np.float32)
    painted = networks.paint(attention.astype(np.float64), *oracle.SPARSE_GEOMETRY)
    expected = np.stack([oracle.resize(map_, (210, 160)) for map_ in painted])
    ours = np.asarray(network_maps(attention, NETWORKS["cnn_sparse_fls"], "aligned", "screen"))
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)
    # Rows 8 to 15 of the input are one plateau, and so are columns 16 to 23.
    inside = ours[:, 22:38, 32:44]
    assert (inside == inside[:, :1, :1]).all()


@pytest.mark.parametrize("space", SPACES)
def test_the_centre_and_the_gaze_of_others(space, rng):
    np.testing.assert_allclose(centre_map(space), oracle.centre(space), rtol=1e-5)
    counts = rng.poisson(0.01, oracle.SHAPES[space])
    expected = oracle.metrics.blur(counts, oracle.SIGMA[space])
    np.testing.assert_allclose(gaze_map(counts, space), expected, rtol=1e-4, atol=1e-7)


def test_what_moved_between_the_last_two_planes(rng):
    stacks = rng.integers(0, 256, (3, 84, 84, 4), dtype=np.uint8)
    expected = np.abs(stacks[..., 3].astype(float) - stacks[..., 2].astype(float)) / 255
    np.testing.assert_allclose(frame_differences(stacks, "input"), expected, rtol=1e-6)
    assert frame_differences(stacks, "screen").shape == (3, 210, 160)


@pytest.mark.parametrize("space", SPACES)
def test_random_maps_are_uniform_independent_and_belong_to_trial_and_frame(space):
    frames = np.array([0, 4, 8], np.int32)
    maps = np.asarray(random_maps(frame_keys(118, frames).noise, space))
    assert maps.shape == (3, *oracle.SHAPES[space])
    assert stats.kstest(maps.ravel(), "uniform").pvalue > 0.001
    assert abs(np.corrcoef(maps.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.05
    alone = random_maps(frame_keys(118, frames[1:2]).noise, space)
    np.testing.assert_array_equal(alone[0], maps[1])
    assert not np.array_equal(random_maps(frame_keys(119, frames[1:2]).noise, space)[0], maps[1])


def test_other_frames_are_uniform_with_replacement_and_never_the_own():
    count, own = 6, np.arange(6)
    drawn = np.concatenate(
        [
            draw_other_frames(frame_keys(t, own.astype(np.int32)).others, own, count)[:, None]
            for t in range(60)
        ],
        axis=1,
    )
    assert drawn.shape == (6, 60, 10)
    for k in own:
        seen = np.bincount(drawn[k].ravel(), minlength=count)
        assert seen[k] == 0
        assert stats.chisquare(np.delete(seen, k)).pvalue > 0.001
    repeats = [len(set(draw)) < 10 for draw in drawn.reshape(-1, 10).tolist()]
    assert all(repeats)  # ten draws among five


def test_a_frame_alone_has_no_others():
    keys = frame_keys(1, np.zeros(1, np.int32)).others
    assert draw_other_frames(keys, np.zeros(1, int), 1).shape == (1, 0)


def test_what_is_drawn_for_one_thing_is_not_drawn_for_another():
    keys = frame_keys(3, np.arange(50, dtype=np.int32))
    data = np.concatenate([jax.random.key_data(part) for part in keys])
    assert len(np.unique(data, axis=0)) == 150
