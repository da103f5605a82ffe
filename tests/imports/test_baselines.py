"""The authors' format -> a run folder, for all 15 networks, against the NumPy networks."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import fls_jax
from fls_jax.errors import UserError
from fls_jax.imports.baselines import import_baselines
from fls_jax.networks.specs import PUBLISHED
from tests.imports.tensorflow_model import variables, write_experiment
from tests.oracles import networks as oracle


@pytest.mark.parametrize("network", PUBLISHED)
def test_every_network_computes_what_it_did(network, tmp_path, rng):
    parameters = oracle.random_parameters(network, 4, rng)
    parameters = {name: value.astype(np.float32) for name, value in parameters.items()}
    source = write_experiment(
        tmp_path / f"Breakout.{network}" / "25", network, variables(network, parameters)
    )
    import_baselines(source, tmp_path / "runs" / "imported")
    agent = fls_jax.load_agent(tmp_path / "runs" / "imported")
    assert (agent.network, agent.game, agent.step) == (network, "Breakout", 0)
    assert agent.actions == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert (agent.preprocessing, agent.config.seed) == ("baselines", 25)
    seen = rng.integers(0, 256, (1 if "dense" in network else 3, 84, 84, 4), dtype=np.uint8)
    for ours, theirs in zip(agent(seen), oracle.forward(network, parameters, seen), strict=True):
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


@pytest.fixture
def model(rng):
    return variables("cnn_daqn", oracle.random_parameters("cnn_daqn", 9, rng))


PACMAN = "MsPacmanNoFrameskip-v4"


@pytest.mark.parametrize("compression", [0, ("gzip", 3)])
def test_configuration_and_compressed_models(compression, model, tmp_path):
    source = write_experiment(tmp_path / "seed one", "cnn_daqn", model, PACMAN, compress=compression)
    folder = import_baselines(source, tmp_path / "run")
    values = folder.read_config()
    assert (values["game"], values["network"], values["step"]) == ("MsPacman", "cnn_daqn", 0)
    assert values["preprocessing"] == "baselines"
    assert len(values["action_names"]) == 9
    assert len(values["imported"]["sha256"]) == 64
    assert values["seed"] == 0  # the folder's name is no number
    assert not [p for p in tmp_path.iterdir() if p.name not in ("seed one", "run")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ppo2_model/pi/c2/w:0": None}, r"no variable ppo2_model/pi/c2/w:0 \(shape \[4, 4, 32, 64\]"),
        ({"ppo2_model/vf/b:0": None}, r"no variable ppo2_model/vf/b:0"),
        (
            {"ppo2_model/pi/c1/b:0": np.zeros(32, np.float32)},
            r"c1/b:0 is float32 \[32\]; .* \[1, 32, 1, 1\]",
        ),
        ({"ppo2_model/pi/h2/w:0": np.zeros((3, 3, 256, 1))}, r"pi/h2/w:0 is float64 \[3, 3, 256, 1\]"),
        (
            {"ppo2_model/pi/w:0": np.zeros((512, 4), np.float32)},
            r"pi/w:0 .* 9 actions .* float \[512, 9\]",
        ),
        ({"ppo2_model/pi/fc1/b:0": np.zeros(512, int)}, r"pi/fc1/b:0 is int64 \[512\]"),
        ({"ppo2_model/vf/w:0": np.full((512, 1), np.nan)}, r"vf/w:0 has values that are not finite"),
    ],
)
def test_a_wrong_variable_names_itself(change, message, model, tmp_path):
    model |= {k: v for k, v in change.items() if v is not None}
    model = {k: v for k, v in model.items() if not (k in change and change[k] is None)}
    source = write_experiment(tmp_path / "model", "cnn_daqn", model, PACMAN)
    with pytest.raises(UserError, match=message):
        import_baselines(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Runs:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_malicious_model_does_not_execute(model, tmp_path):
    marker = tmp_path / "marker"
    source = write_experiment(tmp_path / "model", "cnn_daqn", model | {"x": Runs(f"touch {marker}")}, PACMAN)
    with pytest.raises(UserError, match=r"was not loaded: it asks for 'posix.system'.* Nothing in it"):
        import_baselines(source, tmp_path / "run")
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


def test_what_is_not_the_authors_folder(model, tmp_path):
    with pytest.raises(UserError, match=r"config.json cannot be read .* with config.json and model.pkl"):
        import_baselines(tmp_path / "nowhere", tmp_path / "run")
    source = write_experiment(tmp_path / "model", "cnn_daqn", model, PACMAN)
    (source / "model.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=r"model.pkl cannot be read: it is damaged"):
        import_baselines(source, tmp_path / "run")
    (source / "model.pkl").unlink()
    with pytest.raises(UserError, match=r"model.pkl cannot be read \(No such file"):
        import_baselines(source, tmp_path / "run")
    for config, message in [
        ("{", "is not JSON"),
        ("[]", "env_name is None; it must be a name"),
        (json.dumps({"env_name": PACMAN, "network": 3}), "network is 3; it must be a name"),
        (
            json.dumps({"env_name": PACMAN, "network": "impala"}),
            "network 'impala'; known are: cnn, ",
        ),
        (json.dumps({"env_name": "MsPackmanNoFrameskip-v4", "network": "cnn"}), "did you mean MsPacman"),
    ]:
        (source / "config.json").write_text(config)
        with pytest.raises(UserError, match=message):
            import_baselines(source, tmp_path / "run")


def test_nothing_is_overwritten(model, tmp_path):
    source = write_experiment(tmp_path / "model", "cnn_daqn", model, PACMAN)
    (tmp_path / "run").mkdir()
    import_baselines(source, tmp_path / "run")  # an empty folder is as good as none
    before = (tmp_path / "run/config.json").read_bytes()
    with pytest.raises(UserError, match=r"run exists already: choose another"):
        import_baselines(source, tmp_path / "run")
    assert (tmp_path / "run/config.json").read_bytes() == before
