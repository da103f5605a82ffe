"""The one interface: every method by name, for any function and for an agent."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fls_jax
from fls_jax.networks.chunking import over_blocks, padded_blocks
from fls_jax.networks.geometry import conv_geometry
from fls_jax.saliency import METHODS, Method, compute, compute_targets
from fls_jax.saliency.gradients import _over_input
from tests.oracles import networks as oracle
from tests.run_folders import write_run
from tests.saliency.small import ACTIONS, SHAPE, frames, linear, linear_params, small, small_params

QUICK = {
    "smoothgrad": {"samples": 2},
    "vargrad": {"samples": 2},
    "integrated_gradients": {"steps": 2},
    "rise": {"samples": 5},
    "greydanus": {"step": 40},
    "sarfa": {"step": 40},
    "occlusion": {"patch": 42},
}


@pytest.fixture(scope="module")
def params():
    return small_params()


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run(path, "cnn_sparse_fls", "Breakout")
    return fls_jax.load_agent(path)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_an_agent(method, agent, rng):
    seen = rng.integers(0, 256, (3, 84, 84, 4), dtype=np.uint8)
    maps = agent.saliency(seen, method, "LEFT", **QUICK.get(method, {}))
    assert type(maps) is np.ndarray
    assert (maps.dtype, maps.shape) == (np.float32, (3, 84, 84))
    assert np.isfinite(maps).all()
    assert maps.any()
    if METHODS[method].family not in ("attention", "control"):
        numbered = agent.saliency(seen, method, 3, **QUICK.get(method, {}))
        np.testing.assert_array_equal(numbered, maps)
        other = agent.saliency(seen, method, "NOOP", **QUICK.get(method, {}))
        assert not np.array_equal(other, maps)
    assert agent.saliency(seen[:0], method).shape == (0, 84, 84)


def test_attention_is_the_default_and_painted(agent, rng):
    seen = rng.integers(0, 256, (4, 84, 84, 4), dtype=np.uint8)
    painted = oracle.paint(agent(seen).attention, 36, 8, 0)
    np.testing.assert_allclose(agent.saliency(seen), painted, rtol=1e-4)
    relative = agent.saliency(seen, "attention_relative")
    np.testing.assert_allclose(relative, painted - painted.mean(axis=0), atol=1e-4 * painted.max())
    uniform = agent.saliency(seen, "uniform")
    np.testing.assert_allclose(uniform[2], oracle.paint(np.ones((1, 7, 7)), 36, 8, 0)[0], rtol=1e-5)


def test_controls_are_what_they_say(params, rng):
    seen = frames(rng)
    assert (compute(small, params, seen, "uniform") == 1).all()
    moved = np.abs(seen[..., -1].astype(int) - seen[..., -2]) / 255
    np.testing.assert_allclose(compute(small, params, seen, "frame_difference"), moved, atol=1e-6)
    centre = compute(small, params, seen, "centre")[1]
    np.testing.assert_allclose(centre, centre[::-1, ::-1])
    assert np.unravel_index(centre.argmax(), centre.shape) in [(9, 11), (9, 12), (10, 11), (10, 12)]
    noise = [compute(small, params, seen, "random", key=jax.random.key(k)) for k in (1, 1, 2)]
    np.testing.assert_array_equal(noise[0], noise[1])
    assert np.abs(np.corrcoef(noise[0].ravel(), noise[2].ravel())[0, 1]) < 0.1
    np.testing.assert_allclose(noise[0].mean(), 0.5, atol=0.03)
    with pytest.raises(ValueError, match="two frames or more"):
        compute(small, params, seen[..., :1], "frame_difference")


def counted():
    """The linear network, and how many rows went through it."""
    rows = []

    def apply(params, seen):
        jax.debug.callback(lambda x: rows.append(len(x)), seen[:, 0, 0, 0])
        return linear(params, seen)

    return apply, rows


@pytest.mark.parametrize("method", ["greydanus", "occlusion", "rise"])
def test_all_targets_come_from_one_pass(method, rng):
    weights, seen = linear_params(rng), frames(rng, 2)
    passes = []
    for targets in (("value",), ("action", 0, 1, "policy", "value")):
        apply, rows = counted()
        maps = compute_targets(apply, weights, seen, method, targets, **QUICK[method])
        jax.effects_barrier()
        passes.append(sum(rows))
        assert list(maps) == list(targets)
    assert passes[0] == passes[1]


def test_variants_go_in_large_batches_of_one_size(rng):
    """3 frames of 20 variants: 60 passes in two batches of 32, beside one look at the frames as they are."""
    apply, rows = counted()
    compute(apply, linear_params(rng), frames(rng, 3), "greydanus", step=5)
    jax.effects_barrier()
    largest = 32 if jax.default_backend() == "cpu" else 1024
    assert rows == [4, *[largest] * -(-60 // largest)]


def test_rows_do_not_depend_on_the_batch(params, rng):
    seen = frames(rng, 11)
    for method in METHODS:
        if method == "attention_relative" or METHODS[method].family == "attention":
            continue
        whole = compute(small, params, seen, method, 1, **QUICK.get(method, {}))
        part = compute(small, params, seen[:3], method, 1, **QUICK.get(method, {}))
        np.testing.assert_allclose(
            part, whole[:3], rtol=1e-3, atol=1e-5 * np.abs(whole).max(), err_msg=method
        )


def test_a_method_of_ones_own_is_a_function_and_an_entry(params, agent, rng):
    def brightness(question, channel=-1):
        maps = question.observations[..., channel].astype(np.float32)
        return np.stack([maps * (place + 1) for place in range(len(question.targets))])

    seen = frames(rng)
    with mock.patch.dict(METHODS, {"brightness": Method(brightness, "control")}):
        maps = compute_targets(small, params, seen, "brightness", ["action", "value"], channel=0)
        np.testing.assert_array_equal(maps["value"], seen[..., 0] * np.float32(2))
        screens = rng.integers(0, 256, (2, 84, 84, 4), dtype=np.uint8)
        np.testing.assert_array_equal(agent.saliency(screens, "brightness"), screens[..., -1])


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (
            lambda q: np.full((1, 3, *SHAPE[:2]), [[[0.0]], [[np.nan]], [[np.inf]]]),
            "for 2 of 3 frames, first for frame 1",
        ),
        (lambda q: np.zeros((3, *SHAPE[:2])), r"must give maps \[1, 3, 20, 24\]; it gave \[3, 20, 24\]"),
    ],
)  # fmt: skip
def test_a_method_that_is_unsound_is_told(maps, message, params, rng):
    with (
        mock.patch.dict(METHODS, {"mine": Method(maps, "gradient")}),
        pytest.raises(ValueError, match="The method mine .*" + message),
    ):
        compute(small, params, frames(rng), "mine")


def test_what_is_not_there_is_told(params, agent, rng):
    seen = frames(rng)
    for arguments, message in [
        (("lime",), "no saliency method 'lime'; choose one of: attention, "),
        (("gradient", "lookahead"), "no target 'lookahead'; choose `action`, .* 0 to 3"),
        (("greydanus", ACTIONS), "no target 4"),
        (("gradient", -1), "no target -1"),
        (("attention",), "no attention: `apply` returns no third output"),
    ]:
        with pytest.raises(ValueError, match=message):
            compute(small, params, seen, *arguments)
    with pytest.raises(ValueError, match="rise has no parameter 'masc'; it has: samples, cells, p, masks"):
        compute(small, params, seen, "rise", masc=None)
    with pytest.raises(ValueError, match="random has no parameter 'seed'; it has none"):
        compute(small, params, seen, "random", seed=1)
    with pytest.raises(TypeError, match=r"uint8 \[B, H, W, C\]; these are float32"):
        compute(small, params, seen.astype(np.float32), "gradient")
    with pytest.raises(ValueError, match=r"these have shape \[20, 24, 3\]"):
        compute(small, params, seen[0], "gradient")
    screens = rng.integers(0, 256, (1, 84, 84, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="no target 'JUMP'"):
        agent.saliency(screens, "gradient", "JUMP")
    with pytest.raises(ValueError, match="no protocol 'published'"):
        agent.saliency(screens, protocol="published")


def test_attention_of_any_function_is_stretched(rng):
    def apply(params, seen):
        return *linear(params, seen), jnp.ones((len(seen), 3, 4)) * seen[:, :1, :1, 0].astype(jnp.float32)

    seen = frames(rng, 5)
    maps = compute(apply, linear_params(rng), seen, "attention")
    np.testing.assert_allclose(maps, np.broadcast_to(seen[:, :1, :1, 0], maps.shape), rtol=1e-5)


def test_grad_cam_of_an_agent_lies_where_its_features_look(agent, rng):
    """A conv3 feature's map is largest at its field's centre, 8 i + 17.5, where no stretch puts it."""
    one = np.zeros((1, 1, 7, 7), np.float32)
    one[0, 0, 1, 5] = 1
    placed = np.asarray(_over_input(jnp.asarray(one), (84, 84), conv_geometry(agent.spec.torso)))[0, 0]
    assert np.unravel_index(placed.argmax(), placed.shape) in [(25, 57), (25, 58), (26, 57), (26, 58)]
    seen = rng.integers(0, 256, (2, 84, 84, 4), dtype=np.uint8)
    for layer in ("conv1", "conv2", "hidden"):
        assert agent.saliency(seen, "grad_cam", layer=layer).shape == (2, 84, 84)


def test_integrated_gradients_of_a_trained_network_are_complete():
    """On a shipped agent 200 steps are within 1 %, the 25 of the default within 5 %."""
    agent = fls_jax.load_agent("experiments/pretrained/Pong/cnn")
    seen = oracle_frames()
    before = agent(np.zeros_like(seen)).value
    for parameters, error in [({"steps": 200}, 0.01), ({}, 0.05)]:
        maps = agent.saliency(seen, "integrated_gradients", "value", **parameters)
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), agent(seen).value - before, rtol=error)


def oracle_frames():
    """Two drawn screens of Pong: field, paddles, ball."""
    seen = np.full((2, 84, 84, 4), 87, np.uint8)
    seen[:, 12:14], seen[:, 76:78] = 236, 236
    for place in range(4):
        seen[:, 40:46, 7:9, place], seen[:, 50:56, 74:76, place] = 130, 147
        seen[0, 30 + 2 * place : 32 + 2 * place, 40 + 3 * place : 42 + 3 * place, place] = 236
        seen[1, 60 - 2 * place : 62 - 2 * place, 60 - 3 * place : 62 - 3 * place, place] = 236
    return seen


def test_blocks_are_padded_to_few_sizes_and_cut_again(rng):
    batch = rng.normal(size=(70, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 70)
    blocks = list(padded_blocks((batch, keys), largest=32))
    assert [(len(rows), size) for (rows, _), size in blocks] == [(32, 32), (32, 32), (8, 6)]
    doubled = over_blocks(
        lambda rows, k: {"twice": rows * 2, "noise": jax.vmap(jax.random.bits)(k)}, batch, keys
    )
    np.testing.assert_array_equal(doubled["twice"], batch * 2)
    assert len(doubled["noise"]) == 70
    with pytest.raises(ValueError, match="no rows"):
        over_blocks(lambda rows: rows, batch[:0])
