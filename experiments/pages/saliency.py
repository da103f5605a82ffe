"""A table of saliency methods compared on an agent's frames (docs/saliency.md)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.pages.presentation import Empty, Table
from fls_jax.benchmark.results import UNTRAINED

_KINDS = 4
_AREAS = {
    "insertion_blurred_probability": "insertion",
    "insertion_black_probability": "black",
    "insertion_background_probability": "background",
    "insertion_blurred_kl": "KL",
    "deletion_blurred_probability": "deletion",
}
_REST = {
    "erasure:policy": "erasure",
    "effective_area": "area",
    "spearman:heads": "heads",
    "spearman:conv1": "all layers",
}
_AGAINST = {"random": "r", UNTRAINED: "u"}
_ALSO_UNTRAINED = ("attention", "attention_relative")
"""Methods with a row for the untrained network: what geometry and motion do without learning."""


def saliency_table(summary: dict[str, Any], scores: pd.DataFrame) -> Table:
    """The table of one comparison: its summary.json and scores.csv, for its first target."""
    target = summary["targets"][0]
    rows = scores[scores.target == target]
    # The scores name the variant: `network` of the summary does not say whether attention had a cost.
    recorded = f"{summary['game']}/{summary['network']}/{summary['env_step']}"
    agent = next((name for name in rows.agent if not name.endswith(UNTRAINED)), recorded)
    own, fresh = (
        rows[rows.agent == name].set_index(["method", "metric"]) for name in (agent, f"{agent} {UNTRAINED}")
    )
    kinds = summary["objects"]["kinds"][:_KINDS]
    columns = _AREAS | {f"lift:{kind}": kind for kind in kinds} | _REST
    methods = [name for name in dict.fromkeys(own.index.get_level_values(0)) if " - " not in name]
    texts = []
    for name in methods:
        texts.append([name, *(_cell(own, name, metric) for metric in columns)])
        if name in _ALSO_UNTRAINED and name in fresh.index.get_level_values(0):
            texts.append([f"{name}, {UNTRAINED}", *(_cell(fresh, name, metric) for metric in columns)])
    data = own.loc[methods].loc[lambda table: table.index.get_level_values(1).isin(list(columns))]
    title = (
        f"Saliency methods: {summary['game']}, {agent.split('/')[1]}, seed {summary['training_seed']}, "
        f"step {summary['env_step']:,}"
    )
    notes = [
        f"Target {target}, {summary['count']:,} frames of {summary['frames']['episodes']} games, "
        f"{summary['frames']['insertion_deletion']} of them for insertion, deletion and erasure. "
        "Insertion, higher is better, and deletion, lower: area under the action's probability as pixels are "
        "shown and hidden, blurred where they are not; black, background: insertion where they are black, or "
        "the background, instead; KL: blurred, area under the KL of the whole policy, lower is better. "
        f"{', '.join(kinds)}: share of the map's mass on these "
        "objects over their share of the screen; 1 is chance. Erasure: rank correlation of an object's mass "
        "with the change of the policy when it is painted over. Area: effective area of the map. Heads, all "
        "layers: rank correlation with the map once the heads, or all layers, are random.",
        "r+: larger than random on the same frames, r-: smaller; the 95% interval of the difference, whole "
        "games redrawn, lies off 0. u+, u-: the same of the difference to the untrained network.",
    ]
    return Table("saliency", title, ("method", *columns.values()), texts, data.reset_index(), notes)


def _cell(own: pd.DataFrame, method: str, metric: str) -> str:
    """A mean, with letter and sign for the references that it differs from."""
    value = _row(own, method, metric)
    if value is None:
        return Empty("none")
    marks = []
    for name, letter in _AGAINST.items():
        difference = _row(own, f"{method} - {name}", metric)
        if difference is not None and (difference.low > 0 or difference.high < 0):
            marks.append(letter + ("+" if difference.low > 0 else "-"))
    return f"{value.value:.3g} {''.join(marks)}".strip()


def _row(own: pd.DataFrame, method: str, metric: str) -> pd.Series | None:
    if (method, metric) not in own.index:
        return None
    row = own.loc[(method, metric)]
    return None if pd.isna(row.value) else row


def planted_table(scores: pd.DataFrame) -> Table:
    """The table of the planted cue: how much of each method's map lies in the corner, trained and not."""
    values = scores.set_index(["agent", "method", "metric"])
    rows, share = [], f"{scores[scores.metric == 'area'].value.iloc[0]:.1%}"
    for method in dict.fromkeys(scores.method):
        row = [method]
        for agent in ("trained", "untrained"):
            for metric in ("mass", "pointing"):
                key = (agent, method, metric)
                row.append(_percent(values.loc[key]) if key in values.index else Empty("the same"))
        rows.append(row)
    title = f"Mass in the corner with the cue ({share} of the screen), and how often the maximum lies there"
    columns = ("method", "mass", "pointing", "untrained: mass", "pointing")
    return Table("planted", title, columns, rows, scores)


def _percent(row: pd.Series) -> str:
    """A share with its interval; none where the map is zero everywhere."""
    if pd.isna(row.value):
        return Empty("none")
    if pd.isna(row.low):
        return f"{row.value:.0%}"
    return f"{row.value:.0%} ({row.low:.0%} to {row.high:.0%})"
