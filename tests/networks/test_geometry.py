"""Receptive fields from the specs against the published table, gradients and plain loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.networks.geometry import (
    Geometry,
    attention_geometry,
    attention_shape,
    conv_geometry,
    paint,
    positions_read,
)
from fls_jax.networks.specs import NETWORKS, SPARSE, network_spec
from tests.oracles import networks as oracle


@pytest.mark.parametrize("name", NETWORKS)
def test_published_geometry(name):
    assert tuple(attention_geometry(network_spec(name), published=True)) == tuple(oracle.GEOMETRY[name])


def test_only_padded_rsppo_differs_from_the_truth():
    differing = [
        name
        for name, spec in NETWORKS.items()
        if attention_geometry(spec) != attention_geometry(spec, published=True)
    ]
    assert differing == ["cnn_rsppo"]
    assert attention_geometry(network_spec("cnn_rsppo")) == Geometry(36, 8, 1)


def kernels_of(name, rng):
    """Kernels of the torso by the number of their layer, none of them negative, so that nothing cancels."""
    parameters = oracle.random_parameters(name, 4, rng)
    return {
        number: jnp.abs(jnp.asarray(parameters[f"conv{number}/kernel"], jnp.float32))
        for number in range(1, len(network_spec(name).torso) + 1)
    }


@pytest.mark.parametrize(
    "name", ["cnn_rsppo", "cnn_sparse_fls", "cnn_sparse_fls_h1", "cnn_dense_fls", "cnn_patch_fls"]
)
def test_a_painted_position_is_what_its_feature_sees(name, rng):
    """The pixels with a gradient from one feature before its gate are exactly the pixels it paints."""
    spec = network_spec(name)
    first = spec.attention.after[0]
    kernels = kernels_of(name, rng)
    size = attention_shape(spec)[0]
    for row, column in [(0, 0), (size // 2, size - 1)]:

        def feature(x, row=row, column=column):
            pad = spec.input_padding
            x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
            for number, layer in enumerate(spec.torso[:first], start=1):
                x = jax.lax.conv_general_dilated(
                    x,
                    kernels[number],
                    (layer.stride,) * 2,
                    layer.padding,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            return x[0, row, column].sum()

        seen = jax.jit(jax.grad(feature))(jnp.ones((1, 84, 84, 4)))[0].sum(axis=-1) > 0
        attention = jnp.zeros((1, size, size)).at[0, row, column].set(1.0)
        np.testing.assert_array_equal(paint(attention, attention_geometry(spec))[0] > 0, seen)


@pytest.mark.parametrize("geometry", [(36, 8, 0), (8, 4, 0), (13, 1, 6), (36, 8, 1), (4, 4, 0)])
def test_paint_agrees_with_plain_loops(geometry, rng):
    geometry = Geometry(*geometry)
    size = {8: 7, 4: 21 if geometry.receptive_field == 4 else 20, 1: 84}[geometry.stride]
    attention = rng.random((2, size, size))
    ours = paint(jnp.asarray(attention, jnp.float32), geometry)
    crop = 0 if geometry.padding == 1 else geometry.padding
    theirs = oracle.paint(attention, geometry.receptive_field, geometry.stride, crop)
    if geometry.padding == 1:  # the true map of the padded network: the published one, one pixel up and left
        theirs = np.pad(theirs[:, 1:, 1:], ((0, 0), (0, 1), (0, 1)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_later_gates_on_the_first_gates_grid():
    assert conv_geometry(SPARSE[1:2]) == Geometry(4, 2, 0)
    assert conv_geometry(SPARSE[1:3]) == Geometry(8, 2, 0)


@pytest.mark.parametrize("name", [name for name, spec in NETWORKS.items() if spec.attention])
def test_the_positions_that_are_read_are_those_whose_gate_changes_something(name, rng):
    """A gradient through all that stands behind the gate: the last row and column of patches have none."""
    spec = network_spec(name)
    (first, *_), size = spec.attention.after, attention_shape(spec)[0]
    kernels = kernels_of(name, rng)

    def behind(gate):
        x = jnp.ones((1, size, size, spec.torso[first - 1].features)) * gate[None, :, :, None]
        for number, layer in enumerate(spec.torso[first:], start=first + 1):
            x = jax.lax.conv_general_dilated(
                x,
                kernels[number],
                (layer.stride,) * 2,
                layer.padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return x.sum()

    read = np.asarray(jax.jit(jax.grad(behind))(jnp.ones((size, size))) > 0)
    expected = np.arange(size) < positions_read(spec)
    np.testing.assert_array_equal(read, np.outer(expected, expected))
    assert positions_read(spec) == (20 if "patch" in name else size)


def test_a_uniform_map_of_patches_is_flat():
    geometry = attention_geometry(network_spec("cnn_patch_fls"))
    np.testing.assert_array_equal(paint(jnp.ones((1, 21, 21)), geometry), np.ones((1, 84, 84)))
