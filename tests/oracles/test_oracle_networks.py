"""The reference networks are themselves checked: against SciPy, closed forms and each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from tests.networks.counts import COUNTS
from tests.oracles import networks

SAME_PARAMETERS = {
    "cnn_rsppo_nopad": "cnn_rsppo",
    "cnn_sparse_fls_norm": "cnn_sparse_fls",
    "cnn_sparse_fls_sp2": "cnn_sparse_fls",
    "cnn_sparse_fls_norelu": "cnn_sparse_fls",
    "cnn_sparse_fls_norelu_pool": "cnn_sparse_fls_pool",
    "cnn_dense_fls_norelu": "cnn_dense_fls",
    "cnn_patch_fls_sigmoid": "cnn_patch_fls",
}


def screens(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8)


def parameters(name: str, seed: int = 1) -> networks.Parameters:
    return networks.random_parameters(name, 4, np.random.default_rng(seed))


def with_constant_score(params: networks.Parameters, score: float) -> networks.Parameters:
    """The same parameters, but every attention module's last layer answers `score` everywhere."""
    params = dict(params)
    for key in [key for key in params if "score" in key]:
        params[key] = np.full_like(params[key], score if key.endswith("bias") else 0.0)
    return params


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_are_the_published_ones(name, count):
    shapes = networks.parameter_shapes(name, 4)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == count


def test_the_other_networks_differ_from_the_counted_ones_in_no_shape_but_the_1x1_kernels():
    for name, counted in SAME_PARAMETERS.items():
        assert networks.parameter_shapes(name, 6) == networks.parameter_shapes(counted, 6)
    full, small = (networks.parameter_shapes(f"cnn_sparse_fls{end}", 6) for end in ("", "_1x1"))
    differing = {key for key in full if full[key] != small[key]}
    assert differing == {"attention3/hidden/kernel", "attention3/score/kernel"}
    assert small["attention3/hidden/kernel"] == (1, 1, 64, 256)
    variants = {"cnn_sparse_fls_1x1", "cnn_patch_fls_nobias", "cnn_patch_fls_k3"}
    assert {*COUNTS, *SAME_PARAMETERS, *variants} == set(networks.NETWORKS)


def test_the_variants_of_the_patch_gate_differ_by_what_their_names_say():
    full, k3, nobias = (networks.parameter_shapes(f"cnn_patch_fls{end}", 6) for end in ("", "_k3", "_nobias"))
    assert full["attention1/hidden/kernel"] == (1, 1, 32, 64)
    assert full["attention1/score/kernel"] == (1, 1, 64, 1)
    assert k3["attention1/hidden/kernel"] == (3, 3, 32, 32)
    assert k3["attention1/score/kernel"] == (3, 3, 32, 1)
    assert {key for key in full if full[key] != k3[key]} == {
        "attention1/hidden/kernel", "attention1/hidden/bias", "attention1/score/kernel"
    }  # fmt: skip
    assert {key: shape for key, shape in full.items() if key != "conv1/bias"} == nobias


def test_patches_are_a_convolution_whose_stride_is_its_kernel():
    params, x = parameters("cnn_patch"), screens(2) / 255.0
    strided = networks.relu(networks.convolution(x, params, "conv1", stride=4, padding=0))
    np.testing.assert_allclose(networks.patch_features(x, params), strided, atol=1e-12)


def test_patches_that_are_black_have_no_features_without_a_bias():
    black = np.zeros((1, 84, 84, 4))
    assert networks.patch_features(black, parameters("cnn_patch_fls")).any()
    assert not networks.patch_features(black, parameters("cnn_patch_fls_nobias")).any()


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_forward_gives_finite_outputs_whose_attention_paints_the_screen(name):
    logits, value, attention = networks.forward(name, parameters(name), screens(2))
    assert logits.shape == (2, 4)
    assert value.shape == (2,)
    assert np.isfinite(logits).all()
    assert np.isfinite(value).all()
    assert (attention == 0).all() if name in ("cnn", "cnn_patch") else (attention > 0).all()
    assert networks.painted(name, attention).shape == (2, 84, 84)


@pytest.mark.parametrize(("size", "stride", "padding"), [(8, 4, 0), (4, 2, 0), (3, 1, 1), (7, 1, 3)])
def test_convolution_agrees_with_scipy(size, stride, padding):
    rng = np.random.default_rng(2)
    x, kernel, bias = rng.normal(size=(2, 21, 24, 3)), rng.normal(size=(size, size, 3, 5)), rng.normal(size=5)
    result = networks.convolution(x, {"c/kernel": kernel, "c/bias": bias}, "c", stride, padding)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    for b in range(2):
        for o in range(5):
            expected = scipy.signal.correlate(padded[b], kernel[..., o], mode="valid")[::stride, ::stride, 0]
            np.testing.assert_allclose(result[b, ..., o], expected + bias[o], atol=1e-12)


@pytest.mark.parametrize(("field", "stride", "padding"), [(36, 8, 0), (8, 4, 0), (13, 1, 6)])
def test_paint_agrees_with_scipy_convolution_of_the_spread_out_map(field, stride, padding):
    attention = np.random.default_rng(3).random((2, 7, 7))
    spread = np.zeros((2, 6 * stride + 1, 6 * stride + 1))
    spread[:, ::stride, ::stride] = attention
    expected = scipy.signal.convolve(spread, np.ones((1, field, field)), method="direct")
    expected = expected[:, padding : expected.shape[1] - padding, padding : expected.shape[2] - padding]
    np.testing.assert_allclose(networks.paint(attention, field, stride, padding), expected, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["cnn_sparse_fls_1x1", "cnn_sparse_fls_h1", "cnn_dense_fls", "cnn_daqn", "cnn_patch_fls_k3"]
)
@pytest.mark.parametrize("pixel", [(0, 0), (41, 10), (83, 37)])
def test_geometry_is_what_a_changed_pixel_reaches(name, pixel):
    params = parameters(name)
    for key in [key for key in params if "attention" in key and key.endswith("kernel")]:
        size = params[key].shape[0]
        if size == 3:  # leave the module the position it multiplies, and nothing around it
            params[key] = params[key][1:2, 1:2]
    before = screens(1)
    after = before.copy()
    after[0, *pixel] = 255 - after[0, *pixel]
    if name == "cnn_daqn":  # softmax spreads every change, a ratio to one far position undoes that
        outputs = [networks.forward(name, params, x)[2] for x in (before, after)]
        far = (-1, -1) if pixel[0] < 42 else (0, -1)
        changed = ~np.isclose(*(h / h[:, far[0], far[1]][:, None, None] for h in outputs), rtol=1e-9, atol=0)
    else:
        outputs = [networks.forward(name, params, x)[2] for x in (before, after)]
        changed = ~np.isclose(*outputs, rtol=1e-11, atol=0)
    grid = changed.shape[1]
    rows = np.repeat(np.eye(grid)[:, :, None], grid, axis=2)  # map number r: row r alone is painted
    height_reached = networks.paint(rows, *networks.GEOMETRY[name])[:, *pixel] > 0
    width_reached = networks.paint(rows.transpose(0, 2, 1), *networks.GEOMETRY[name])[:, *pixel] > 0
    np.testing.assert_array_equal(changed[0], np.outer(height_reached, width_reached))


def test_padding_of_rsppo_moves_the_screen_by_one_pixel():
    moved = np.zeros((2, 84, 84, 4), np.uint8)
    moved[:, 1:, 1:] = screens(2)[:, :-1, :-1]
    params = parameters("cnn_rsppo")
    padded, plain = (
        networks.forward("cnn_rsppo", params, screens(2)),
        networks.forward("cnn_rsppo_nopad", params, moved),
    )
    for a, b in zip(padded, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "scaled", "height"),
    [
        ("cnn_sparse_fls", ("dense",), np.log1p(np.exp(0.7))),
        ("cnn_sparse_fls_1x1", ("dense",), np.log1p(np.exp(0.7))),
        ("cnn_sparse_fls_sp2", ("dense",), np.log2(1 + 2**0.7)),
        ("cnn_sparse_fls_norm", ("dense",), 1 / 49),
        ("cnn_sparse_fls_h1", ("conv1",), np.log1p(np.exp(0.7))),
        ("cnn_sparse_fls_x3", ("conv1", "conv2", "conv3"), np.log1p(np.exp(0.7))),
        ("cnn_patch_fls", ("conv1",), np.log1p(np.exp(0.7))),
        ("cnn_patch_fls_k3", ("conv1",), np.log1p(np.exp(0.7))),
        ("cnn_patch_fls_sigmoid", ("conv1",), 1 / (1 + np.exp(-0.7))),
    ],
)
def test_constant_attention_only_scales_what_it_multiplies(name, scaled, height):
    params = with_constant_score(parameters(name), 0.7)
    logits, value, attention = networks.forward(name, params, screens(2))
    without = "cnn_patch" if "patch" in name else "cnn"
    plain = {key: params[key] for key in networks.parameter_shapes(without, 4)}
    for layer in scaled:
        plain[f"{layer}/kernel"] = height * plain[f"{layer}/kernel"]
        if layer != "dense":  # relu(c x) = c relu(x), so scaling a layer's output scales its bias too
            plain[f"{layer}/bias"] = height * plain[f"{layer}/bias"]
    expected_logits, expected_value, _ = networks.forward(without, plain, screens(2))
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-9)
    np.testing.assert_allclose(value, expected_value, rtol=1e-9)
    if name == "cnn_sparse_fls_x3":
        h2 = scipy.signal.convolve2d(np.kron(np.ones((9, 9)), [[1, 0], [0, 0]])[:-1, :-1], np.ones((4, 4)))
        h3 = scipy.signal.convolve2d(np.kron(np.ones((7, 7)), [[1, 0], [0, 0]])[:-1, :-1], np.ones((8, 8)))
        np.testing.assert_allclose(attention[1], height * (1 + h2 + h3), rtol=1e-12)
    else:
        np.testing.assert_allclose(attention, height, rtol=1e-12)


@pytest.mark.parametrize("name", ["cnn_daqn", "cnn_sparse_fls_pool", "cnn_sparse_fls_norelu_pool"])
def test_pooling_is_a_flatten_readout_whose_kernel_repeats_at_every_position(name):
    flat = {"cnn_daqn": "cnn_sparse_fls_norm", "cnn_sparse_fls_pool": "cnn_sparse_fls"}.get(
        name, "cnn_sparse_fls_norelu"
    )
    params = parameters(name)
    if name == "cnn_daqn":  # uniform in both
        params = with_constant_score(params, 0.7)
    repeated = params | {"dense/kernel": np.tile(params["dense/kernel"], (49, 1))}
    for a, b in zip(
        networks.forward(name, params, screens(1)), networks.forward(flat, repeated, screens(1)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize(("name", "total"), [("cnn_daqn", 1), ("cnn_rsppo", 2), ("cnn_sparse_fls_norm", 1)])
def test_normalised_attention_sums_to_its_number_of_maps(name, total):
    attention = networks.forward(name, parameters(name), screens(2))[2]
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), total, rtol=1e-12)
    assert attention.std() > 1e-4


@pytest.mark.parametrize("name", ["cnn_sparse_fls", "cnn_sparse_fls_pool", "cnn_dense_fls"])
def test_the_last_relu_is_all_that_norelu_leaves_out(name):
    without = "cnn_sparse_fls_norelu_pool" if name.endswith("pool") else f"{name}_norelu"
    params, positive = parameters(name), parameters(name)
    positive["conv3/bias"] = positive["conv3/bias"] + 100.0  # now the relu has nothing to cut
    same = zip(
        networks.forward(name, positive, screens(1)),
        networks.forward(without, positive, screens(1)),
        strict=True,
    )
    for a, b in same:
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert not np.allclose(
        networks.forward(name, params, screens(1))[2], networks.forward(without, params, screens(1))[2]
    )


@pytest.mark.parametrize(("name", "activation"), [("cnn_daqn", np.tanh), ("cnn_rsppo_nopad", None)])
def test_softmax_attention_is_the_exponential_of_its_activated_hidden_units(name, activation):
    params = parameters(name)
    params["attention3/score/kernel"][...] = 0.0
    params["attention3/score/kernel"][0, 0, 7, :] = 1.0  # all maps listen to hidden unit 7
    x = networks.relu(networks.sparse_features(screens(1) / 255.0, params))
    if name == "cnn_rsppo_nopad":
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    hidden = x @ params["attention3/hidden/kernel"][0, 0, :, 7] + params["attention3/hidden/bias"][7]
    assert hidden.min() < 0 < hidden.max()
    scores = activation(hidden) if activation else np.where(hidden > 0, hidden, np.expm1(hidden))
    log_attention = np.log(networks.forward(name, params, screens(1))[2])
    np.testing.assert_allclose(log_attention - log_attention.max(), scores - scores.max(), atol=1e-12)


def test_rsppo_does_not_see_the_scale_of_its_features():
    params = parameters("cnn_rsppo")
    larger = params | {f"conv3/{kind}": 3.0 * params[f"conv3/{kind}"] for kind in ("kernel", "bias")}
    outputs = [networks.forward("cnn_rsppo", p, screens(1)) for p in (params, larger)]
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("name", [name for name in networks.NETWORKS if "sparse_fls" in name])
def test_relus_of_the_attention_and_of_the_last_layer_cut_what_is_negative(name):
    params = parameters(name)
    cut = dict(params)
    for key in [key for key in params if key.endswith("hidden/bias")]:
        cut[key] = np.full_like(params[key], -1e6)
    score = params["attention1/score/bias" if name.endswith("h1") else "attention3/score/bias"]
    for key in [key for key in cut if key.endswith("score/bias")]:
        params[key] = cut[key] = score
    outputs = [networks.forward(name, p, screens(1)) for p in (cut, with_constant_score(params, score[0]))]
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    params["dense/bias"] = np.full(512, -1e6)
    logits, value, _ = networks.forward(name, params, screens(1))
    np.testing.assert_array_equal(logits[0], params["policy/bias"])
    np.testing.assert_array_equal(value, params["value/bias"])


def test_flattening_runs_over_rows_then_columns_then_channels():
    params = parameters("cnn")
    x = screens(1).astype(np.float64) / 255.0
    feature = networks.relu(networks.sparse_features(x, params))[0, 2, 5, :]
    params["dense/kernel"] = np.zeros((3136, 512))
    params["dense/bias"] = np.zeros(512)
    params["dense/kernel"][(2 * 7 + 5) * 64 : (2 * 7 + 5) * 64 + 64, :64] = np.eye(64)
    logits = networks.forward("cnn", params, screens(1))[0][0]
    np.testing.assert_allclose(
        logits, feature @ params["policy/kernel"][:64] + params["policy/bias"], rtol=1e-12
    )


def test_wrong_names_and_wrong_observations_are_refused():
    with pytest.raises(ValueError, match="cnn_fls"):
        networks.parameter_shapes("cnn_fls", 4)
    with pytest.raises(ValueError, match="float64"):
        networks.forward("cnn", parameters("cnn"), screens(1).astype(np.float64))
