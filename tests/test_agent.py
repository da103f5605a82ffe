"""load_agent and Agent against the NumPy networks, from real run folders."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

import fls_jax
from fls_jax.errors import UserError
from fls_jax.networks.compiled import compiled_network
from fls_jax.networks.specs import NETWORKS
from fls_jax.ppo.trainer import Trainer
from fls_jax.saliency.projection import project
from tests.oracles import networks as oracle
from tests.processes import run_python
from tests.run_folders import ACTIONS, add_checkpoint, edit_config, write_run
from tests.runs import two_process_save

ROOT = Path(__file__).parent.parent


def observations(rng, batch):
    return rng.integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    return path, write_run(path, "cnn_sparse_fls_pool")


@pytest.mark.parametrize("network", ["cnn", "cnn_rsppo", "cnn_sparse_fls_x3", "cnn_dense_fls"])
def test_output_and_saliency_of_a_run(network, tmp_path, rng):
    parameters = write_run(tmp_path, network, "Breakout", step=64)
    agent = fls_jax.load_agent(tmp_path)
    assert (agent.network, agent.game, agent.step) == (network, "Breakout", 64)
    assert agent.actions == ("NOOP", "FIRE", "RIGHT", "LEFT")
    seen = observations(rng, 3)
    output = agent(seen)
    for ours, theirs in zip(output, oracle.forward(network, parameters, seen), strict=True):
        assert type(ours) is np.ndarray
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(theirs).max()))
    maps = agent.saliency(seen, protocol="paper")
    assert maps.shape == (3, 84, 84)
    np.testing.assert_allclose(maps, oracle.paint(output.attention, *oracle.GEOMETRY[network]), rtol=1e-4)
    if network == "cnn_rsppo":
        np.testing.assert_array_equal(agent.saliency(seen)[:, :-1, :-1], maps[:, 1:, 1:])
    if network == "cnn":
        assert not maps.any()


def test_any_batch_size_gives_the_same_rows_and_few_compilations(run, rng):
    compiled_network.cache_clear()  # agents of other tests share their programs
    agent = fls_jax.load_agent(run[0])
    seen = observations(rng, 70)
    whole, maps = agent(seen), agent.saliency(seen)
    for batch in [0, 1, 2, 3, 5, 7, 11, 17, 31, 33, 47, 64, 70]:
        for part, full in zip(agent(seen[:batch]), whole, strict=True):
            assert part.shape == (batch, *full.shape[1:])
            np.testing.assert_allclose(part, full[:batch], rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(agent.saliency(seen[:batch]), maps[:batch], rtol=2e-4, atol=2e-4)
    compiled: Any = agent._built.forward
    assert compiled._cache_size() <= 6


@pytest.mark.parametrize("network", ["cnn_patch_fls", "cnn_sparse_fls_x3"])
def test_an_agent_with_another_attention_is_one_like_any_other(network, tmp_path, rng):
    write_run(tmp_path, network)
    agent = fls_jax.load_agent(tmp_path)
    seen, reference = observations(rng, 5), observations(rng, 40)
    trained = agent(seen)
    for name in ("mean", "uniform", "shuffled", "other", "constant:0.5"):
        other = agent.with_attention(name, reference=reference, seed=2)
        assert (other.attention, other.step, other.actions) == (name, agent.step, agent.actions)
        assert repr(other).endswith(f"attention {name}>")
        output = other(seen)
        assert not np.allclose(output.logits, trained.logits, rtol=1e-3)
        for part, whole in zip(other(seen[1:3]), output, strict=True):
            np.testing.assert_allclose(part, whole[1:3], rtol=2e-4, atol=2e-4)
        pure = jax.jit(other.apply)(other.params, jax.numpy.asarray(seen))
        np.testing.assert_allclose(pure.logits, output.logits, rtol=2e-4, atol=2e-4)
        painted = np.asarray(project(output.attention, agent.spec))
        np.testing.assert_allclose(other.saliency(seen), painted, rtol=1e-5)
        sent = pickle.loads(pickle.dumps(other))
        np.testing.assert_array_equal(sent(seen).logits, output.logits)
        assert sent.fingerprint == other.fingerprint != agent.fingerprint
        back = other.with_attention("trained")
        np.testing.assert_array_equal(back(seen).logits, trained.logits)
    assert agent.attention == "trained"
    mean = agent.with_attention("mean", reference)(seen).attention
    if network == "cnn_patch_fls":
        expected = agent(reference).attention.mean(axis=0)
        np.testing.assert_allclose(mean, np.broadcast_to(expected, mean.shape), rtol=1e-4)


def test_attention_that_cannot_be_replaced(run, tmp_path):
    agent = fls_jax.load_agent(run[0])
    for reference in (None, np.zeros((0, 84, 84, 4), np.uint8)):
        with pytest.raises(ValueError, match="made from maps of other moments: give a reference"):
            agent.with_attention("mean", reference)
    with pytest.raises(TypeError, match="must be uint8"):
        agent.with_attention("mean", np.zeros((1, 84, 84, 4)))
    with pytest.raises(ValueError, match="no replacement 'average'"):
        agent.with_attention("average")
    write_run(tmp_path, "cnn")
    agent = fls_jax.load_agent(tmp_path)
    assert agent.with_attention("trained").attention == "trained"
    with pytest.raises(ValueError, match="cnn has no attention to replace"):
        agent.with_attention("shuffled")


def test_observations_may_be_on_a_device(run, rng):
    agent = fls_jax.load_agent(run[0])
    seen = observations(rng, 2)
    np.testing.assert_array_equal(agent(jax.numpy.asarray(seen)).logits, agent(seen).logits)


def test_latest_and_chosen_checkpoint(tmp_path, rng):
    first = write_run(tmp_path, step=32)
    second = oracle.random_parameters("cnn_sparse_fls_pool", len(ACTIONS["Pong"]), rng)
    add_checkpoint(tmp_path, 1024, second)
    seen = observations(rng, 1)
    for step, expected, parameters in [(None, 1024, second), (1024, 1024, second), (32, 32, first)]:
        agent = fls_jax.load_agent(str(tmp_path), step)
        assert agent.step == expected
        logits = oracle.forward(agent.network, parameters, seen)[0]
        np.testing.assert_allclose(agent(seen).logits, logits, rtol=1e-4, atol=1e-3)
    with pytest.raises(UserError, match=r"no checkpoint at step 33 .* there are: 32, 1024"):
        fls_jax.load_agent(tmp_path, 33)


def test_checkpoint_of_two_processes_loads_in_one(tmp_path, rng):
    write_run(tmp_path, two_process_save.NETWORK, step=32)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-m", "tests.runs.two_process_save", port]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(tmp_path)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    agent = fls_jax.load_agent(tmp_path)
    assert agent.step == two_process_save.STEP
    seen = observations(rng, 2)
    logits = oracle.forward(agent.network, two_process_save.parameters(), seen)[0]
    np.testing.assert_allclose(agent(seen).logits, logits, rtol=1e-4, atol=1e-3)


def test_untrained_is_the_same_network_with_other_parameters(run, rng):
    agent = fls_jax.load_agent(run[0])
    seen = observations(rng, 2)
    fresh = agent.untrained(seed=3)
    assert (fresh.step, fresh.network, fresh.actions) == (0, agent.network, agent.actions)
    np.testing.assert_array_equal(fresh(seen).logits, agent.untrained(seed=3)(seen).logits)
    assert not np.array_equal(fresh(seen).attention, agent(seen).attention)
    assert not np.array_equal(fresh(seen).attention, agent.untrained(seed=4)(seen).attention)


def test_untrained_is_where_the_training_began(run):
    agent = fls_jax.load_agent(run[0])
    trainer = Trainer(dataclasses.replace(agent.config, num_envs=1, rollout_length=8, minibatches=1, seed=5))
    trainer.close()
    ours, theirs = agent.untrained(seed=5).params, trainer.state.params
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_changed_entry_of_the_same_shapes_is_another_network(run, rng, monkeypatch):
    seen = observations(rng, 2)
    before = fls_jax.load_agent(run[0])(seen).attention
    spec = NETWORKS["cnn_sparse_fls_pool"]
    changed = dataclasses.replace(spec, attention=dataclasses.replace(spec.attention, score="sigmoid"))
    monkeypatch.setitem(cast("dict[str, Any]", NETWORKS), "cnn_sparse_fls_pool", changed)
    after = fls_jax.load_agent(run[0])(seen).attention
    # Both are functions of the same scores s: log(1 + e^s) and 1 / (1 + e^-s).
    np.testing.assert_allclose(after, 1 - np.exp(-before), rtol=1e-4, atol=1e-5)


def test_parameters_have_a_fingerprint(run, tmp_path):
    agent = fls_jax.load_agent(run[0])
    assert re.fullmatch("[0-9a-f]{16}", agent.fingerprint)
    assert fls_jax.load_agent(run[0]).fingerprint == agent.fingerprint
    assert agent.untrained().fingerprint != agent.fingerprint
    write_run(tmp_path, seed=1)
    assert fls_jax.load_agent(tmp_path).fingerprint != agent.fingerprint


def test_an_agent_can_be_pickled(run, rng):
    agent = fls_jax.load_agent(run[0])
    seen = observations(rng, 2)
    again = pickle.loads(pickle.dumps(agent))
    assert repr(again) == repr(agent)
    for ours, theirs in zip(again(seen), agent(seen), strict=True):
        np.testing.assert_array_equal(ours, theirs)


FORK = """
import os, sys, warnings
import numpy as np
import fls_jax
warnings.simplefilter("ignore")
agent = fls_jax.load_agent(sys.argv[1])
seen = np.zeros((1, 84, 84, 4), np.uint8)
agent(seen)
child = os.fork()
if child == 0:
    try:
        agent(seen)
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(7)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_call_in_the_child_of_a_fork_is_a_sentence(run):
    assert 'get_context("spawn")' in run_python(["-c", FORK, str(run[0])]).stdout


def test_wrong_observations_are_told_what_was_expected(run):
    agent = fls_jax.load_agent(run[0])
    with pytest.raises(TypeError, match=r"uint8 \[B, 84, 84, 4\].*these are float32"):
        agent(np.zeros((1, 84, 84, 4), np.float32))
    with pytest.raises(ValueError, match=r"shape \[84, 84, 4\].*observations\[None\]"):
        agent(np.zeros((84, 84, 4), np.uint8))
    with pytest.raises(ValueError, match=r"shape \[2, 4, 84, 84\].*moveaxis"):
        agent.saliency(np.zeros((2, 4, 84, 84), np.uint8))
    with pytest.raises(ValueError, match=r"shape \[2, 210, 160, 3\]"):
        agent(np.zeros((2, 210, 160, 3), np.uint8))
    with pytest.raises(ValueError, match="no protocol 'published'"):
        agent.saliency(np.zeros((0, 84, 84, 4), np.uint8), protocol=cast("Any", "published"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"network": "cnn_nothing"}, "names the network 'cnn_nothing'; there are: cnn, "),
        ({"action_names": None}, "action_names must be a list of the game's actions; it is None"),
        ({"action_names": ["NOOP"]}, r"policy/bias should be \(1,\) and is \(6,\)"),
        (
            {"network": "cnn_sparse_fls_1x1"},
            r"attention3/hidden/kernel should be \(1, 1, 64, 256\)",
        ),
        ({"seed": "one"}, "seed is 'one'; it must be of type int"),
    ],
)
def test_a_configuration_that_does_not_fit(damage, message, tmp_path):
    write_run(tmp_path)
    edit_config(tmp_path, **damage)
    with pytest.raises(UserError, match=message):
        fls_jax.load_agent(tmp_path)


def test_folders_that_are_no_run(tmp_path):
    with pytest.raises(UserError, match=r"no run folder .*nowhere: check the path"):
        fls_jax.load_agent(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no run folder"):
        fls_jax.load_agent(tmp_path / ("long" * 100))
    with pytest.raises(UserError, match=r"not a run folder: it has no config.json"):
        fls_jax.load_agent(tmp_path)
    write_run(tmp_path / "run")
    for file in (tmp_path / "run/checkpoints/32/params").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match=r"32 cannot be read"):
        fls_jax.load_agent(tmp_path / "run")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, fls_jax; dir(fls_jax);"
        "heavy = {'jax', 'numpy', 'flax', 'orbax', 'envpool', 'cv2', 'pandas', 'rich', 'tyro'};"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys();"
        "fls_jax.NETWORKS['cnn']; assert 'jax' not in sys.modules;"
        "assert fls_jax.metrics.nss and fls_jax.load_agent and fls_jax.Agent"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_package_has_only_what_it_says():
    assert set(fls_jax.__all__) <= set(dir(fls_jax))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fls_jax.nothing  # noqa: B018
