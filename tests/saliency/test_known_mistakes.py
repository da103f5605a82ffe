"""Mistakes of published code that ours does not make."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.saliency import compute
from fls_jax.saliency.perturbation import blurred_frames, grid
from fls_jax.saliency.projection import between
from tests.saliency.small import frames, small, small_params

SIZE = 84


def pixel(params, seen):
    """A network that reads one pixel of every frame and nothing else."""
    row, column = params
    read = seen.astype(jnp.float32)[:, row, column].mean(axis=-1)
    return jnp.stack([read, jnp.zeros_like(read)], axis=1) / 100, read


@pytest.mark.parametrize("method", ["greydanus", "occlusion", "rise"])
@pytest.mark.parametrize("place", [(2, 2), (41, 42), (81, 81), (81, 2), (83, 83), (0, 83)])
def test_saliency_is_where_the_network_looks(method, place, rng):
    """A grid without its last row and column, stretched, would draw it up and left by up to 4 pixels."""
    seen = rng.integers(0, 256, (1, SIZE, SIZE, 4), dtype=np.uint8)
    seen[0, place[0], place[1]] = 255  # which blur and grey both change
    parameters = {"samples": 400} if method == "rise" else {}
    (saliency,) = compute(pixel, place, seen, method, "value", **parameters)
    mass = np.maximum(saliency - 0.5 * saliency.max(), 0)
    centre = [float((mass.sum(axis=1 - axis) * np.arange(SIZE)).sum() / mass.sum()) for axis in (0, 1)]
    reach = {"greydanus": 5.5, "occlusion": 2.5, "rise": 9}[method]  # half a mask at the frame's edge
    assert np.abs(np.subtract(centre, place)).max() <= reach


def test_grids_cover_the_frame_evenly():
    for size, step in [(84, 5), (84, 4), (84, 84), (21, 5), (20, 4), (5, 7)]:
        points = grid(size, step)
        assert points[0] == size - 1 - points[-1]
        assert 0 <= points[0] <= (step - 1) / 2
        np.testing.assert_allclose(np.diff(points), step)
    assert len(grid(84, 5)) == 17


@pytest.mark.parametrize("method", ["greydanus", "sarfa", "occlusion", "gradient", "grad_cam"])
def test_a_mirrored_network_has_mirrored_saliency(method, rng):
    """Nothing drifts: what lies right in the one lies left in the other, to the pixel."""
    shape = (20, 20, 4)  # occlusion's patches of 5 fit it
    weights = rng.normal(size=(*shape, 3)).astype(np.float32) / 400

    def net(params, x):
        hidden = jnp.einsum("bhwc,hwca->ba", x.astype(jnp.float32), params, precision="highest")
        return jax.nn.relu(hidden), hidden.sum(axis=1)

    def convolved(params, x):
        window = jnp.ones((3, 3, 4, 3), jnp.float32) / 9
        features = jax.lax.conv_general_dilated(
            x.astype(jnp.float32), window, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return net(params, jnp.concatenate([features, features[..., :1]], axis=-1))

    seen = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    apply = convolved if method == "grad_cam" else net
    one = compute(apply, weights, seen, method, 1)
    other = compute(apply, weights[::-1, ::-1], seen[:, ::-1, ::-1], method, 1)
    np.testing.assert_allclose(other[:, ::-1, ::-1], one, rtol=1e-3, atol=1e-4 * np.abs(one).max())


def test_values_between_grid_points_stay_where_they_are():
    """What was measured at a point is there, and a ramp is a ramp: no stretching."""
    points = grid(84, 5)
    matrix = between(points, 84)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    inside = np.arange(84)[(np.arange(84) >= points[0]) & (np.arange(84) <= points[-1])]
    np.testing.assert_allclose((matrix @ points)[inside], inside, rtol=1e-5)


def test_frames_are_not_blurred_into_each_other(rng):
    seen = np.zeros((1, SIZE, SIZE, 4), np.uint8)
    seen[..., 2] = rng.integers(0, 256, (SIZE, SIZE))
    blurred = blurred_frames(seen, 3)
    assert blurred[..., 2].std() > 1
    assert not blurred[..., [0, 1, 3]].any()
    same = np.repeat(rng.integers(0, 256, (1, SIZE, SIZE, 1), dtype=np.uint8), 4, axis=-1)
    np.testing.assert_array_equal(np.ptp(blurred_frames(same, 3), axis=-1), 0)


def test_nothing_is_rounded_to_8_bits(rng):
    """Variants reach the network with fractions, and maps have more than 256 values."""
    asked = []

    def watching(params, x):
        if x.dtype == jnp.float32:
            jax.debug.callback(lambda y: asked.append(np.asarray(y)), x)
        return small(params, x)

    seen = frames(rng, 1)
    saliency = compute(watching, small_params(), seen, "greydanus", "value", step=10)
    jax.effects_barrier()
    assert asked
    assert any((batch != np.round(batch)).any() for batch in asked)
    fine = compute(
        small, small_params(), np.tile(seen, (1, 3, 3, 1))[:, :20, :24], "greydanus", "value", step=2
    )
    assert len(np.unique(fine)) > 256
    assert saliency.dtype == np.float32
