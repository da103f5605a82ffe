"""The networks against their stated counts and against NumPy."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fls_jax.networks.modules import ActorCritic, AttentionGate, Extractor, attention_scores
from fls_jax.networks.specs import FLS, NETWORKS, AttentionSpec, network_spec
from tests.networks.counts import COUNTS
from tests.oracles import networks as oracle

SCREENS = jnp.zeros((1, 84, 84, 4), jnp.uint8)


def shapes_of(name, actions=4):
    network = ActorCritic(network_spec(name), actions)
    return jax.eval_shape(network.init, jax.random.key(0), SCREENS)["params"]


def to_oracle(params):
    flat = flatten_dict(params, sep="/")
    return {name.removeprefix("extractor/"): np.asarray(value) for name, value in flat.items()}


def from_oracle(params):
    heads = ("policy", "value")
    flat = {
        name if name.split("/")[0] in heads else f"extractor/{name}": jnp.asarray(value, jnp.float32)
        for name, value in params.items()
    }
    return unflatten_dict(flat, sep="/")


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts(name, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(name))) == count


@pytest.mark.parametrize("actions", [3, 18])
@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_for_any_number_of_actions(name, actions):
    network = ActorCritic(network_spec(name), actions)
    params = jax.eval_shape(network.init, jax.random.key(0), SCREENS)
    output = jax.eval_shape(network.apply, params, jnp.zeros((5, 84, 84, 4), jnp.uint8))
    size = {"cnn_sparse_fls_h1": 20, "cnn_sparse_fls_x3": 20}.get(name, 84 if "dense" in name else 7)
    if "patch_fls" in name:
        size = 21
    assert output.logits.shape == (5, actions)
    assert output.value.shape == (5,)
    assert output.attention.shape == (5, size, size)
    assert {leaf.dtype for leaf in jax.tree.leaves(output)} == {jnp.dtype("float32")}
    expected = oracle.parameter_shapes(name, actions)
    assert {k: v.shape for k, v in to_oracle_shapes(params["params"]).items()} == expected


def to_oracle_shapes(params):
    return {k.removeprefix("extractor/"): v for k, v in flatten_dict(params, sep="/").items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_agrees_with_numpy(name, rng):
    params = oracle.random_parameters(name, 6, rng)
    observations = rng.integers(0, 256, (2, 84, 84, 4), dtype=np.uint8)
    logits, value, attention = oracle.forward(name, params, observations)
    network = ActorCritic(network_spec(name), 6)
    output = jax.jit(network.apply)({"params": from_oracle(params)}, observations)
    for ours, theirs in zip(output, (logits, value, attention), strict=True):
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=1e-4)
    assert name in ("cnn", "cnn_patch") or np.ptp(attention) > 0


@pytest.mark.parametrize("name", ["cnn_sparse_fls_x3", "cnn_rsppo", "cnn_patch_fls"])
def test_slices_of_the_batch_change_nothing(name, rng):
    """The CPU form equals one lax.conv over the whole batch: outputs, gradients, sown gates."""
    observations = jnp.asarray(rng.integers(0, 256, (7, 84, 84, 4), dtype=np.uint8))
    params = from_oracle(oracle.random_parameters(name, 4, rng))

    def evaluate(chunk_size):
        network = ActorCritic(network_spec(name), 4, chunk_size=chunk_size)

        def total(p):
            output, sown = network.apply({"params": p}, observations, mutable="intermediates")
            return jnp.sum(output.value**2) + jnp.sum(output.logits**2), (output, sown)

        return jax.jit(jax.grad(total, has_aux=True))(params)

    whole, sliced = evaluate(None), evaluate(3)
    assert jax.tree.structure(whole) == jax.tree.structure(sliced)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(sliced), strict=True):
        # Sums in another order; gradients that are zero in exact arithmetic are only rounding.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 + 1e-4 * float(jnp.abs(a).max()))


@pytest.mark.parametrize("name", ["cnn_sparse_fls", "cnn_daqn", "cnn_dense_fls", "cnn_patch_fls"])
def test_orthogonal_initialisation(name):
    """Kernels flattened to [fan in, out] have orthogonal rows or columns of the stated gain."""
    network = ActorCritic(network_spec(name), 6)
    params = to_oracle(jax.jit(network.init)(jax.random.key(3), SCREENS)["params"])
    gains = {"policy": 0.01, "value": 1.0}
    for key, value in params.items():
        if key.endswith("bias"):
            np.testing.assert_array_equal(value, 0)
            continue
        matrix = value.reshape(-1, value.shape[-1]).astype(np.float64)
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        gram = matrix.T @ matrix / gains.get(key.split("/")[0], np.sqrt(2)) ** 2
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-4, err_msg=key)


def test_softmax_sums_to_the_number_of_maps(rng):
    scores = jnp.asarray(rng.normal(size=(3, 7, 7, 2)), jnp.float32)
    attention = attention_scores(scores, AttentionSpec(score="softmax", maps=2))
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 2.0, rtol=1e-6)


def test_softplus_is_positive_and_base_two_is_log2_and_sigmoid_is_logistic():
    x = jnp.linspace(-40, 40, 81, dtype=jnp.float32).reshape(1, 9, 9, 1)
    natural = attention_scores(x, FLS)[0].ravel()
    base2 = attention_scores(x, AttentionSpec(score="softplus2"))[0].ravel()
    x64 = np.asarray(x, np.float64).ravel()
    np.testing.assert_allclose(natural, np.log1p(np.exp(x64)), rtol=1e-5)
    np.testing.assert_allclose(base2, np.log2(1 + 2**x64), rtol=1e-5, atol=1e-7)
    assert (natural > 0).all()
    sigmoid = attention_scores(x, AttentionSpec(score="sigmoid"))[0].ravel()
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-x64)), rtol=1e-5)


def test_normalised_attention_sums_to_one(rng):
    scores = jnp.asarray(rng.normal(size=(3, 7, 7, 1)), jnp.float32)
    attention = attention_scores(scores, AttentionSpec(normalise=True))
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-6)
    raw = attention_scores(scores, FLS)
    np.testing.assert_allclose(attention / attention[:, :1, :1], raw / raw[:, :1, :1], rtol=1e-5)


def test_gate_multiplies_features_by_its_map(rng):
    features = jnp.asarray(rng.normal(size=(2, 5, 6, 8)), jnp.float32)
    gated, attention = AttentionGate().init_with_output(jax.random.key(0), features)[0]
    np.testing.assert_allclose(gated, features * attention[..., None], rtol=1e-6)
    assert attention.shape == (2, 5, 6)


def test_bfloat16_computes_low_and_keeps_float32_parameters(rng):
    observations = jnp.asarray(rng.integers(0, 256, (4, 84, 84, 4), dtype=np.uint8))
    spec = network_spec("cnn_sparse_fls")
    params = jax.jit(ActorCritic(spec, 4).init)(jax.random.key(0), SCREENS)
    low = ActorCritic(spec, 4, dtype=jnp.bfloat16)
    again = jax.eval_shape(low.init, jax.random.key(0), SCREENS)
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype("float32")}
    a, b = (jax.jit(network.apply)(params, observations) for network in (ActorCritic(spec, 4), low))
    assert {leaf.dtype for leaf in jax.tree.leaves(b)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(a.value, b.value, atol=0.05)
    assert not np.array_equal(a.value, b.value)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 4, 84, 84), np.uint8), ((2, 84, 84, 4), np.float32), ((84, 84, 4), np.uint8)]
)
def test_wrong_observations_are_refused_with_what_was_expected(shape, dtype):
    extractor = Extractor(network_spec("cnn"))
    with pytest.raises(ValueError, match=r"must be uint8 \[B, 84, 84, 4\]"):
        extractor.init(jax.random.key(0), jnp.zeros(shape, dtype))


def test_extractor_drops_into_another_network(rng):
    class Classifier(nn.Module):
        @nn.compact
        def __call__(self, observations):
            features, attention = Extractor(network_spec("cnn_sparse_fls"))(observations)
            return nn.Dense(10)(features), attention

    observations = jnp.asarray(rng.integers(0, 256, (2, 84, 84, 4), dtype=np.uint8))
    (classes, attention), _ = jax.jit(Classifier().init_with_output)(jax.random.key(0), observations)
    assert classes.shape == (2, 10)
    assert attention.shape == (2, 7, 7)
