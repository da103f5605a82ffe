"""Maps of the document: attention unchanged, those of other methods at a third of their resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fls_jax.agent import Agent
from fls_jax.film.clip import Frames
from fls_jax.networks.geometry import attention_geometry, without_unread
from fls_jax.report.encoding import packed, pictures, quantised
from fls_jax.report.moments import effective_area
from fls_jax.saliency import METHODS
from fls_jax.saliency.projection import project
from fls_jax.saliency.question import Target

BATCH = 64
COARSE = 3
"""Maps of 84x84 are stored as means of squares with this many pixels per side (sizes: docs/report.md)."""

Advance = Callable[[int], None]


def attention_record(agent: Agent, attention: np.ndarray) -> dict[str, Any]:
    """Attention float [T, h, w] as a map of the document, with its receptive fields for drawing."""
    fields = attention_geometry(agent.spec)
    return map_record(
        "attention",
        "attention (free)",
        np.asarray(without_unread(jnp.asarray(attention), agent.spec)),
        lambda gate: np.asarray(project(gate, agent.spec)),
        {"size": fields.receptive_field, "stride": fields.stride, "padding": fields.padding},
    )


def targets_of(method: str, targets: Sequence[Target]) -> list[Target]:
    """The targets that a method explains; only one if all have the same map."""
    known = METHODS[method]
    if known.family in ("attention", "control"):
        return ["action"]
    return [each for each in targets if not (known.only_actions and each in ("policy", "value"))]


def method_records(
    agent: Agent,
    frames: Frames,
    method: str,
    targets: Sequence[Target],
    advance: Advance = lambda steps: None,
) -> list[dict[str, Any]]:
    """A method's maps for every target that it explains, as entries of the document.

    advance: called with the number of frames done since the last call.
    """
    chosen = targets_of(method, targets)
    if not chosen:
        return []
    alike = METHODS[method].family in ("attention", "control")
    size = len(frames) if method == "attention_relative" else BATCH  # its mean is over all frames
    parts: dict[Target, list[np.ndarray]] = {target: [] for target in chosen}
    for batch in observations(frames, size):
        for target, maps in agent.saliency_of_targets(batch, method, chosen).items():
            parts[target].append(coarse(maps))
        advance(len(batch))
    fields = {"size": COARSE, "stride": COARSE, "padding": 0}
    label = method.replace("_", " ")
    return [
        map_record(method, label, np.concatenate(maps), fine, fields, None if alike else str(target))
        for target, maps in parts.items()
    ]


def coarse(maps: np.ndarray) -> np.ndarray:
    """Means of squares of COARSE pixels a side: float [T, H, W] -> [T, H / COARSE, W / COARSE]."""
    steps, height, width = maps.shape
    return maps.reshape(steps, height // COARSE, COARSE, width // COARSE, COARSE).mean(axis=(2, 4))


def fine(maps: np.ndarray) -> np.ndarray:
    """Every value on all pixels of its square."""
    return maps.repeat(COARSE, axis=1).repeat(COARSE, axis=2)


def observations(frames: Frames, size: int = BATCH) -> Iterator[np.ndarray]:
    """The agents' inputs in blocks uint8 [size, 84, 84, 4]; the last block may be smaller."""
    steps = len(frames)
    for start in range(0, steps, size):
        batch = np.stack([frames.observation(t) for t in range(start, min(start + size, steps))])
        yield np.moveaxis(batch, 1, -1)


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
    for start in range(0, len(values), BATCH):
        part = values[start : start + BATCH]
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
