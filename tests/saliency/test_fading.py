"""Faded frames whose first convolution is factorised: as each faded frame would be answered as an image."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fls_jax.networks.compiled import compiled_network
from fls_jax.networks.replacement import TRAINED, make_replacement
from fls_jax.networks.specs import NETWORKS, network_spec
from fls_jax.saliency import fading
from fls_jax.saliency.question import Question
from tests.saliency.small import SHAPE, frames, small, small_params


def masks(rng, shape, rows=3, columns=4):
    return [rng.uniform(size=pair).astype(np.float32) for pair in ((rows, shape[0]), (columns, shape[1]))]


def agree(apply, params, seen, others, rows, columns):
    """Logits and values are those of the faded frames, made in NumPy and answered one by one."""
    question = Question(apply, params, seen, ("value",), jax.random.key(0))
    ours = fading.faded_answers(question, others, rows, columns)
    one = jax.jit(apply)
    for b, frame in enumerate(seen.astype(np.float64)):
        for m in range(len(rows) * len(columns)):
            mask = np.outer(rows[m // len(columns)], columns[m % len(columns)])[..., None]
            faded = (frame + mask * (others[b] - frame)).astype(np.float32)
            logits, value = one(params, faded[None])[:2]
            np.testing.assert_allclose(ours.logits[b, m], logits[0], rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(ours.value[b, m], value[0], rtol=2e-5, atol=2e-5)


@pytest.fixture
def no_images(monkeypatch):
    """Fails where whole faded frames are made."""

    def refuse(*_):
        raise AssertionError("The first convolution was not factorised.")

    monkeypatch.setattr(fading, "answers", refuse)


@pytest.mark.parametrize("name", ["cnn_patch_fls", "cnn_rsppo"])
def test_our_networks_answer_as_for_images(name, rng, no_images):
    network = ours(name)
    shapes = jax.eval_shape(network.initialise, jax.random.key(1))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(np.float32), shapes)
    weights = params, make_replacement(TRAINED)
    seen = frames(rng, 1, (84, 84, 4))
    others = rng.uniform(0, 255, seen.shape).astype(np.float32)
    agree(network.forward, weights, seen, others, *masks(rng, seen.shape[1:], 2, 9))  # a slice of 8, one of 1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_ours_is_factorised(name):
    network = ours(name)
    weights = jax.eval_shape(network.initialise, jax.random.key(1)), make_replacement(TRAINED)
    images, mask = jnp.zeros((2, 84, 84, 4), jnp.uint8), jnp.zeros((17, 84))
    row = partial(fading._row, network.forward)
    answer = jax.eval_shape(row, weights, (images, images.astype(jnp.float32)), mask[0], mask)
    assert answer.logits.shape == (2, 17, 5)


def ours(name):
    return compiled_network(network_spec(name), 5, "float32", "highest")


class Unusual(nn.Module):
    """Scaled twice, moved and padded; a convolution with gaps, unlike in height and width."""

    @nn.compact
    def __call__(self, seen):
        x = 2.0 * ((seen.astype(jnp.float32) - 100.0) / 50.0) + 0.25
        x = jnp.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=0.5)
        x = nn.relu(nn.Conv(7, (3, 5), strides=(3, 2), padding=((2, 0), (1, 4)))(x))
        x = x.reshape(len(x), -1)
        return nn.Dense(3)(x), nn.Dense(1)(x)[:, 0]


def test_scaling_padding_and_strides_are_followed(rng, no_images):
    seen = frames(rng, 5)
    others = rng.uniform(0, 255, seen.shape).astype(np.float32)
    network = Unusual()
    params = network.init(jax.random.key(2), jnp.zeros((1, *SHAPE)))
    agree(network.apply, params, seen, others, *masks(rng, SHAPE))
    agree(jax.jit(small), small_params(1), seen, others, *masks(rng, SHAPE, 1, 1))


def by_a_square(params, seen):
    return small(params, seen.astype(jnp.float32) * (seen.astype(jnp.float32) / 255))


def past_the_convolution(params, seen):
    logits, value = small(params, seen)
    return logits, value + seen.astype(jnp.float32).mean(axis=(1, 2, 3))


def reversed_in_the_batch(params, seen):
    return jax.tree.map(lambda x: x[::-1], small(params, seen[::-1]))


def by_the_reciprocal(params, seen):
    return small(params, 255.0 / (seen.astype(jnp.float32) + 1.0))


def in_whole_numbers(params, seen):
    return small(params, seen.astype(jnp.uint8))


def in_a_loop(params, seen):
    return jax.lax.map(lambda one: jax.tree.map(lambda x: x[0], small(params, one[None])), seen)


def in_groups(params, seen):
    kernel = jnp.ones((3, 3, 1, 3), jnp.float32)
    how = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 3}
    x = jax.lax.conv_general_dilated(seen.astype(jnp.float32), kernel, (1, 1), "SAME", **how)
    return small(params, x)


@pytest.mark.parametrize(
    "apply",
    [
        by_a_square,
        past_the_convolution,
        reversed_in_the_batch,
        by_the_reciprocal,
        in_whole_numbers,
        in_a_loop,
        in_groups,
    ],
)
def test_what_is_not_linear_gets_whole_frames(apply, rng):
    seen = frames(rng, 2)
    others = rng.uniform(0, 255, seen.shape).astype(np.float32)
    rows, columns = masks(rng, SHAPE)
    with pytest.raises(fading._OtherUseError):
        fading._in_rows(
            Question(apply, small_params(), seen, ("value",), jax.random.key(0)),
            (seen, others),
            rows,
            columns,
        )
    agree(apply, small_params(), seen, others, rows, columns)


def test_a_function_that_ignores_its_frames_is_answered(rng):
    seen = frames(rng, 2)

    def constant(params, x):
        return jnp.zeros((len(x), 3)) + params, jnp.ones(len(x))

    question = Question(constant, np.float32(0.5), seen, ("value",), jax.random.key(0))
    answer = fading.faded_answers(question, seen.astype(np.float32), *masks(rng, SHAPE))
    np.testing.assert_array_equal(answer.logits, np.full((2, 12, 3), 0.5))
    np.testing.assert_array_equal(answer.value, np.ones((2, 12)))
