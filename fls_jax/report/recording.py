"""A clip for the report: one agent plays, and every agent of the game runs on the same frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fls_jax.agent import Agent
from fls_jax.film.job import Clip, entropy
from fls_jax.networks.geometry import attention_geometry
from fls_jax.report.encoding import packed, pictures, quantised, screens, unpacked
from fls_jax.report.moments import advantages, bookmarks, effective_area, policy_change
from fls_jax.saliency.projection import project

_BATCH = 64
FPS = 15
"""Agent steps per second of the game: 60 frames, 4 per step."""

Report = Callable[[int], None]


@dataclass(frozen=True)
class Recording:
    """A clip, its player, and its name in the document."""

    id: str
    label: str
    description: str
    game: str
    player: str
    seed: int
    greedy: bool
    clip: Clip


def clip_record(recording: Recording, player: Agent, observers: list[dict[str, Any]]) -> dict[str, Any]:
    """The clip's entry in the document (docs/report.md). observers: `observed` of every agent."""
    clip = recording.clip
    frames, palette = screens(len(clip.screens), clip.screen)
    config = player.config
    advantage = advantages(clip.rewards, clip.values, clip.ends, config.gamma, config.gae_lambda)
    return {
        **{name: getattr(recording, name) for name in ("id", "label", "description", "game", "player")},
        **{name: getattr(recording, name) for name in ("seed", "greedy")},
        "fps": FPS,
        "frames": frames,
        "palette": palette,
        "actions": packed(clip.actions, "int32"),
        "rewards": packed(clip.rewards),
        "returns": packed(clip.returns),
        "games": packed(clip.games, "int32"),
        "ends": packed(clip.ends, "uint8"),
        "advantages": packed(advantage),
        "bookmarks": bookmarks(
            advantage, clip.logits, clip.ends, clip.games, _mean_change(recording, observers)
        ),
        "gaze": None,
        "boxes": None,
        "observers": observers,
    }


REPLACEMENTS = {
    "mean": "its mean over the clip, at every moment",
    "uniform": "the same value everywhere",
    "shuffled": "its own values, positions shuffled",
    "other": "the map of another moment of the clip",
}
"""Replacements of the map in "what if", by their names in fls_jax.networks.replacement, with labels."""


def _mean_change(recording: Recording, observers: list[dict[str, Any]]) -> np.ndarray | None:
    """Change of the player's policy if its map is replaced by the mean; None without attention."""
    for observer in observers:
        for each in observer["replacements"]:
            if observer["agent"] == recording.player and each["name"] == "mean":
                return unpacked(each["change"])
    return None


def observed(
    name: str,
    agent: Agent,
    clip: Clip,
    methods: Sequence[str] = ("attention",),
    report: Report = lambda done: None,
) -> dict[str, Any]:
    """An agent's output on a clip's frames: policy, value, entropy, maps, and outputs with replaced maps.

    name: its id in the document. methods: names in fls_jax.saliency.METHODS; attention only if there is any.
    """
    logits, values, attention = _look(agent, clip, report)
    probabilities = softmax(logits)
    attentive = agent.spec.attention is not None
    maps = [attention_record(agent, attention)] if attentive and "attention" in methods else []
    maps += [_method_record(agent, clip, method) for method in methods if method != "attention"]
    return {
        "agent": name,
        "probabilities": packed(probabilities),
        "values": packed(values),
        "entropies": packed([entropy(row.astype(np.float64)) for row in logits]),
        "maps": maps,
        "replacements": _replaced(agent, clip, probabilities) if attentive else [],
    }


def _replaced(agent: Agent, clip: Clip, trained: np.ndarray) -> list[dict[str, Any]]:
    """Policy and value of every frame with each replacement of the map. trained: the unchanged policy."""
    reference = np.concatenate(list(observations(clip)))
    records = []
    for name, label in REPLACEMENTS.items():
        output = agent.with_attention(name, reference)(reference)
        probabilities = softmax(output.logits)
        records.append(
            {
                "name": name,
                "label": label,
                "probabilities": packed(probabilities),
                "values": packed(output.value),
                "change": packed(policy_change(trained, probabilities)),
            }
        )
    return records


def _method_record(agent: Agent, clip: Clip, method: str) -> dict[str, Any]:
    """A method's maps of the most probable action, on the input."""
    maps = np.concatenate([agent.saliency(batch, method) for batch in observations(clip)])
    return map_record(method, method.replace("_", " "), maps)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [T, A] of logits [T, A]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def observations(clip: Clip) -> Iterator[np.ndarray]:
    """The player's inputs in blocks uint8 [64, 84, 84, 4]; the last block may be smaller."""
    steps = len(clip.inputs)
    for start in range(0, steps, _BATCH):
        batch = np.stack([clip.observation(t) for t in range(start, min(start + _BATCH, steps))])
        yield np.moveaxis(batch, 1, -1)


def _look(agent: Agent, clip: Clip, report: Report) -> tuple[np.ndarray, ...]:
    parts: list[Sequence[np.ndarray]] = []
    done = 0
    for batch in observations(clip):
        parts.append(agent(batch))
        done += len(batch)
        report(done)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def attention_record(agent: Agent, attention: np.ndarray) -> dict[str, Any]:
    """Attention float [T, h, w] as a map of the document, with its receptive fields for drawing."""
    fields = attention_geometry(agent.spec)
    return map_record(
        "attention",
        "attention (free)",
        attention,
        lambda gate: np.asarray(project(gate, agent.spec)),
        {"size": fields.receptive_field, "stride": fields.stride, "padding": fields.padding},
    )


def map_record(
    method: str,
    label: str,
    values: np.ndarray,
    on_input: Callable[[np.ndarray], np.ndarray] = lambda maps: maps,
    fields: Mapping[str, int] | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """A method's maps as an entry of the document.

    values: float [T, h, w]. on_input: a linear function that draws them onto the input, float [T, 84, 84].
    fields: receptive fields with which the page draws them, if the values are not on the input.
    """
    stored, low, high = quantised(values)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    areas, maximum, relative = [], 0.0, 0.0
    for start in range(0, len(values), _BATCH):
        part = values[start : start + _BATCH]
        maps = on_input(part)
        areas.append(effective_area(maps))
        maximum = max(maximum, float(np.abs(maps).max()))
        relative = max(relative, float(np.abs(on_input(part - mean)).max()))
    return {
        "id": method if target is None else f"{method}-{target}",
        "method": method,
        "target": target,
        "label": label,
        "signed": bool(values.min() < 0),
        "fields": fields,
        "values": pictures(stored),
        "low": low,
        "high": high,
        "maximum": maximum,
        "relative_maximum": relative,
        "area": packed(np.concatenate(areas)),
    }
