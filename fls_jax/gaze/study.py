"""The study: many runs' gaze results as one table, network x game, mean and std over seeds.

It has the layout of the paper's table, with the paper's figures beside ours and, below every network, the
score of a uniform map with its geometry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fls_jax.errors import UserError
from fls_jax.gaze.controls import CONTROLS, MODEL, UNTRAINED
from fls_jax.gaze.scoring import HEADINGS, METRICS
from fls_jax.statistics import gaze_networks, paper

OF_A_NETWORK = ("uniform", UNTRAINED)
"""Controls that depend on the network; all others are the same for all networks of a game."""
SHARED = tuple(name for name in CONTROLS if name not in OF_A_NETWORK)
ANY_NETWORK = "any network"
MAIN_METRICS = ("sauc", "nss", "kl", "kl_smoothed")

_RUN_COLUMNS = ("protocol", "space", "game", "network", "training_seed", "env_step")
_CELL = ["protocol", "space", "game", "network", "map", "metric"]


def run_table(summaries: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per run, map and metric, from the contents of summary.json files.

    Columns: protocol, space, game, network, training_seed, env_step, map, metric, mean, coverage,
    interval_low, interval_high (over blocks of frames), trials, observations, complete, run, note (why there
    is no map).
    """
    rows = []
    for summary in summaries:
        of_run = {name: summary[name] for name in _RUN_COLUMNS}
        for name, scores in summary["scores"].items():
            for metric, score in scores.items():
                low, high = score["interval_frames"] or (None, None)
                rows.append(
                    {
                        **of_run,
                        "map": name,
                        "metric": metric,
                        "mean": score["mean"],
                        "coverage": score["coverage"],
                        "interval_low": low,
                        "interval_high": high,
                        "trials": len(summary["trials"]["scored"]),
                        "observations": summary["observations"],
                        "complete": summary["complete"],
                        "run": summary["run"],
                        "note": summary["notes"].get(name, ""),
                    }
                )
    numbers = {"mean": float, "coverage": float, "interval_low": float, "interval_high": float}
    return pd.DataFrame(rows).astype(numbers)


def study_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per protocol, space, game, network, map and metric.

    Other columns: seeds (training seeds where the value is defined), mean (over the runs), std (sample
    standard deviation over the runs; NaN for one, and for maps that do not depend on the seed), coverage
    (mean over all runs), note (why no run has this map), paper (the published figure). Controls that are the
    same for every network are pooled over the networks, as `any network`.
    """
    pooled = runs.assign(network=runs["network"].where(~runs["map"].isin(SHARED), ANY_NETWORK))
    pooled = pooled.assign(seed=pooled["training_seed"].where(pooled["mean"].notna()))
    groups = pooled.groupby(_CELL, sort=False)
    table = groups.agg(
        seeds=("seed", "nunique"),
        mean=("mean", "mean"),
        std=("mean", "std"),
        coverage=("coverage", "mean"),
        note=("note", "min"),  # the empty note, if a run has the map
    ).reset_index()
    table["std"] = table["std"].where(table["map"].map(by_seed))
    table["paper"] = [
        paper.saliency_score(row["metric"], row["network"], row["game"]) if row["map"] == MODEL else None
        for row in table.to_dict("records")
    ]
    table["paper"] = table["paper"].astype(float)
    return table


def by_seed(name: str) -> bool:
    """Whether a map depends on the training's seed: the model's, its methods' and `untrained` do."""
    return name == UNTRAINED or name not in CONTROLS


def percent(share: float) -> str:
    """The text of a share in tables: 0% and 100% are only used for exact values.

    >>> percent(0.0), percent(0.004), percent(0.75), percent(0.996), percent(1.0)
    ('0%', '<1%', '75%', '>99%', '100%')
    """
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def by_setting(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A study's tables by protocol and space, each with a title."""
    pairs = table[["protocol", "space"]].drop_duplicates().itertuples(index=False, name=None)
    return [
        (f"protocol {protocol}, {space}", table[(table["protocol"] == protocol) & (table["space"] == space)])
        for protocol, space in pairs
    ]


class Layout:
    """One metric of a study in the layout of the paper's table: rows of text.

    header: `network`, `map`, then each game, followed by `paper` if the paper has the metric.
    """

    def __init__(self, table: pd.DataFrame, metric: str, *, only_ours: bool = False) -> None:
        self._cells = {
            (row["network"], row["map"], row["game"]): row
            for row in table[table["metric"] == metric].to_dict("records")
        }
        self._metric = metric
        self._methods = [name for name in dict.fromkeys(table["map"]) if name not in (MODEL, *CONTROLS)]
        ours = list(dict.fromkeys(table["game"]))
        self.games = [*(() if only_ours else paper.SALIENCY_GAMES), *ours]
        self.games = list(dict.fromkeys(self.games))
        mine = [network for network in dict.fromkeys(table["network"]) if network != ANY_NETWORK]
        self.networks = list(dict.fromkeys([*(() if only_ours else paper.SALIENCY_NETWORKS), *mine]))
        self._with_paper = metric in paper.SALIENCY_METRICS
        self.header = ["network", "map"]
        for game in self.games:
            self.header += [game, "paper"] if self._with_paper else [game]

    def rows(self) -> list[list[str]]:
        """The model, its methods and own controls, for every network; then the controls they share."""
        rows = []
        for network in self.networks:
            rows.append(self._row(network, MODEL))
            own = [
                name
                for name in (*self._methods, *OF_A_NETWORK)
                if any((network, name, game) in self._cells for game in self.games)
            ]
            rows += [self._row(network, name) for name in own]
        return [*rows, *(self._row(ANY_NETWORK, name) for name in CONTROLS if name not in OF_A_NETWORK)]

    def published(self) -> list[list[str]]:
        """The row of networks that were trained on gaze; none where no figure of this metric is known."""
        figures = [gaze_networks.gaze_network_score(self._metric, game) for game in self.games]
        if all(figure is None for figure in figures):
            return []
        row = ["published", "gaze network"]
        for figure in figures:
            row += ["" if figure is None else f"{figure:.3f}"] + [""] * self._with_paper
        return [row]

    def _row(self, network: str, name: str) -> list[str]:
        row = [network if name == MODEL or network == ANY_NETWORK else "", name]
        for game in self.games:
            row.append(self._cell(network, name, game))
            if self._with_paper:
                figure = paper.saliency_score(self._metric, network, game) if name == MODEL else None
                row.append("" if figure is None else f"{figure:.3f}")
        return row

    def _cell(self, network: str, name: str, game: str) -> str:
        cell = self._cells.get((network, name, game))
        if cell is None:
            return ""
        if not cell["seeds"]:
            return f"{cell['note'] or 'undefined'} ({percent(cell['coverage'])})"
        if not by_seed(name):
            return f"{cell['mean']:z.3f} ({percent(cell['coverage'])})"
        spread = f" ± {cell['std']:.3f}" if cell["seeds"] > 1 else ""
        return f"{cell['mean']:z.3f}{spread} ({cell['seeds']}; {percent(cell['coverage'])})"


def markdown(table: pd.DataFrame) -> str:
    """A study as text: every metric under every protocol and space."""
    lines = [
        "# Saliency against human gaze",
        "",
        "Each cell: mean over seeds ± sample standard deviation (number of seeds; share of frames that "
        "count); controls that do not depend on the seed have neither. Empty cells have not been run.",
        paper.SALIENCY_CAVEAT,
        gaze_networks.SOURCE,
    ]
    for setting, part in by_setting(table):
        for metric in sorted(METRICS, key=lambda name: [*MAIN_METRICS, *METRICS].index(name)):
            layout = Layout(part, metric)
            lines += ["", f"## {HEADINGS[metric]}, {setting}", ""]
            rows = [layout.header, ["---"] * len(layout.header), *layout.rows(), *layout.published()]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_study(summaries: Sequence[dict[str, Any]], out: Path) -> pd.DataFrame:
    """Write runs.csv, study.csv and study.md into `out`; returns the study's table.

    Raises UserError if `out` cannot be written.
    """
    runs = run_table(summaries)
    table = study_table(runs)
    make_folder(out)
    try:
        for name, content in (("runs.csv", runs), ("study.csv", table)):
            content.to_csv(out / name, index=False, float_format="%.6g", na_rep="NaN")
        (out / "study.md").write_text(markdown(table))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    return table


def make_folder(out: Path) -> None:
    """Create the folder of a study. Raises UserError if that is impossible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
