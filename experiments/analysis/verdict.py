"""The rule of experiments/data/rule.py against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.analysis.comparison import Sample, difference_estimate
from experiments.data.rule import FLAT_AREA, SCORE_MARGIN, STILL_CORRELATION, USE_MARGIN

REPLACEMENTS = ("mean", "other")
"""The maps in attention's place by which its use is judged: both are as bright as the trained one."""


class Verdict(NamedTuple):
    """Whether a part of the claim is refuted, and the numbers that decide."""

    refuted: bool
    numbers: str


def judge_score(ours: Sample, baseline: Sample, random: float) -> Verdict:
    """Refuted where the difference's whole interval lies below the margin. random: random play's return."""
    difference = difference_estimate(ours, baseline)
    margin = -SCORE_MARGIN * (baseline.mean - random)
    numbers = f"{difference.value:+,.1f} ({difference.low:+,.1f} to {difference.high:+,.1f}; {margin:+,.1f})"
    return Verdict(difference.high < margin, numbers)


def judge_sharpness(numbers: Mapping[str, float]) -> Verdict:
    """Refuted where the map is flat or does not change. numbers: `map` of a table of replaced attention."""
    area, still = numbers["effective_area"], numbers["correlation_with_mean"]
    return Verdict(area > FLAT_AREA or still > STILL_CORRELATION, f"area {area:.2f}, correlation {still:.3f}")


def judge_use(replacements: Mapping[str, Mapping[str, Any]], random: float) -> Verdict | None:
    """Refuted where one of REPLACEMENTS costs too little, or nothing for certain; None where one is missing.

    replacements: of a table of replaced attention, `trained` among them.
    """
    if any(name not in replacements for name in REPLACEMENTS):
        return None
    margin = USE_MARGIN * (replacements["trained"]["mean"] - random)
    refuted, texts = False, []
    for name in REPLACEMENTS:
        difference = replacements[name]["difference"]
        low, high = replacements[name]["difference_interval_95"]
        refuted |= -difference < margin or high is None or high >= 0
        interval = "one pair" if high is None else f"{low:+,.1f} to {high:+,.1f}"
        texts.append(f"{name} {difference:+,.1f} ({interval})")
    return Verdict(bool(refuted), f"{', '.join(texts)}; {-margin:+,.1f}")
