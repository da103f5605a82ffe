"""Compares all methods on one agent and one set of frames; each method is written when it is done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from fls_jax.agent import Agent
from fls_jax.benchmark import erasure, sanity
from fls_jax.benchmark.failures import told
from fls_jax.benchmark.figures import draw
from fls_jax.benchmark.frames import FrameSet
from fls_jax.benchmark.objects import find_objects, kinds_of
from fls_jax.benchmark.ram import DECODERS
from fls_jax.benchmark.results import UNTRAINED, Measured, Results, to_table
from fls_jax.benchmark.scores import (
    Values,
    faithfulness_scores,
    object_scores,
    ranking_of,
    replacement_scores,
    shape_scores,
    steadiness_scores,
    subset,
)
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.provenance import commit, machine, versions
from fls_jax.saliency import METHODS, Question
from fls_jax.saliency.averages import completeness_gaps
from fls_jax.saliency.methods import mass_of
from fls_jax.saliency.question import CannotExplainError, Target

_SLICE = 32
SANITY_FRAMES = 16
MAPS_SEED = 0
FRESH = 10_000
"""Added to the training's seed for fresh weights; its own initial weights are not independent."""
NO_ATTENTION = "has no attention"


class Stopped(Exception):  # noqa: N818 (no error)
    """Raised after a signal."""


@dataclass(frozen=True)
class Settings:
    """Settings of a comparison.

    methods: names in METHODS. targets: the outputs to explain; insertion, deletion and sanity use the first
    target that is an action. faithful: number of frames for insertion, deletion and erasure, evenly spread.
    highlights: use the frames where the choice matters most, not an even sample.
    """

    methods: tuple[str, ...]
    targets: tuple[Target, ...] = ("action",)
    faithful: int = 100
    highlights: bool = False


class Comparison:
    """An agent, a set of frames, and the values that all methods share.

    Args:
        agent: the agent to explain. frames: its observations.
        settings: see Settings.
        results: where results are written.
        stop: checked between slices of frames.
    """

    def __init__(
        self, agent: Agent, frames: FrameSet, settings: Settings, results: Results, stop: StopFlag
    ) -> None:
        self.agent, self.frames, self.settings, self.results, self.stop = (
            agent,
            frames,
            settings,
            results,
            stop,
        )
        self.untrained = agent.untrained(agent.config.seed + FRESH)
        self.name = f"{agent.game}/{agent.config.variant}/{agent.step}"
        self.failures: dict[str, str] = {}
        self.acted = next((t for t in settings.targets if t not in ("policy", "value")), None)

    @property
    def work(self) -> list[tuple[str, str]]:
        """(agent, method) in order: each method, then the same on the untrained network."""
        pairs = []
        for method in self.settings.methods:
            if METHODS[method].family == "attention" and self.agent.spec.attention is None:
                self.failures[method] = f"the network {self.agent.network} {NO_ATTENTION}"
                continue
            pairs.append((self.name, method))
            if METHODS[method].family != "control":
                pairs.append((f"{self.name} {UNTRAINED}", method))
        return pairs

    def run(self, advance: Callable[[str], None]) -> None:
        """Run all methods that are missing. If one fails, it is noted and the others run. Raises Stopped."""
        for name, method in self.work:
            if method not in self.failures and not self.results.is_done(name, method):
                self._check_signal()
                try:
                    maps, measured = self.measure(name, method)
                except Stopped:
                    raise
                except Exception as error:  # any error of a user's method
                    log = self.results.log_file(method)
                    self.failures[method] = told(error, METHODS[method].maps, log)
                else:
                    self.results.write(name, method, maps, measured)
            advance(f"{method}{' (untrained)' if name.endswith(UNTRAINED) else ''}")
            self.write_tables(complete=False)

    def write_tables(self, complete: bool) -> Any:
        """Write the tables of all finished methods; returns the long one."""
        done = {
            (name, method): self.results.read(name, method)
            for name, method in self.work
            if self.results.is_done(name, method)
        }
        table = to_table(done, self.frames.episodes)
        self.results.write_tables(table)
        self.results.write_summary(self._summary(complete))
        return table

    def draw(self) -> None:
        """Draw the figures of all finished methods, for the trained agent and the first target."""
        methods = [method for name, method in self.work if name == self.name]
        draw(self.results, self.name, methods, self.settings.targets[0], self.frames.observations)

    def measure(self, name: str, method: str) -> tuple[dict[Target, np.ndarray], Measured]:
        """Compute a method's maps by target, and all their measurements."""
        trained = not name.endswith(UNTRAINED)
        agent = self.agent if trained else self.untrained
        targets = self._targets(method)
        maps, milliseconds = self._maps(agent, method, targets)
        later = agent.saliency_of_targets(self.frames.followers, method, targets, self._key)
        measured = Measured({}, {}, {})
        # of the map that multiplies the features, for any target
        replaced = replacement_scores(agent, self.frames.observations) if method == "attention" else {}
        for target, each in maps.items():
            mass = mass_of(each, METHODS[method].family)
            values = shape_scores(mass) | object_scores(mass, self.things) | replaced
            values |= steadiness_scores(each, later[target], self.frames.followed)
            if method == "integrated_gradients" and target != "policy":
                whole = agent.question(self.frames.observations, (target,))
                values["completeness_gap"] = completeness_gaps(whole, each[None])[0]
            if target == self.acted:
                ranked = ranking_of(each, METHODS[method].family)
                faithful, curves = faithfulness_scores(self.question, ranked, self.faithful)
                values |= faithful
                measured.curves.update(curves)
                values |= self._sanity(method, target, each) if trained else {}
            measured.values[str(target)] = values
            measured.totals[str(target)] = self._erasure(mass)
            measured.totals[str(target)]["ms_per_frame"] = (milliseconds, np.nan, np.nan, len(self.frames))
        return maps, measured

    def _targets(self, method: str) -> tuple[Target, ...]:
        targets = self.settings.targets
        if METHODS[method].only_actions:
            targets = tuple(target for target in targets if target not in ("policy", "value"))
        if not targets:
            raise CannotExplainError(f"{method} explains only actions, and no target is an action.")
        return targets

    def _maps(
        self, agent: Agent, method: str, targets: tuple[Target, ...]
    ) -> tuple[dict[Target, np.ndarray], float]:
        """Maps by target, and milliseconds per frame without compilation.

        Methods with many passes run in slices, so that they stop soon after a signal. Other methods need all
        frames at once, for a mean or a median.
        """
        seen = self.frames.observations
        size = _SLICE if METHODS[method].family == "perturbation" else len(seen)
        agent.saliency_of_targets(seen[: min(_SLICE, len(seen))], method, targets, self._key)  # compiles
        begun, parts = time.perf_counter(), []
        for start in range(0, len(seen), size):
            self._check_signal()
            parts.append(agent.saliency_of_targets(seen[start : start + size], method, targets, self._key))
        seconds = time.perf_counter() - begun
        maps = {target: np.concatenate([part[target] for part in parts]) for target in targets}
        return maps, 1000 * seconds / len(seen)

    def _sanity(self, method: str, target: Target, maps: np.ndarray) -> Values:
        """Similarity to the maps with randomised layers, on a few frames; NaN on the others."""
        chosen, values = subset(len(maps), SANITY_FRAMES), {}
        if METHODS[method].family == "control":
            return {}
        for layer, params in sanity.cascade(self.agent.params, self.untrained.params, self.agent.spec):
            self._check_signal()
            blurred = self.agent.with_params(params)
            after = blurred.saliency(self.frames.observations[chosen], method, target, self._key)
            for measure, found in sanity.similarities(maps[chosen], after).items():
                values[f"{measure}:{layer}"] = np.full(len(maps), np.nan)
                values[f"{measure}:{layer}"][chosen] = found
        return values

    def _erasure(self, mass: np.ndarray) -> dict[str, tuple[float, float, float, int]]:
        """Rank agreement between the mass on objects and the effect of erasing them."""
        if not self.erased_things:
            return {}
        masses = erasure.masses(mass, self.erased_things)
        games = self.frames.episodes[[thing.frame for thing in self.erased_things]]
        return {
            f"erasure:{output}": erasure.rank_agreement(masses, getattr(self.effects, output), games)
            for output in erasure.Effects._fields
        }

    @cached_property
    def faithful(self) -> np.ndarray:
        """Frames for measurements that take many passes."""
        return subset(len(self.frames), self.settings.faithful)

    @cached_property
    def question(self) -> Question:
        """The question about the agent on these frames, with the first target that is an action."""
        assert self.acted is not None
        return self.agent.question(self.frames.observations[self.faithful], (self.acted,))

    @cached_property
    def things(self) -> list[Any]:
        """All objects on all frames."""
        return find_objects(self.frames.game, self.frames.observations, self.frames.ram)

    @cached_property
    def erased_things(self) -> list[Any]:
        """The objects of those frames that can be erased."""
        chosen = set(self.faithful.tolist())
        some = [thing for thing in self.things if thing.frame in chosen]
        return erasure.erasable(self.frames.observations, some)

    @cached_property
    def effects(self) -> erasure.Effects:
        """The effect of erasing each object."""
        whole = self.agent.question(self.frames.observations, ("policy",))
        return erasure.erase(whole, self.erased_things)

    @property
    def _key(self) -> jax.Array:
        return jax.random.key(MAPS_SEED)

    def _check_signal(self) -> None:
        if self.stop:
            raise Stopped

    def _summary(self, complete: bool) -> dict[str, Any]:
        spec = self.agent.spec
        notes = []
        if spec.attention:
            above = [layer for layer in sanity.layers(spec) if not layer.startswith("conv")]
            notes.append(
                f"Attention is computed before {', '.join(above[:2])}: it cannot change when only these do, "
                "in any network, trained or not."
            )
        return {
            "complete": complete,
            "failures": self.failures,
            "frames": {
                "episodes": len(np.unique(self.frames.episodes)),
                "insertion_deletion": len(self.faithful),
            },
            "objects": {
                "from": "memory"
                if self.frames.game in DECODERS
                else "pixels that differ from the background",
                "kinds": kinds_of(self.things),
            },
            "layers": list(sanity.layers(spec)),
            "notes": notes,
            "commit": commit(),
            "versions": versions(),
            "machine": machine(),
            "backend": jax.default_backend(),
        }


def identity(agent: Agent, frames: FrameSet, settings: Settings) -> dict[str, Any]:
    """The values by which two comparisons are the same, except for methods."""
    return {
        "game": agent.game,
        "network": agent.network,
        "training_seed": agent.config.seed,
        "env_step": agent.step,
        "fingerprint": agent.fingerprint,
        "targets": [str(target) for target in settings.targets],
        "frames_sha256": hashlib.sha256(frames.observations.tobytes()).hexdigest(),
        "count": len(frames),
        "highlights": settings.highlights,
        "faithful": settings.faithful,
        "sanity_frames": SANITY_FRAMES,
        "key": MAPS_SEED,
        "untrained_seed": agent.config.seed + FRESH,
    }
