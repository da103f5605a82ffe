"""Clips of the document: the play of an agent or a person, and all agents' outputs on the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fls_jax.agent import Agent
from fls_jax.film.clip import Clip, Frames
from fls_jax.report.boxes import boxes_record
from fls_jax.report.encoding import packed, ragged, screens, unpacked
from fls_jax.report.moments import advantages, bookmarks, highlights
from fls_jax.report.trial import Watched

FPS = 15
"""Agent steps per second of the game: 60 frames, 4 per step."""


@dataclass(frozen=True)
class Recording:
    """The names of a clip in the document. player: the id of the agent that acts, None for a person."""

    id: str
    label: str
    description: str
    game: str
    player: str | None = None
    seed: int | None = None
    greedy: bool | None = None


def clip_record(
    recording: Recording, clip: Clip, player: Agent, observers: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document's entry for an agent's clip (docs/report.md). observers: `observed` of every agent."""
    config = player.config
    advantage = advantages(clip.rewards, clip.values, clip.ends, config.gamma, config.gae_lambda)
    change = mean_change(observers, recording.player)
    return _frames_record(recording, clip) | {
        "actions": packed(clip.actions, "int32"),
        "rewards": packed(clip.rewards),
        "returns": packed(clip.returns),
        "games": packed(clip.games, "int32"),
        "ends": packed(clip.ends, "uint8"),
        "advantages": packed(advantage),
        "bookmarks": bookmarks(advantage, clip.logits, clip.ends, clip.games, change),
        "gaze": None,
        "boxes": boxes_record(recording.game, clip, clip.ram),
        "observers": observers,
    }


def trial_record(
    recording: Recording, watched: Watched, logits: np.ndarray, observers: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document's entry for a person's clip: with gaze, without actions and rewards.

    logits: float [T, A] of the first observer; bookmarks are made from its choices.
    """
    names = ("actions", "rewards", "returns", "games", "ends", "advantages")
    change = next((found for each in observers if (found := mean_change([each])) is not None), None)
    return _frames_record(recording, watched.frames) | {
        **dict.fromkeys(names),
        "bookmarks": sorted(highlights(logits, change), key=lambda mark: mark["frame"]),
        "gaze": ragged(watched.gaze),
        "boxes": boxes_record(recording.game, watched.frames),
        "observers": observers,
    }


def _frames_record(recording: Recording, frames: Frames) -> dict[str, Any]:
    pictures, palette = screens(len(frames), frames.screen)
    return vars(recording) | {"fps": FPS, "frames": pictures, "palette": palette}


def mean_change(observers: list[dict[str, Any]], agent: str | None = None) -> np.ndarray | None:
    """Change of a policy if its map is replaced by the mean; None without attention.

    agent: index of the observer, the first by default.
    """
    for observer in observers:
        for each in observer["replacements"]:
            if observer["agent"] == (agent or observer["agent"]) and each["name"] == "mean":
                return unpacked(each["change"])
    return None
