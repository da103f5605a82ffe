"""Attention on the observation against NumPy, the screen against scikit-image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.transform import resize

from fls_jax.networks.geometry import attention_shape
from fls_jax.networks.modules import ActorCritic
from fls_jax.networks.specs import NETWORKS
from fls_jax.saliency.projection import enlarge, interpolation, project, to_screen
from tests.oracles import networks as oracle


def random_attention(name, rng, batch=3):
    return rng.random((batch, *attention_shape(NETWORKS[name])), dtype=np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_paper_protocol_is_the_published_transposed_convolution(name, rng):
    attention = random_attention(name, rng)
    maps = np.asarray(project(attention, NETWORKS[name], protocol="paper"))
    assert maps.shape == (3, 84, 84)
    if "patch" in name:  # ours: the last row and column are read by no layer
        attention[:, 20:] = attention[:, :, 20:] = 0
    np.testing.assert_allclose(maps, oracle.painted(name, attention), rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_aligned_differs_from_paper_only_for_the_padded_network(name, rng):
    attention = random_attention(name, rng)
    paper = np.asarray(project(attention, NETWORKS[name], protocol="paper"))
    aligned = np.asarray(project(attention, NETWORKS[name]))
    if name == "cnn_rsppo":
        moved = np.zeros_like(paper)
        moved[:, :-1, :-1] = paper[:, 1:, 1:]
        np.testing.assert_array_equal(aligned, moved)
    else:
        np.testing.assert_array_equal(aligned, paper)


@pytest.mark.parametrize("name", ["cnn_patch_fls", "cnn_sparse_fls"])
def test_only_what_changes_the_answer_is_drawn(name, rng):
    """Pixels without any derivative, through the whole network, lie where a positive map is drawn as 0."""
    network = ActorCritic(NETWORKS[name], num_actions=4, takes_float=True)
    frames = jnp.asarray(rng.uniform(0, 255, (8, 84, 84, 4)), jnp.float32)
    params = network.init(jax.random.key(0), frames)
    derivative = jax.grad(lambda seen: network.apply(params, seen).value.sum())(frames)
    drawn = np.asarray(project(random_attention(name, rng) + 0.1, NETWORKS[name]))[0]
    np.testing.assert_array_equal(drawn > 0, np.abs(derivative).sum(axis=(0, 3)) > 0)
    assert (drawn == 0).any() == ("patch" in name)


def test_screen_is_what_scikit_image_makes_of_it(rng):
    maps = rng.random((4, 84, 84), dtype=np.float32)
    screens = np.asarray(to_screen(maps))
    assert screens.shape == (4, 210, 160)
    assert screens.dtype == np.float32
    for screen, one in zip(screens, maps, strict=True):
        np.testing.assert_allclose(screen, resize(one.astype(float), (210, 160)), atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 7), (7, 11), (20, 84), (84, 100), (210, 160)])
def test_any_enlargement_is_what_scikit_image_makes_of_it(shape, rng):
    maps = rng.normal(size=(1, 7, 7)).astype(np.float32)
    expected = resize(maps[0].astype(float), shape)
    np.testing.assert_allclose(np.asarray(enlarge(maps, shape))[0], expected, atol=2e-6)


def test_a_constant_map_stays_constant():
    np.testing.assert_allclose(np.asarray(to_screen(np.full((1, 84, 84), 3.0))), 3.0, rtol=1e-6)
    np.testing.assert_array_equal(interpolation(1, 4), np.ones((4, 1)))


def test_empty_batches():
    assert project(np.zeros((0, 7, 7)), NETWORKS["cnn"]).shape == (0, 84, 84)
    assert to_screen(np.zeros((0, 84, 84))).shape == (0, 210, 160)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"cnn must be \[B, 7, 7\]; this has shape \[1, 20, 20\]"):
        project(np.zeros((1, 20, 20)), NETWORKS["cnn"])
    with pytest.raises(ValueError, match="no protocol 'published'; choose one of: aligned, paper"):
        project(np.zeros((1, 7, 7)), NETWORKS["cnn"], protocol="published")
    with pytest.raises(ValueError, match=r"must be \[B, h, w\]"):
        to_screen(np.zeros((84, 84)))
    with pytest.raises(ValueError, match="84x84 cannot be enlarged to 20x20"):
        enlarge(np.zeros((1, 84, 84)), (20, 20))
