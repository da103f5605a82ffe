"""Small programs on one thread: which programs those are, and that they compute the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.proxy import BlockMeanNetwork
from fls_jax.networks.modules import ActorCritic
from fls_jax.networks.specs import NETWORKS, network_spec
from fls_jax.ppo.compilation import is_small, jit_by_size


def forward_pass(network, frames):
    observations = jax.ShapeDtypeStruct((frames, 84, 84, 4), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), observations)
    return jax.jit(network.apply).lower(params, observations)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_published_network_is_small_even_for_eight_frames(name):
    assert not is_small(forward_pass(ActorCritic(network_spec(name), 6), frames=8))


def test_size_is_that_of_the_program_not_of_the_network():
    network = BlockMeanNetwork(6)
    assert is_small(forward_pass(network, frames=64))
    assert not is_small(forward_pass(network, frames=8192))


class Spy:
    """jax.jit, noting the options of every call."""

    def __init__(self, monkeypatch):
        self.options = []
        jit = jax.jit

        def spy(function, **options):
            self.options.append(options)
            return jit(function, **options)

        monkeypatch.setattr(jax, "jit", spy)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators have no threads to choose from")
@pytest.mark.parametrize(("side", "small"), [(16, True), (512, False)])
def test_a_small_program_is_compiled_for_one_thread_and_computes_the_same(monkeypatch, side, small):
    def product(x, *, by):
        return {"sum": (x @ x).sum(axis=0) * by}

    x = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    spy = Spy(monkeypatch)
    ours = jit_by_size(product, donate_argnums=())
    for factor in (1.0, 2.0):
        np.testing.assert_allclose(
            ours(x, by=factor)["sum"], (x @ x).sum(axis=0) * factor, rtol=1e-3, atol=1e-3
        )
    one_thread = {"donate_argnums": (), "compiler_options": {"xla_cpu_multi_thread_eigen": False}}
    assert spy.options == [{"donate_argnums": ()}, one_thread][: 2 if small else 1]
