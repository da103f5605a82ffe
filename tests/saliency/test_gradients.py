"""Methods from derivatives: a linear network, finite differences, and NumPy's own passes back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.transform import resize

from fls_jax.saliency import Question, compute, compute_targets
from fls_jax.saliency.averages import completeness_gaps, integrated_gradients
from fls_jax.saliency.gradients import _at_layer
from tests.saliency.small import ACTIONS, SHAPE, frames, linear, linear_params, small, small_params

TARGETS = ["action", 2, "policy", "value"]


@pytest.fixture(scope="module")
def params():
    return small_params()


def rows_of(weights, seen, target):
    """The linear network's weights of what a target names, [n, B, H, W, C]."""
    if target == "value":
        return np.repeat(weights[..., -1][None, None], len(seen), axis=1)
    if target == "policy":
        return np.stack([np.repeat(weights[..., a][None], len(seen), axis=0) for a in range(ACTIONS)])
    logits = np.einsum("bhwc,hwca->ba", seen.astype(np.float64), weights[..., :-1])
    actions = logits.argmax(axis=1) if target == "action" else np.full(len(seen), target)
    return np.moveaxis(weights, -1, 0)[actions][None]


@pytest.mark.parametrize("target", TARGETS)
def test_a_linear_network_is_explained_exactly(target, rng):
    weights, seen = linear_params(rng), frames(rng)
    rows = rows_of(weights, seen, target)
    expected = {
        "gradient": np.abs(rows).max(axis=-1),
        "gradient_x_input": (rows * seen.astype(np.float32)).sum(axis=-1),
        "smoothgrad": np.abs(rows).max(axis=-1),
        "vargrad": np.zeros(rows.shape[:-1]),
        "integrated_gradients": (rows * seen.astype(np.float32)).sum(axis=-1),
    }
    for method, each in expected.items():
        maps = compute(linear, weights, seen, method, target)
        assert maps.dtype == np.float32
        joined = np.sqrt((each**2).sum(axis=0)) if target == "policy" else each[0]
        np.testing.assert_allclose(maps, joined, rtol=1e-4, atol=1e-5, err_msg=method)


def output_of(params, seen, target, actions):
    logits, value = (np.asarray(x, np.float64) for x in jax.jit(small)(params, seen))
    return value if target == "value" else logits[np.arange(len(seen)), actions]


@pytest.mark.parametrize("target", ["action", "value"])
def test_gradients_are_finite_differences(params, target, rng):
    seen = frames(rng, 2)
    actions = np.asarray(small(params, seen)[0]).argmax(axis=1)
    gradient, times = (compute(small, params, seen, m, target) for m in ("gradient", "gradient_x_input"))
    scale = gradient.max()
    for row, column in rng.integers(0, SHAPE[:2], (6, 2)):
        slopes = []
        for channel in range(SHAPE[2]):
            up, down = (seen.astype(np.float32) for _ in range(2))
            up[:, row, column, channel] += 0.5
            down[:, row, column, channel] -= 0.5
            slopes.append(output_of(params, up, target, actions) - output_of(params, down, target, actions))
        np.testing.assert_allclose(
            gradient[:, row, column], np.abs(slopes).max(axis=0), rtol=0.02, atol=0.01 * scale
        )
        there = (np.array(slopes).T * seen[:, row, column]).sum(axis=1)
        np.testing.assert_allclose(times[:, row, column], there, rtol=0.02, atol=2 * scale)


@pytest.mark.parametrize("baseline", ["black", "background", "given"])
@pytest.mark.parametrize("target", ["action", "value"])
def test_integrated_gradients_are_complete(params, baseline, target, rng):
    """The sum of a map is the output's difference between input and baseline, within 1 %."""
    seen = frames(rng, 4)
    given = rng.uniform(0, 255, SHAPE).astype(np.float32)
    start = {
        "black": np.zeros(SHAPE, np.float32),
        "background": np.repeat(
            np.median(np.moveaxis(seen, -1, 1).reshape(-1, *SHAPE[:2]), axis=0)[..., None], SHAPE[2], -1
        ).astype(np.float32),
        "given": given,
    }[baseline]
    maps = compute(
        small,
        params,
        seen,
        "integrated_gradients",
        target,
        baseline=given if baseline == "given" else baseline,
    )
    actions = np.asarray(small(params, seen)[0]).argmax(axis=1)
    before, after = (
        output_of(params, x, target, actions) for x in (np.repeat(start[None], len(seen), 0), seen)
    )
    scale = np.abs(after - before).max()
    assert scale > 0.1
    # A difference near 0 is not met to a share of itself: the steps have a limit.
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), after - before, rtol=0.01, atol=0.005 * scale)


def test_the_gap_of_integrated_gradients_is_told(params, rng):
    """With one step sums are wrong: the gaps are those of the sums, and none is told of the joined maps."""
    seen = frames(rng, 4)
    question = Question(small, params, seen, ("action", "value", "policy"), jax.random.key(0))
    start = rng.uniform(0, 255, SHAPE).astype(
        np.float32
    )  # from black this network, without biases, is linear
    maps = integrated_gradients(question, steps=1, baseline=start, tolerance=9.0)
    gaps = completeness_gaps(question, maps, start)
    actions = np.asarray(small(params, seen)[0]).argmax(axis=1)
    for row, target in enumerate(("action", "value")):
        there = output_of(params, np.repeat(start[None], 4, axis=0), target, actions)
        change = output_of(params, seen, target, actions) - there
        expected = np.abs(maps[row].sum(axis=(1, 2)) - change) / np.abs(change)
        np.testing.assert_allclose(gaps[row], expected, rtol=1e-3)
    assert gaps[:2].max() > 0.02
    assert np.isnan(gaps[2]).all()


def test_smoothgrad_and_vargrad_are_mean_and_variance_over_noise(params, rng):
    """Sampled here with other noise: the same in expectation."""
    seen = frames(rng, 2)
    samples, noise = 600, 0.1
    smooth, spread = (
        compute(small, params, seen, m, "value", samples=samples, noise=noise)
        for m in ("smoothgrad", "vargrad")
    )
    slope = jax.jit(jax.grad(lambda x: small(params, x)[1].sum()))
    ranges = (seen.max(axis=(1, 2, 3)) - seen.min(axis=(1, 2, 3)).astype(int))[:, None, None, None]
    draws = np.stack(
        [
            slope(jnp.asarray(seen + noise * ranges * rng.normal(size=seen.shape), jnp.float32))
            for _ in range(samples)
        ]
    )
    error = draws.std(axis=0).max() / np.sqrt(samples)
    np.testing.assert_allclose(smooth, np.abs(draws.mean(axis=0)).max(axis=-1), atol=7 * error)
    expected = draws.var(axis=0).max(axis=-1)
    assert np.corrcoef(spread.ravel(), expected.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(spread.mean(), expected.mean(), rtol=0.05)


def test_noise_is_of_a_frame_whatever_stands_beside_it(params, rng):
    seen, key = frames(rng, 5), jax.random.key(7)
    whole = compute(small, params, seen, "smoothgrad", key=key, samples=3)
    np.testing.assert_allclose(
        compute(small, params, seen[:2], "smoothgrad", key=key, samples=3), whole[:2], rtol=1e-4, atol=1e-7
    )
    assert not np.allclose(
        compute(small, params, seen, "smoothgrad", key=jax.random.key(8), samples=3), whole, rtol=1e-3
    )


def passes(params, seen):
    """Every layer of the small network in NumPy and SciPy, for one frame: activations before each relu."""
    x = seen.astype(np.float64) / 255
    first, second = (params[name] for name in ("first", "second"))
    x0 = np.pad(x, ((1, 1), (1, 1), (0, 0)))  # SAME for a window of 4 at stride 2
    a1 = correlate(x0, first)[::2, ::2]
    a2 = correlate(np.maximum(a1, 0), second)
    flat = np.maximum(a2, 0).ravel()
    a3 = flat @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    return a1, a2, a3


def correlate(x, layer):
    kernel = np.asarray(layer["kernel"], np.float64)
    height, width = kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), axis=(0, 1))
    return np.einsum("yxcij,ijcd->yxd", windows, kernel) + np.asarray(layer["bias"])


def back_through(layer, derivative, stride, shape, padding):
    """The derivative by a convolution's input, position by position."""
    kernel = np.asarray(layer["kernel"], np.float64)
    out = np.zeros((shape[0] + 2 * padding, shape[1] + 2 * padding, shape[2]))
    for y, x in np.ndindex(*derivative.shape[:2]):
        block = np.einsum("d,ijcd->ijc", derivative[y, x], kernel)
        out[y * stride : y * stride + kernel.shape[0], x * stride : x * stride + kernel.shape[1]] += block
    return out[padding : shape[0] + padding, padding : shape[1] + padding]


def test_guided_backprop_is_numpys(params, rng):
    seen = frames(rng, 2)
    maps = compute(small, params, seen, "guided_backprop", "value")
    plain = compute(small, params, seen, "gradient", "value")
    assert not np.allclose(maps, plain, rtol=0.1, atol=0.1 * plain.max())
    for each, frame in zip(maps, seen, strict=True):
        a1, a2, a3 = passes(params, frame)

        def guided(derivative, activation):
            return np.where((activation > 0) & (derivative > 0), derivative, 0)

        d3 = guided(2 * np.asarray(params["Dense_2"]["kernel"])[:, 0], a3)
        d2 = guided((np.asarray(params["Dense_0"]["kernel"]) @ d3).reshape(a2.shape), a2)
        d1 = guided(back_through(params["second"], d2, 1, a1.shape, 0), a1)
        d0 = back_through(params["first"], d1, 2, frame.shape, 1) / 255
        np.testing.assert_allclose(each, np.abs(d0).max(axis=-1), rtol=1e-3, atol=1e-5 * np.abs(d0).max())


def test_guiding_leaves_the_network_and_jax_as_they_were(params, rng):
    seen = frames(rng, 2)
    before = compute(small, params, seen, "gradient")
    compute(small, params, seen, "guided_backprop")
    np.testing.assert_array_equal(compute(small, params, seen, "gradient"), before)
    assert jax.grad(jax.nn.relu)(1.0) == 1.0


def test_relus_that_cannot_be_guided_are_told(rng):
    seen, weights = frames(rng), linear_params(rng)
    with pytest.raises(ValueError, match="no relu that could be guided"):
        compute(linear, weights, seen, "guided_backprop")

    def looped(params, x):
        logits, value = linear(params, x)
        return jax.lax.fori_loop(0, 2, lambda _, y: jax.nn.relu(y), logits), value

    with pytest.raises(ValueError, match="relus inside a scan"):
        compute(looped, weights, seen, "guided_backprop")


@pytest.mark.parametrize("layer", [None, "second", "first"])
def test_grad_cam_is_numpys(params, layer, rng):
    seen = frames(rng, 2)
    maps = compute(small, params, seen, "grad_cam", "value", layer=layer)
    for each, frame in zip(maps, seen, strict=True):
        a1, a2, a3 = passes(params, frame)
        d3 = np.where(a3 > 0, 2 * np.asarray(params["Dense_2"]["kernel"])[:, 0], 0)
        d2 = (np.asarray(params["Dense_0"]["kernel"]) @ d3).reshape(a2.shape)
        features, derivative = np.maximum(a2, 0), d2
        if layer == "first":
            features = np.maximum(a1, 0)
            derivative = back_through(params["second"], np.where(a2 > 0, d2, 0), 1, a1.shape, 0)
        cam = np.maximum((features * derivative.mean(axis=(0, 1))).sum(axis=-1), 0)
        expected = resize(cam, SHAPE[:2], order=1, mode="reflect", anti_aliasing=False)
        np.testing.assert_allclose(each, expected, rtol=1e-3, atol=1e-4 * cam.max())
    with pytest.raises(ValueError, match="no convolution named 'third'"):
        compute(small, params, seen, "grad_cam", layer="third")


def test_a_layers_derivatives_are_of_its_features(params, rng):
    """What is found is the layer after its relu, in its own shape."""
    frame = jnp.asarray(frames(rng, 1), jnp.float32)
    features, derivatives = _at_layer(lambda x: small(params, x)[1], frame, jnp.ones((1, 1)), "second")
    assert features.shape == derivatives.shape[1:] == (1, 8, 10, 5)
    assert float(features.min()) == 0.0


def test_several_targets_are_the_single_ones(params, rng):
    seen = frames(rng)
    together = compute_targets(small, params, seen, "gradient_x_input", TARGETS)
    for target in TARGETS:
        alone = compute(small, params, seen, "gradient_x_input", target)
        np.testing.assert_allclose(together[target], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("smoothgrad", {"samples": 0}, "samples must be 1 or more"),
        ("integrated_gradients", {"baseline": "white"}, "`black`, `background` or frames .* it is 'white'"),
        ("integrated_gradients", {"baseline": np.zeros((2, 2))}, r"it is of shape \[2, 2\]"),
    ],
)
def test_bad_parameters(params, method, parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        compute(small, params, frames(rng), method, **parameters)
