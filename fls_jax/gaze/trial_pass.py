"""Scores one trial: from its pictures to the scores of every map of every observation.

There are two passes, because a trial's maps are divided by their maximum over the trial. The first pass runs
the networks and stores attention [n, h, w]; only this grows with the trial. The second pass draws and scores
one batch of maps at a time. The control for motion needs the pictures, which are decoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.agent import Agent
from fls_jax.gaze.controls import (
    CONTROLS,
    MODEL,
    OTHER_HUMANS,
    OTHER_TRIALS,
    UNTRAINED,
    centre_map,
    frame_differences,
    gaze_map,
    network_maps,
    place,
    random_maps,
    uniform_map,
)
from fls_jax.gaze.methods import method_maps, untrained_name
from fls_jax.gaze.observations import Protocol, Space, TrialObservations, map_shape
from fls_jax.gaze.scoring import METRICS, FrameKeys, draw_other_frames, frame_keys, score_maps
from fls_jax.metrics import smoothed_density
from fls_jax.networks.specs import NetworkSpec

_LOOKED_AT_ONCE = 64
_SCORED_AT_ONCE = {"cpu": 16}  # fits into a CPU's cache; larger on accelerators
_SCORED_AT_ONCE_ELSEWHERE = 128

Advance = Callable[[int], object]
_FROM_OTHERS = {OTHER_TRIALS: "no other trial", OTHER_HUMANS: "no other player"}


class Stopped(Exception):  # noqa: N818
    """Raised by `advance` after a signal, to end the pass over a trial."""


class Attended(NamedTuple):
    """The attention of the networks in a trial of n observations.

    frames: int64 [n], the zero-based frame of each observation.
    attention: by map, float32 [n, h, w], not normalised.
    peaks: by map, the maximum of the drawn maps over the trial, without NaN and infinity.
    """

    frames: np.ndarray
    attention: dict[str, np.ndarray]
    peaks: dict[str, float]


class TrialScores(NamedTuple):
    """Scores of one trial.

    frames: int64 [n]. values: float32 [n, M, 8], by the pass's maps and METRICS. peak: the largest saliency
    of the model's map in the trial; None if it has no map, or if the scores were read from a table.
    """

    frames: np.ndarray
    values: np.ndarray
    peak: float | None = None


class TrialPass:
    """Scores an agent's map and the controls on trials of its game.

    Args:
        agent: the agent; its preprocessing must be that of the observations.
        protocol: the geometry with which attention is drawn, and the negatives of shuffled AUC.
        space: of maps and fixations, `screen` or `input`.
        controls: also score the controls, not only the model's map.
        methods: saliency methods to score as well, as `gaze.methods.posthoc` gives them; with `controls` also
            on the untrained network.

    Attributes:
        maps: names of the maps that are scored, in order.
    """

    def __init__(
        self,
        agent: Agent,
        protocol: Protocol,
        space: Space,
        controls: bool = True,
        methods: tuple[str, ...] = (),
    ) -> None:
        fresh = tuple(map(untrained_name, methods)) if controls else ()
        self.maps: tuple[str, ...] = (MODEL, *methods, *fresh, *(CONTROLS if controls else ()))
        self._agent, self._methods = agent, methods
        self._untrained = agent.untrained(agent.config.seed) if controls else None
        self._spec, self._protocol, self._space = agent.spec, protocol, space
        self._agents: dict[str, Agent] = {}
        if agent.spec.attention is not None:
            self._agents = {MODEL: agent} | ({UNTRAINED: self._untrained} if self._untrained else {})
        centre = centre_map(space)
        self._fixed = (
            {"uniform": uniform_map(agent.spec, protocol, space), "centre": centre} if controls else {}
        )
        self._baseline = np.asarray(smoothed_density(centre[None])[0])

    def note(self, name: str, others: Container[str]) -> str | None:
        """Why there is no map of this name; None if there is one. others: controls from others' gaze."""
        if name in (MODEL, UNTRAINED) and name not in self._agents:
            return "no map"
        return _FROM_OTHERS.get(name) if name not in others else None

    def score(
        self,
        observations: TrialObservations,
        trial: int,
        others: dict[str, np.ndarray] | None = None,
        advance: Advance = lambda steps: None,
    ) -> TrialScores:
        """Scores of every observation of the trial.

        Args:
            observations: the trial, opened with this pass's protocol and space.
            trial: its number, which seeds the random numbers.
            others: gaze [H, W] that is not of this trial, for `other_trials` and `other_humans`; what is
                missing is not scored.
            advance: called in both passes with the number of observations done since the last call.
        """
        # First pass: attention of all observations, and its maximum.
        attended = self.attend(observations, advance)
        # Which maps exist in this trial. Some controls are the same for all of its observations.
        fixed = dict(self._fixed)
        if fixed:
            fixed |= {name: gaze_map(counts, self._space) for name, counts in (others or {}).items()}
        names = [name for name in self.maps if self.note(name, fixed) is None]
        # Second pass: draw and score all maps, batch by batch; maps that do not exist stay NaN.
        values = np.full((len(attended.frames), len(self.maps), len(METRICS)), np.nan, np.float32)
        columns = [self.maps.index(name) for name in names]
        if names:
            for start, scores in self._batches(observations, trial, attended, fixed, tuple(names)):
                values[start : start + scores.shape[1], columns] = np.moveaxis(scores, 0, 1)
                advance(scores.shape[1])
        else:
            advance(len(attended.frames))
        return TrialScores(attended.frames, values, attended.peaks.get(MODEL))

    def attend(self, observations: TrialObservations, advance: Advance = lambda steps: None) -> Attended:
        """The first pass: run the networks over the trial, while pictures are decoded ahead."""
        frames: list[np.ndarray] = [np.zeros(0, np.int64)]
        attention: dict[str, list[np.ndarray]] = {name: [] for name in self._agents}
        peaks = dict.fromkeys(self._agents, 0.0)
        for batch in observations.batches(_LOOKED_AT_ONCE):
            frames.append(batch.frames)
            stacks = _padded(batch.observations, _LOOKED_AT_ONCE)  # one size, one compilation
            for name, agent in self._agents.items():
                maps = agent(stacks).attention
                highest = _highest(maps, self._spec, self._protocol, self._space)[: len(batch.frames)]
                peaks[name] = max(peaks[name], float(np.max(highest)))
                attention[name].append(maps[: len(batch.frames)])
            advance(len(batch.frames))
        joined = {name: np.concatenate(parts) for name, parts in attention.items() if parts}
        return Attended(np.concatenate(frames), joined, peaks)

    def _batches(
        self,
        observations: TrialObservations,
        trial: int,
        attended: Attended,
        fixed: dict[str, np.ndarray],
        names: tuple[str, ...],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The second pass. Yields (first observation, scores float32 [M, b, 8]), fetched one batch late."""
        size = _SCORED_AT_ONCE.get(jax.default_backend(), _SCORED_AT_ONCE_ELSEWHERE)
        moving = "frame_difference" in names
        seen = moving or self._methods
        stacks = (batch.observations for batch in observations.batches(size)) if seen else None
        negatives = Negatives(observations, attended.frames, self._protocol)
        constants = {name: jax.device_put(map_ / map_.max()) for name, map_ in fixed.items()}
        pending: tuple[int, int, Array] | None = None
        for start in range(0, len(attended.frames), size):
            own = np.arange(start, min(start + size, len(attended.frames)))
            frames = attended.frames[own]
            fixations = observations.fixations(frames)
            keys = frame_keys(trial, _padded(frames, size).astype(np.int32))
            stack = None if stacks is None else _padded(next(stacks), size)
            inputs = _Inputs(
                {name: _padded(maps[own], size) for name, maps in attended.attention.items()},
                {name: np.float32(peak or 1) for name, peak in attended.peaks.items()},
                constants,
                {} if stack is None else self._posthoc(stack),
                stack if moving else None,
                _padded(fixations, size),
                _padded(negatives.of(own, fixations, keys.others), size),
                self._baseline,
                keys,
            )
            scores = _score(inputs, names, self._spec, self._protocol, self._space)
            if pending is not None:  # the device scores a batch while the next one is prepared
                yield pending[0], np.asarray(pending[2])[:, : pending[1]]
            pending = start, len(own), scores
        if pending is not None:
            yield pending[0], np.asarray(pending[2])[:, : pending[1]]

    def _posthoc(self, stacks: np.ndarray) -> dict[str, np.ndarray]:
        """The maps of all methods of observations, by name, of the agent and of the untrained network."""
        maps = method_maps(self._agent, stacks, self._methods)
        if self._untrained is not None:
            fresh = method_maps(self._untrained, stacks, self._methods)
            maps |= {untrained_name(name): each for name, each in fresh.items()}
        return maps


class Negatives:
    """Fixations of other observations of a trial: the negatives of shuffled AUC.

    `aligned`: those of all others (the trial's total minus the observation's own). `paper`: those of 10
    others, drawn uniformly with replacement.

    Args:
        observations: the trial.
        frames: int64 [n], the observations that count.
        protocol: `aligned` or `paper`.
    """

    def __init__(self, observations: TrialObservations, frames: np.ndarray, protocol: Protocol) -> None:
        self._observations, self._frames, self._protocol = observations, frames, protocol
        if protocol == "aligned":
            chunks = range(0, len(frames), _LOOKED_AT_ONCE)
            parts = (observations.fixations(frames[i : i + _LOOKED_AT_ONCE]).sum(axis=0) for i in chunks)
            self._total = sum(parts, start=np.zeros(map_shape(observations.space), np.int64))

    def of(self, own: np.ndarray, fixations: np.ndarray, keys: Array) -> np.ndarray:
        """Summed counts [b, H, W] for the observations numbered `own` int [b].

        fixations: their own counts [b, H, W]; keys: at least b random keys.
        """
        if self._protocol == "aligned":
            return (self._total - fixations).astype(np.float32)
        drawn = draw_other_frames(keys, _padded(own, len(keys)), len(self._frames))[: len(own)]
        summed = np.zeros(fixations.shape, np.float32)
        for others in drawn.T:
            summed += self._observations.fixations(self._frames[others])
        return summed


class _Inputs(NamedTuple):
    attention: dict[str, np.ndarray]
    peaks: dict[str, np.float32]
    constants: dict[str, Array]
    methods: dict[str, np.ndarray]
    stacks: np.ndarray | None
    fixations: np.ndarray
    negatives: np.ndarray
    baseline: np.ndarray
    keys: FrameKeys


@partial(jax.jit, static_argnames=("names", "spec", "protocol", "space"))
def _score(
    inputs: _Inputs, names: tuple[str, ...], spec: NetworkSpec, protocol: Protocol, space: Space
) -> Array:
    """Scores float32 [M, B, 8] of the maps called `names`, which are made here and stay on the device."""
    maps = {
        name: network_maps(attention, spec, protocol, space) / inputs.peaks[name]
        for name, attention in inputs.attention.items()
    }
    shape = inputs.fixations.shape
    maps |= {name: jnp.broadcast_to(map_[None], shape) for name, map_ in inputs.constants.items()}
    maps |= {name: place(each, space) for name, each in inputs.methods.items()}
    if inputs.stacks is not None:
        maps["frame_difference"] = frame_differences(inputs.stacks, space)
        maps["random"] = random_maps(inputs.keys.noise, space)
    return score_maps(
        jnp.stack([maps[name] for name in names]),
        inputs.fixations,
        inputs.negatives,
        inputs.baseline,
        inputs.keys.splits,
        space,
        protocol,
    )


@partial(jax.jit, static_argnums=(1, 2, 3))
def _highest(attention: Array, spec: NetworkSpec, protocol: Protocol, space: Space) -> Array:
    """The largest finite value of each drawn map: [B, h, w] -> [B]."""
    maps = network_maps(attention, spec, protocol, space)
    return jnp.max(jnp.where(jnp.isfinite(maps), maps, 0), axis=(1, 2))


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Pad the array with zeros to [size, ...]."""
    missing = size - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
