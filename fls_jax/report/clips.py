"""The clips of a report: an agent or a person plays, and every agent of the game runs on the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fls_jax.agent import Agent
from fls_jax.atari_head.dataset import Trial
from fls_jax.film.clip import Frames
from fls_jax.film.playing import play
from fls_jax.process.display import ProgressDisplay
from fls_jax.report.document import agent_id
from fls_jax.report.maps import Advance
from fls_jax.report.observing import look, observed
from fls_jax.report.recording import Recording, clip_record, trial_record
from fls_jax.report.sources import Sources
from fls_jax.report.trial import watch


@dataclass(frozen=True)
class Settings:
    """Settings of the clips.

    steps: agent steps of every clip; 0: no player. seed, greedy: of the games. methods: saliency methods
    whose maps are recorded. targets: outputs that they explain. trials: a person's, one clip each.
    """

    steps: int
    seed: int
    greedy: bool
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    trials: tuple[Trial, ...] = ()


class Watching:
    """The agents of one game, by their index among the runs; they run on the same frames."""

    def __init__(self, sources: Sources, agents: dict[int, Agent], settings: Settings) -> None:
        self.sources, self.agents, self.settings = sources, agents, settings

    def clip(self, player: int) -> dict[str, Any]:
        """Record one agent at play, observed by all."""
        agent, label, settings = self.agents[player], self.sources.labels[player], self.settings
        title = f"{self.sources.runs[player].game}, played by {label}"
        with ProgressDisplay(title, settings.steps + self.work, "playing ...") as display:
            clip = play(
                agent, settings.steps, settings.seed, settings.greedy, lambda n: display.count(n, "steps")
            )
            observers, _ = self.observe(clip, _counter(display, settings.steps))
        recording = Recording(
            id=f"c{player + 1}",
            label=title,
            description=_description(agent, label, settings, len(self.agents)),
            game=self.sources.runs[player].game,
            player=agent_id(player),
            seed=settings.seed,
            greedy=settings.greedy,
        )
        return clip_record(recording, clip, agent, observers)

    def trial(self, trial: Trial) -> dict[str, Any]:
        """Record a person at play, observed by all agents. Raises TrialError if the trial cannot be read."""
        title = f"{trial.game}, played by a person, Atari-HEAD trial {trial.id}"
        with ProgressDisplay(title, self.settings.steps + self.work, "reading ...") as display:
            watched = watch(trial, self.settings.steps, _counter(display, 0))
            observers, logits = self.observe(watched.frames, _counter(display, self.settings.steps))
        recording = Recording(
            f"h{trial.id}", title, _trial_description(trial, len(watched.frames)), str(trial.game)
        )
        return trial_record(recording, watched, logits, observers)

    @property
    def work(self) -> int:
        """The number of frames for all agents and all methods."""
        methods = len(set(self.settings.methods) - {"attention"})
        return self.settings.steps * len(self.agents) * (1 + methods)

    def observe(self, frames: Frames, advance: Advance) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Every agent's part of the document, and the logits of the first."""
        said = [look(agent, frames, advance) for agent in self.agents.values()]
        methods, targets = self.settings.methods, self.settings.targets
        observers = [
            observed(agent_id(number), agent, frames, each, methods, targets, advance)
            for (number, agent), each in zip(self.agents.items(), said, strict=True)
        ]
        return observers, said[0].logits


def _counter(display: ProgressDisplay, before: int) -> Advance:
    """A function that counts frames, starting at `before`."""
    done = before

    def advance(frames: int) -> None:
        nonlocal done
        done += frames
        display.count(done, "steps")

    return advance


def _description(agent: Agent, label: str, settings: Settings, agents: int) -> str:
    actions = (
        "the most probable action is taken" if settings.greedy else "actions are sampled from its policy"
    )
    others = " Every agent sees the same frames; the player acts." if agents > 1 else ""
    return (
        f"{label} at step {agent.step:,} plays from the beginning of a game, seed {settings.seed}; "
        f"{actions}. ◂ marks the action taken.{others}"
    )


def _trial_description(trial: Trial, observations: int) -> str:
    return (
        f"The first {observations:,} observations of trial {trial.id} of Atari-HEAD (Zhang et al. 2020, "
        "licence CC-BY-4.0), one of every four frames. A person plays; the agents see what they would have "
        "seen in the person's place. Dots: where the person looked, the median of each of the eight frames "
        "that an observation shows. What the person did is not shown."
    )
