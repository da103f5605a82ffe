"""Other maps in attention's place: what they are, in every gate, and that nothing else changes."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fls_jax.networks.geometry import positions_read
from fls_jax.networks.modules import ActorCritic, AttentionGate
from fls_jax.networks.replacement import gate_maps, make_replacement, needs_reference, replaced
from fls_jax.networks.specs import NETWORKS, AttentionSpec, network_spec
from tests.oracles import networks as oracle
from tests.run_folders import flax_params

PLAIN_BEHIND = [
    name
    for name, spec in NETWORKS.items()
    if spec.attention and not spec.l2_normalise and spec.torso[-1].relu and spec.torso[0].bias
]
"""Those that are a network of the oracle's with its attention taken out."""


def screens(rng, batch):
    return jnp.asarray(rng.integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8))


def network(name, chunk_size=None):
    module = ActorCritic(network_spec(name), 4, chunk_size=chunk_size)

    def apply(params, observations):
        return module.apply({"params": params}, observations)

    return apply


def applied(apply, params, observations, replacement):
    @jax.jit
    def forward(params, observations, replacement):
        with replaced(replacement):
            return apply(params, observations)

    return forward(params, observations, replacement)


def maps_of_gates(apply, params, observations):
    """gate_maps, compiled."""
    return jax.jit(lambda *args: gate_maps(apply, *args))(params, observations)


def sown_gates(name, params, observations, replacement=None):
    """The gates that Extractor sows, as gate_maps names them."""
    module = ActorCritic(network_spec(name), 4)

    @jax.jit
    def forward(params, observations, replacement):
        with replaced(replacement):
            return module.apply({"params": params}, observations, mutable="intermediates")[1]

    sown = forward(params, observations, replacement or make_replacement("trained"))
    sown = sown["intermediates"]["extractor"]
    return {f"extractor/attention{key.removeprefix('gate')}": maps for key, (maps,) in sown.items()}


def with_maps_of_one(params):
    """The same parameters, but every softplus gate gives exactly 1 everywhere."""
    guess = np.float32(np.log(np.e - 1))
    near = [np.nextafter(guess, np.float32(end), dtype=np.float32) for end in (0, 1)]
    score = next(x for x in (guess, *near) if float(jax.nn.softplus(jnp.float32(x))) == 1.0)
    flat = flatten_dict(params, sep="/")
    for key in [key for key in flat if "/score/" in key]:
        flat[key] = np.full_like(flat[key], score if key.endswith("bias") else 0.0)
    return unflatten_dict(flat, sep="/")


@pytest.mark.parametrize(
    "name", ["cnn_patch_fls", "cnn_sparse_fls", "cnn_sparse_fls_h1", "cnn_sparse_fls_x3"]
)
def test_a_map_that_is_one_everywhere_may_be_replaced_by_one_or_itself(name, rng):
    params = with_maps_of_one(flax_params(oracle.random_parameters(name, 4, rng)))
    apply, observations = network(name, chunk_size=3), screens(rng, 7)
    gates = maps_of_gates(apply, params, screens(rng, 4))
    trained = applied(apply, params, observations, make_replacement("trained"))
    for other in ("constant:1", "mean", "uniform", "other", "shuffled"):
        output = applied(apply, params, observations, make_replacement(other, gates))
        np.testing.assert_array_equal(output.logits, trained.logits, err_msg=other)
        np.testing.assert_array_equal(output.value, trained.value, err_msg=other)
        np.testing.assert_array_equal(output.attention, trained.attention, err_msg=other)


@pytest.mark.parametrize("name", PLAIN_BEHIND)
def test_a_constant_takes_every_gate_out(name, rng):
    """With 1 in every gate the network is the one without attention, in NumPy, on the same weights."""
    parameters = oracle.random_parameters(name, 4, rng)
    plain = {key: value for key, value in parameters.items() if not key.startswith("attention")}
    observations = screens(rng, 2)
    output = applied(network(name), flax_params(parameters), observations, make_replacement("constant:1"))
    x = np.asarray(observations) / 255.0
    if "patch" in name:
        x = oracle.after_patches(oracle.patch_features(x, plain), plain)
    else:
        x = oracle.relu((oracle.dense_features if "dense" in name else oracle.sparse_features)(x, plain))
    readout = oracle.pool(x) if network_spec(name).readout == "pool" else oracle.flatten(x)
    hidden = oracle.relu(readout @ plain["dense/kernel"] + plain["dense/bias"])
    logits = hidden @ plain["policy/kernel"] + plain["policy/bias"]
    np.testing.assert_allclose(output.logits, logits, rtol=0, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("name", ["cnn_sparse_fls_x3", "cnn_patch_fls", "cnn_rsppo"])
def test_the_maps_are_those_of_every_gate(name, rng):
    params, observations = flax_params(oracle.random_parameters(name, 4, rng)), screens(rng, 5)
    expected = sown_gates(name, params, observations)
    found = maps_of_gates(network(name, chunk_size=2), params, observations)
    assert found.keys() == expected.keys()
    assert len(found) == (3 if name.endswith("x3") else 1)
    for path, maps in expected.items():
        np.testing.assert_allclose(found[path], maps, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn_sparse_fls_x3", "cnn_patch_fls"])
def test_what_the_replacements_are(name, rng):
    params = flax_params(oracle.random_parameters(name, 4, rng))
    apply, reference, observations = network(name), screens(rng, 4), screens(rng, 3)
    gates = maps_of_gates(apply, params, reference)
    kinds = ("mean", "uniform", "other", "shuffled", "constant:2.5")
    changed = [
        sown_gates(name, params, observations, make_replacement(kind, gates, seed=3)) for kind in kinds
    ]
    trained = maps_of_gates(apply, params, observations)
    for path, moments in gates.items():
        moments = np.asarray(moments, np.float64)
        mean, uniform, other, shuffled, constant = (np.asarray(each[path]) for each in changed)
        assert {each.shape for each in (mean, uniform, other, shuffled, constant)} == {
            (3, *moments.shape[1:])
        }
        np.testing.assert_allclose(mean, np.broadcast_to(moments.mean(axis=0), mean.shape), rtol=1e-5)
        np.testing.assert_allclose(uniform, moments.mean(), rtol=1e-5)
        np.testing.assert_array_equal(constant, 2.5)
        for each in other:
            assert sum(np.array_equal(each, moment) for moment in moments.astype(np.float32)) == 1
        if path.endswith("attention1"):  # what later gates see has changed with the first
            flat, before = (np.sort(x.reshape(3, -1)) for x in (shuffled, np.asarray(trained[path])))
            np.testing.assert_allclose(flat, before, rtol=2e-4, atol=1e-5)
            assert not np.allclose(shuffled, trained[path], rtol=1e-2)


def test_the_same_moment_is_drawn_for_all_gates(rng):
    params = flax_params(oracle.random_parameters("cnn_sparse_fls_x3", 4, rng))
    apply = network("cnn_sparse_fls_x3")
    gates = maps_of_gates(apply, params, screens(rng, 6))
    numbered = {
        path: jnp.broadcast_to(jnp.arange(6.0)[:, None, None], maps.shape) for path, maps in gates.items()
    }
    observations = screens(rng, 40)
    maps = sown_gates("cnn_sparse_fls_x3", params, observations, make_replacement("other", numbered))
    chosen = [np.asarray(each)[:, 0, 0] for each in maps.values()]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    np.testing.assert_array_equal(chosen[0], chosen[2])
    assert set(chosen[0]) == set(range(6))


def test_what_is_drawn_follows_from_the_observation_alone(rng):
    """Not from the batch around it nor the slices that a CPU makes of it; another seed draws anew."""
    params = flax_params(oracle.random_parameters("cnn_patch_fls", 4, rng))
    observations = screens(rng, 9)
    observations = observations.at[8].set(observations[2])
    gates = maps_of_gates(network("cnn_patch_fls"), params, screens(rng, 50))
    for kind in ("other", "shuffled"):
        whole = applied(network("cnn_patch_fls"), params, observations, make_replacement(kind, gates))
        sliced = applied(network("cnn_patch_fls", 4), params, observations, make_replacement(kind, gates))
        np.testing.assert_allclose(whole.attention, sliced.attention, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(whole.attention[8], whole.attention[2], rtol=2e-4, atol=1e-5)
        again = applied(network("cnn_patch_fls"), params, observations, make_replacement(kind, gates, seed=1))
        assert not np.allclose(again.attention, whole.attention, rtol=1e-2)
    one_pixel = jnp.stack([observations[0], observations[0].at[83, 83, 3].add(1)])
    two = applied(network("cnn_patch_fls"), params, one_pixel, make_replacement("shuffled")).attention
    assert not np.allclose(two[0], two[1], rtol=1e-2)


def one_patch_reader(row, column):
    """A network whose actions hang on one patch: bright makes action 1, dark action 0, by its gate alone."""
    shapes = oracle.parameter_shapes("cnn_patch_fls", 2)
    parameters = {key: np.zeros(shape) for key, shape in shapes.items()}
    parameters["conv1/kernel"][:, :, :, 0] = 1 / 64  # mean brightness of the patch
    parameters["attention1/hidden/kernel"][0, 0, 0, 0] = 1.0
    parameters["attention1/score/kernel"][0, 0, 0, 0] = 3.0
    at = row - 2 * (row // 2), column - 2 * (column // 2)
    parameters["conv2/kernel"][at[0], at[1], 0, 0] = 1.0
    parameters["conv3/kernel"][0, 0, 0, 0] = 1.0
    parameters["dense/kernel"][((row // 2) * 7 + column // 2) * 64, 0] = 1.0
    parameters["policy/kernel"][0] = [0.0, 1.0]
    parameters["policy/bias"][:] = [1.5, 0.0]
    return parameters


def test_an_agent_that_reads_one_patch_acts_otherwise_where_its_gate_is_replaced():
    row, column = 6, 9
    parameters = one_patch_reader(row, column)
    params, apply = flax_params(parameters), network_of_two_actions()
    bright = np.zeros((1, 84, 84, 4), np.uint8)
    bright[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    assert oracle.forward("cnn_patch_fls", parameters, bright)[0].argmax() == 1
    bright = jnp.asarray(bright)
    ((path, trained),) = maps_of_gates(apply, params, bright).items()
    for changed, action in (((row, column), 0), ((row, column + 1), 1)):
        maps = {path: trained.at[0, *changed].set(0.5)}
        output = applied(apply, params, bright, make_replacement("other", maps))
        assert int(output.logits.argmax()) == action


def network_of_two_actions():
    module = ActorCritic(network_spec("cnn_patch_fls"), 2)
    return lambda params, observations: module.apply({"params": params}, observations)


def test_the_gate_of_the_last_row_and_column_of_patches_does_nothing(rng):
    params, observations = flax_params(oracle.random_parameters("cnn_patch_fls", 4, rng)), screens(rng, 1)
    apply = network("cnn_patch_fls")
    ((path, trained),) = maps_of_gates(apply, params, observations).items()
    before = applied(apply, params, observations, make_replacement("trained"))
    read = positions_read(network_spec("cnn_patch_fls"))
    assert read == 20
    border = {path: trained.at[:, read:, :].set(7.0).at[:, :, read:].set(7.0)}
    output = applied(apply, params, observations, make_replacement("other", border))
    np.testing.assert_allclose(output.logits, before.logits, rtol=1e-5)
    for changed in ((read - 1, 0), (0, read - 1)):
        inside = {path: trained.at[0, *changed].set(7.0)}
        output = applied(apply, params, observations, make_replacement("other", inside))
        assert not np.allclose(output.logits, before.logits, rtol=1e-5)


def test_a_gate_in_somebody_elses_network(rng):
    class Classifier(nn.Module):
        @nn.compact
        def __call__(self, images):
            x, attention = AttentionGate(AttentionSpec(hidden=8), name="gate")(images)
            return nn.Dense(3)(x.mean(axis=(1, 2))), attention

    images = jnp.asarray(rng.normal(size=(5, 6, 6, 4)), jnp.float32)
    module = Classifier()
    variables = module.init(jax.random.key(0), images)
    (_, attention) = module.apply(variables, images)
    maps = gate_maps(module.apply, variables, images)
    np.testing.assert_array_equal(maps["gate"], attention)
    with replaced(make_replacement("mean", maps)):
        np.testing.assert_allclose(module.apply(variables, images)[1][3], attention.mean(axis=0), rtol=1e-6)
    with replaced(make_replacement("shuffled")):
        shuffled = module.apply(variables, images)[1]
    np.testing.assert_array_equal(np.sort(shuffled.reshape(5, -1)), np.sort(attention.reshape(5, -1)))
    np.testing.assert_array_equal(module.apply(variables, images)[1], attention)  # the block has ended


def test_names_that_are_none_and_references_that_lack():
    for name in ("average", "constant", "constant:", "constant:nan", "constant:inf", "constant:x"):
        with pytest.raises(ValueError, match=r"no replacement '.*'.* choose one of: trained, mean, uniform"):
            make_replacement(name)
    for name in ("mean", "uniform", "other"):
        assert needs_reference(name)
        for gates in (None, {}, {"gate": jnp.zeros((0, 7, 7))}):
            with pytest.raises(ValueError, match="give a reference"):
                make_replacement(name, gates)
    assert not any(map(needs_reference, ("trained", "shuffled", "constant:-1e-3")))
