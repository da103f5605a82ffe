"""An agent: a checkpoint as a function of observations, in a notebook, on any device.

agent = load_agent("runs/Pong/cnn_sparse_fls/seed1")
logits, value, attention = agent(observations)
maps = agent.saliency(observations)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.chunking import over_blocks
from fls_jax.networks.compiled import Weights, compiled_network
from fls_jax.networks.geometry import attention_shape, conv_geometry
from fls_jax.networks.replacement import (
    TRAINED,
    check_name,
    make_replacement,
    needs_reference,
)
from fls_jax.networks.specs import NETWORKS, network_spec
from fls_jax.runs.checkpoints import load_params
from fls_jax.runs.folder import RunFolder
from fls_jax.saliency.controls import uniform_map
from fls_jax.saliency.methods import compute_targets
from fls_jax.saliency.projection import check_protocol, project
from fls_jax.saliency.question import Question, Target
from fls_jax.types import NetworkOutput, Params

OBSERVATION = (84, 84, 4)


class AgentOutput(NamedTuple):
    """What an agent computes for B observations, as NumPy arrays.

    logits: float32 [B, A], unnormalised log-probabilities of the actions `agent.actions`.
    value: float32 [B], the predicted discounted return (of sign-clipped rewards).
    attention: float32 [B, h, w], the attention map that multiplied the features. It is the sum of the maps
        where the network has several, and zeros where it has none.
    """

    logits: np.ndarray
    value: np.ndarray
    attention: np.ndarray


class Agent:
    """A network with its parameters, and what it was trained for.

    Attributes:
        network: published name of the network; `spec` is its description.
        game: EnvPool's spelling of the game.
        step: env_step of the checkpoint (0 for an imported or untrained one).
        actions: ALE's names of the A actions, in the order of the logits.
        preprocessing: `envpool` or `baselines`: how training made observations from screens.
        config: the run's configuration.
        attention: which map multiplies the features: `trained`, or the name of its replacement.
        module: the Flax module; params: its parameters, on the device.
    """

    def __init__(
        self, config: TrainConfig, params: Params, step: int, actions: tuple[str, ...], preprocessing: str
    ) -> None:
        self.config, self.step, self.actions, self.preprocessing = config, step, actions, preprocessing
        self.network, self.game = config.network, config.game
        self.spec = network_spec(config.network)
        self.params: Params = params
        self.attention = TRAINED
        self._replacement = make_replacement(TRAINED)
        self._settle()

    def _settle(self) -> None:
        """Build the network, and move the parameters to this process's device."""
        config = self.config
        self._built = compiled_network(
            self.spec, len(self.actions), config.compute_dtype, config.matmul_precision
        )
        self.module = self._built.module
        self.params = jax.device_put(self.params)
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: parameters as NumPy arrays, nothing compiled."""
        compiled = ("_built", "module", "_process")
        state = {name: value for name, value in vars(self).items() if name not in compiled}
        arrays = {"params": self.params, "_replacement": self._replacement}
        return state | jax.device_get(arrays)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of 16 letters over parameters, shapes and attention: it differs where any of them does."""
        digest = hashlib.sha256()
        replaced = {self.attention: self._replacement} if self.attention != TRAINED else {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(self.params | replaced)):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            digest.update(
                f"{name} {leaf.dtype} {leaf.shape} ".encode() + np.ascontiguousarray(leaf).tobytes()
            )
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        attention = "" if self.attention == TRAINED else f", attention {self.attention}"
        return f"<Agent {self.network} for {self.game} at step {self.step:,}{attention}>"

    def __call__(self, observations: np.ndarray | jax.Array) -> AgentOutput:
        """Run the network on observations uint8 [B, 84, 84, 4], oldest frame first; any B, 0 included.

        Raises TypeError for another dtype and ValueError for another shape. Batches are padded to a few
        sizes, so that at most six or eight programs are compiled.
        """
        observations = self._check(observations)
        if not len(observations):
            h, w = attention_shape(self.spec)
            return AgentOutput(*(np.zeros((0, *s), np.float32) for s in [(len(self.actions),), (), (h, w)]))
        weights = self._weights
        return AgentOutput(*over_blocks(lambda block: self._built.forward(weights, block), observations))

    @property
    def _weights(self) -> Weights:
        return self.params, self._replacement

    def apply(self, params: Params, observations: jax.Array) -> NetworkOutput:
        """What a call computes, as a pure function to compile or differentiate: uint8 [B, 84, 84, 4]."""
        return self._built.forward((params, self._replacement), observations)

    def saliency(
        self,
        observations: np.ndarray | jax.Array,
        method: str = "attention",
        target: Target = "action",
        key: jax.Array | None = None,
        **parameters: Any,
    ) -> np.ndarray:
        """What mattered to the agent in observations: uint8 [B, 84, 84, 4] -> float32 [B, 84, 84].

        The default method is its attention: each value is added to every pixel of the receptive field that it
        gates. The map is zero where the network has no attention. Nothing is normalised.

        Args:
            observations: oldest frame first.
            method: a name in fls_jax.saliency.METHODS.
            target: the output to explain: `action` (each frame's most probable), an action's number or its
                name in `agent.actions`, `policy` (all logits), or `value`.
            key: for methods that draw random numbers; jax.random.key(0) by default.
            parameters: of the method, such as `steps=50`. Attention takes `protocol="paper"` for the
                published receptive fields.

        Raises what a call raises, and ValueError for an unknown method, target or parameter.
        """
        return self.saliency_of_targets(observations, method, (target,), key, **parameters)[target]

    def saliency_of_targets(
        self,
        observations: np.ndarray | jax.Array,
        method: str,
        targets: Sequence[Target],
        key: jax.Array | None = None,
        **parameters: Any,
    ) -> dict[Target, np.ndarray]:
        """As `saliency`, for several targets in the same passes through the network: maps by target."""
        observations = self._check(observations)
        numbers = [self._target(target) for target in targets]
        parameters = self._with_geometry(method, parameters)
        maps = compute_targets(
            self._built.forward, self._weights, observations, method, numbers, key, **parameters
        )
        return {target: maps[number] for target, number in zip(targets, numbers, strict=True)}

    def _check(self, observations: Any) -> np.ndarray:
        if os.getpid() != self._process:
            raise RuntimeError(
                "This agent was loaded before the process forked, and JAX hangs in the forked child: "
                'start the children with multiprocessing.get_context("spawn"); an agent can be sent to them.'
            )
        return _checked(observations)

    def question(self, observations: np.ndarray | jax.Array, targets: Sequence[Target]) -> Question:
        """The agent, observations and targets in the form that saliency methods and measures take."""
        numbers = tuple(self._target(target) for target in targets)
        observations = self._check(observations)
        return Question(self._built.forward, self._weights, observations, numbers, jax.random.key(0))

    def with_params(self, params: Params) -> Agent:
        """The same agent with other parameters of the same shapes."""
        return Agent(self.config, params, self.step, self.actions, self.preprocessing)

    def _target(self, target: Target) -> Target:
        """An action's name as its number."""
        return self.actions.index(target) if target in self.actions else target

    def _with_geometry(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """A method's parameters, completed with the positions of the agent's features on the frame."""
        if method in ("attention", "attention_relative", "uniform"):
            protocol = parameters.pop("protocol", "aligned")
            check_protocol(protocol)
            if method == "uniform":
                return {"painted": np.asarray(uniform_map(self.spec, protocol))} | parameters
            return {"paint": lambda attention: _project(attention, self.spec, protocol)} | parameters
        if method == "grad_cam":
            layers = {f"conv{n}": n for n in range(1, len(self.spec.torso) + 1)}
            layer = parameters.get("layer", list(layers)[-1])
            if layer in layers:
                geometry = conv_geometry(self.spec.torso[: layers[layer]], self.spec.input_padding)
                return {"layer": layer, "geometry": geometry} | parameters
        return parameters

    def untrained(self, seed: int = 0) -> Agent:
        """The network as it is before the first update of a training with this seed: a control."""
        params = self._built.initialise(jax.random.key(seed))
        return Agent(self.config, params, 0, self.actions, self.preprocessing)

    def with_attention(self, name: str, reference: np.ndarray | None = None, seed: int = 0) -> Agent:
        """The same agent with its attention replaced by another map, in every gate.

        name: `trained`, `mean`, `uniform`, `shuffled`, `other` or `constant:V`, as described in
        fls_jax.networks.replacement.make_replacement. reference: observations uint8 [R, 84, 84, 4] of
        other moments, from which mean, uniform and other are made. seed: for random choices.
        Raises ValueError for another name, a network without attention or a missing reference, and what a
        call raises for a reference of a wrong type or shape.
        """
        if self.spec.attention is None and check_name(name) != TRAINED:
            raise ValueError(f"{self.network} has no attention to replace.")
        gates = None
        if needs_reference(name) and reference is not None and len(reference):
            gates = over_blocks(lambda block: self._built.gates(self.params, block), self._check(reference))
        agent = Agent(self.config, self.params, self.step, self.actions, self.preprocessing)
        agent.attention, agent._replacement = name, make_replacement(name, gates, seed)
        return agent


def load_agent(run_dir: str | Path, step: int | None = None) -> Agent:
    """Load the agent of a run folder at a checkpoint (default: the latest) on this process's first device.

    The folder needs only config.json and the checkpoint's `params`, written on any number of devices or
    processes. Raises UserError where the folder is not a run, has no such checkpoint, or its files do not
    fit together.
    """
    folder = RunFolder(Path(run_dir))
    if not os.path.isdir(folder.path):  # Path.is_dir raises for a name that is too long
        raise UserError(f"There is no run folder {folder.path}: check the path.")
    values = folder.read_config()
    source = str(folder.config_file)
    config = TrainConfig.from_json(values, source)
    if config.network not in NETWORKS:
        raise UserError(f"{source} names the network {config.network!r}; there are: {', '.join(NETWORKS)}.")
    actions = values.get("action_names")
    if not isinstance(actions, list) or not actions or not all(isinstance(name, str) for name in actions):
        raise UserError(f"{source}: action_names must be a list of the game's actions; it is {actions!r}.")
    step, stored = load_params(folder.checkpoints, step)
    params = jax.tree.map(lambda array: array.astype(np.float32), stored)  # shipped agents are float16
    agent = Agent(config, params, step, tuple(actions), str(values.get("preprocessing", "envpool")))
    if wrong := agent._built.mismatch(params):
        raise UserError(
            f"{folder.checkpoints / str(step)} does not fit its config.json ({agent.network}, {len(actions)} "
            f"actions): {wrong}."
        )
    return agent


_project = jax.jit(project, static_argnums=(1, 2))


def _checked(observations: Any) -> np.ndarray:
    observations = np.asarray(observations)
    expected = "Observations must be uint8 [B, 84, 84, 4], oldest frame first"
    if observations.dtype != np.uint8:
        raise TypeError(f"{expected}; these are {observations.dtype}.")
    shape = observations.shape
    if len(shape) != 4 or shape[1:] != OBSERVATION:
        hint = ""
        if shape == OBSERVATION:
            hint = " Give one observation as observations[None]."
        elif shape[-3:] == (4, 84, 84):
            hint = " Move the frames last with np.moveaxis(observations, -3, -1)."
        raise ValueError(f"{expected}; these have shape {list(shape)}.{hint}")
    return observations
