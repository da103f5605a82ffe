"""The tables of replaced attention and of compared saliency methods, from run folders."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from fls_jax.benchmark.results import UNTRAINED
from fls_jax.report.page import shown
from fls_jax.report.sources import Source
from fls_jax.report.tables import Cell, cell, column, row, table
from fls_jax.saliency import METHODS

_SHOWN = (
    (r"insertion_background_probability", "insertion", "high", "area under the action's probability"),
    (r"deletion_background_probability", "deletion", "low", "area under the action's probability"),
    (r"lift:.+", None, "high", "share of the mass on the object over its share of the area"),
    (r"pointing:.+", None, "high", "how often the maximum lies on the object"),
    (r"erasure:(policy|value)", None, "high", "rank correlation with what erasing the object changes"),
    (r"effective_area", "effective area", None, "1 where all pixels are alike"),
    (r"ms_per_frame", "ms/frame", "low", "time of one map"),
)


def attention_tables(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """Is the map used? Whole games with another map in its place: a table a run and checkpoint."""
    columns = [
        column("map", "map", "text"),
        column("games", "games"),
        column("mean", "mean return", meaning="With its 95% interval over games"),
        column("difference", "minus trained", meaning="Over the same games, with its 95% interval"),
        column("kl", "KL (nats)", meaning="Of the policy from the trained one, mean over frames"),
        column("value", "change of value", meaning="Mean over frames of its absolute value"),
    ]
    note = (
        "The same agent plays the same games with its map replaced. Where the interval of a difference "
        "holds 0, these games do not tell the two apart."
    )
    found = []
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for content in run.attention:
            rows = [
                row(_replaced(name, values), "agent" if name == "trained" else "control")
                for name, values in content["replacements"].items()
            ]
            title = f"Is the map used? {run.game}, {label}, step {content['env_step']:,}"
            found.append(
                table(f"replacement-{number}-{len(found)}", title, columns, rows, "overview", [note])
            )
    return found


def _replaced(name: str, values: dict[str, Any]) -> dict[str, Cell]:
    return {
        "map": cell("as trained" if name == "trained" else shown(name)),
        "games": cell(values["games"]),
        "mean": cell(values["mean"], *(values.get("interval_95") or (None, None))),
        "difference": cell(values.get("difference"), *values.get("difference_interval_95", (None, None))),
        "kl": cell(values["kl"].get("mean")),
        "value": cell(values["value_change"].get("mean")),
    }


def saliency_tables(runs: list[Source], labels: list[str]) -> list[dict[str, Any]]:
    """Comparisons of saliency methods: one table per run, comparison, agent and target; controls separate."""
    found = []
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        for name, scores in run.saliency.items():
            agents = scores["agent"].str.removesuffix(f" {UNTRAINED}")
            for agent, target in dict.fromkeys(zip(agents, scores["target"], strict=True)):
                part = scores[(agents == agent) & (scores["target"] == target)]
                what = f"frames {name}, {shown(agent)}, target {shown(target)}"
                title = f"Saliency methods: {run.game}, {label}, {what}"
                found.append(_saliency_table(f"saliency-{number}-{len(found)}", title, part))
    return found


def _saliency_table(name: str, title: str, scores: pd.DataFrame) -> dict[str, Any]:
    metrics = _metrics(list(dict.fromkeys(scores["metric"])))
    columns = [column("method", "method", "text")]
    columns += [column(m, label, better=better, meaning=meaning) for m, label, better, meaning in metrics]
    cells: dict[str, dict[str, Cell]] = {}
    for each in scores.to_dict("records"):
        method = each["method"] + f", {UNTRAINED}" * each["agent"].endswith(UNTRAINED)
        own = cells.setdefault(method, {"method": cell(shown(method))})
        own[each["metric"]] = cell(each["value"], each["low"], each["high"])
    wanted = {"method", *(metric for metric, *_ in metrics)}
    rows = [
        row({metric: found for metric, found in own.items() if metric in wanted}, _kind(method))
        for method, own in cells.items()
    ]
    note = "Intervals are over whole games, differences on the same frames. docs/saliency.md has all metrics."
    return table(name, title, columns, rows, "measurements", [note])


def _metrics(names: list[str]) -> list[tuple[str, str, str | None, str]]:
    """The metrics to show, in the order of _SHOWN."""
    return [
        (metric, shown(label or metric), better, meaning)
        for pattern, label, better, meaning in _SHOWN
        for metric in names
        if re.fullmatch(pattern, metric)
    ]


def _kind(method: str) -> str:
    if " - " in method:
        return "difference"
    known = METHODS.get(method)
    if method.endswith(UNTRAINED):
        return "control"
    return "control" if known is not None and known.family == "control" else "agent"
