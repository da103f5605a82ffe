"""A table of whether an agent's attention is used: scores with the attention replaced."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.pages.presentation import Empty, Table

_COLUMNS = (
    "attention", "games", "return", "less trained", "95% interval", "human-normalised", "KL (nats)",
    "change of value",
)  # fmt: skip
_MAP = {
    "effective_area": "effective area",
    "gini": "Gini",
    "correlation_with_mean": "correlation with its own mean over time",
    "correlation_with_uniform": "correlation with a uniform map's",
}


def attention_table(content: dict[str, Any]) -> Table:
    """The table of one `attention/` file of a run (docs/evaluation.md)."""
    rows, data = [], []
    for name, row in content["replacements"].items():
        low, high = row.get("difference_interval_95") or (None, None)
        normalised, kl, change = row["human_normalised"], row["kl"]["mean"], row["value_change"]["mean"]
        rows.append(
            [
                name,
                f"{row['games']:,}",
                f"{row['mean']:,.1f}",
                f"{row['difference']:+,.1f}" if "difference" in row else "",
                "" if low is None else f"{low:+,.1f} to {high:+,.1f}",
                Empty("none") if normalised is None else f"{normalised:.2f}",
                f"{kl:.3f}",
                f"{change:.3f}",
            ]
        )
        data.append(
            {
                "attention": name, "games": row["games"], "mean": row["mean"],
                "difference": row.get("difference"), "low": low, "high": high,
                "human_normalised": normalised, "kl": kl, "value_change": change,
            }
        )  # fmt: skip
    title = (
        f"Is attention used? {content['game']}, {content['network']}, seed {content['training_seed']}, "
        f"step {content['env_step']:,}"
    )
    notes = [
        "The same games with other maps multiplying the features; differences are paired by seeds. "
        f"KL of the policies and change of the value on the same {content['frames']:,} frames. One agent.",
        "The map as trained: " + "; ".join(_said(content["map"])) + ".",
    ]
    return Table("attention", title, _COLUMNS, rows, pd.DataFrame(data), notes)


def _said(numbers: dict[str, float | None]) -> list[str]:
    """Each statistic in words. None: of a map that is the same everywhere there is no correlation."""
    values = {name: numbers.get(name) for name in _MAP}
    return [
        f"{_MAP[name]} {'undefined (one of them is flat)' if value is None else f'{value:.3f}'}"
        for name, value in values.items()
    ]
