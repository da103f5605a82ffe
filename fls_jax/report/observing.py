"""Outputs of agents on the frames of a clip: policy, value, maps, and outputs with replaced maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fls_jax.agent import Agent, AgentOutput
from fls_jax.film.clip import Frames
from fls_jax.film.playing import entropy
from fls_jax.report.encoding import packed
from fls_jax.report.maps import Advance, attention_record, method_records, observations
from fls_jax.report.moments import policy_change
from fls_jax.saliency.question import Target

REPLACEMENTS = {
    "mean": "its mean over the clip, at every moment",
    "uniform": "the same value everywhere",
    "shuffled": "its own values, positions shuffled",
    "other": "the map of another moment of the clip",
}
"""Replacements of the map in "what if": names in fls_jax.networks.replacement, with labels."""


def look(agent: Agent, frames: Frames, advance: Advance = lambda steps: None) -> AgentOutput:
    """An agent's output for every frame. advance: called with the frames done since the last call."""
    parts = []
    for batch in observations(frames):
        parts.append(agent(batch))
        advance(len(batch))
    return AgentOutput(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def observed(
    name: str,
    agent: Agent,
    frames: Frames,
    said: AgentOutput,
    methods: Sequence[str] = ("attention",),
    targets: Sequence[Target] = ("action",),
    advance: Advance = lambda steps: None,
) -> dict[str, Any]:
    """An agent's part of a clip's document.

    name: its id there. said: the result of `look`. methods: names in fls_jax.saliency.METHODS; those of
    attention only if there is any. targets: outputs to explain. advance: called with frames done.
    """
    probabilities = softmax(said.logits)
    attentive = agent.spec.attention is not None
    maps = []
    for method in methods:
        if method == "attention" and attentive:
            maps.append(attention_record(agent, said.attention))
        elif attentive or not method.startswith("attention"):
            maps += method_records(agent, frames, method, targets, advance)
    return {
        "agent": name,
        "probabilities": packed(probabilities),
        "values": packed(said.value),
        "entropies": packed([entropy(row.astype(np.float64)) for row in said.logits]),
        "maps": maps,
        "replacements": _replaced(agent, frames, probabilities) if attentive else [],
    }


def _replaced(agent: Agent, frames: Frames, trained: np.ndarray) -> list[dict[str, Any]]:
    """Policy and value of every frame with each replacement of the map. trained: the unchanged policy."""
    reference = np.concatenate(list(observations(frames)))
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


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 [T, A] of logits [T, A]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
