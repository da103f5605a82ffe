"""Learning curves and scores as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.analysis.comparison import mean_estimate
from experiments.analysis.runs import Run
from experiments.analysis.selection import Selection
from experiments.data.style import style as style_of
from experiments.pages.presentation import MUTED, RULE
from fls_jax.networks.specs import NETWORKS
from fls_jax.statistics import REFERENCES, paper

_POINTS = 400
_COLUMNS = 3


def band(runs: Sequence[Run], column: str = "eprewmean") -> pd.DataFrame:
    """Mean and population standard deviation over runs by env_step: columns env_step, mean, std, seeds.

    It ends at the end of the shortest run, so that the line does not jump when a seed ends.
    """
    series = [run.history.set_index("env_step")[column].dropna() for run in runs if column in run.history]
    series = [each for each in series if len(each)]
    if not series:
        return pd.DataFrame(columns=["env_step", "mean", "std", "seeds"])
    together = pd.concat(series, axis=1, join="inner")
    return pd.DataFrame(
        {
            "env_step": together.index,
            "mean": together.mean(axis=1).to_numpy(),
            "std": together.std(axis=1, ddof=0).to_numpy(),
            "seeds": len(series),
        }
    )


def draw_curves(selection: Selection, networks: Sequence[str], title: str) -> Figure:
    """Training return (mean of the last 100 games), one panel per game, with bands over seeds."""
    games = selection.experiment.games
    figure, panels = panel_grid(len(games), 2.5)
    drawn: dict[str, list[int]] = {}
    for game, axes in zip(games, panels, strict=True):
        axes.set_title(game, fontsize=10, weight="bold", loc="left")
        missing: dict[str, str] = {}
        for network in networks:
            runs = selection.of(game, network)
            # A line ends with its shortest run, so unfinished runs must not shorten finished ones.
            curve = band([run for run in runs if run.finished] or runs)
            if len(curve):
                _draw_band(axes, curve, network)
                drawn.setdefault(network, []).append(int(curve["seeds"].iloc[0]))
            elif selection.experiment.seeds(game, network):
                missing[network] = "no whole game yet" if runs else "not run"
        axes.set_xlim(0, selection.experiment.total_steps / 1e6)
        if axes.lines:
            _reference(axes, game)
        _say_missing(axes, missing)
    label_outer(panels, "agent steps, millions", "return")
    handles = [handle(network, drawn[network]) for network in networks if network in drawn]
    finish(figure, title, handles)
    return figure


def _draw_band(axes: Axes, curve: pd.DataFrame, network: str) -> None:
    style = style_of(network)
    kept = np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(int))
    thin = curve.iloc[kept]
    x = thin["env_step"].to_numpy() / 1e6
    mean, std = thin["mean"].to_numpy(), thin["std"].to_numpy()
    marks = max(1, len(thin) // 6)
    shift = list(NETWORKS).index(network.partition("-cost")[0]) % 5
    if int(curve["seeds"].iloc[0]) > 1:
        axes.fill_between(x, mean - std, mean + std, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(
        x, mean, color=style.colour, linestyle=style.dashes, linewidth=1.6, marker=style.marker,
        markersize=4.5, markevery=(marks * (shift + 1) // 6, marks), markeredgecolor="white",
        markeredgewidth=0.6,
    )  # fmt: skip


def _reference(axes: Axes, game: str) -> None:
    """Draw the score of random play, if it is published."""
    if game in REFERENCES:
        axes.axhline(REFERENCES[game].random, color=RULE, linewidth=1.0, zorder=1)
        axes.annotate(
            "random play", (1, REFERENCES[game].random), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=7, color=MUTED,
        )  # fmt: skip


def draw_scores(selection: Selection) -> Figure:
    """Final scores with their intervals beside the paper's, one panel per game."""
    experiment = selection.experiment
    networks = experiment.networks
    figure, panels = panel_grid(len(experiment.games), 0.75 + 0.26 * len(networks), share_y=True)
    for game, axes in zip(experiment.games, panels, strict=True):
        axes.set_title(game, fontsize=10, weight="bold", loc="left")
        axes.grid(axis="y", visible=False)
        for place, network in enumerate(networks):
            style = style_of(network)
            published = paper.score(game, network)
            if published:
                axes.errorbar(
                    published.mean, place + 0.22, xerr=published.std, color=MUTED, mfc="white", fmt="d",
                    markersize=4, elinewidth=0.8,
                )  # fmt: skip
            sample = selection.sample(game, network)
            if sample is None and not experiment.seeds(game, network):
                continue
            if sample is None:
                reason = selection.why_empty(game, network)
                axes.annotate(
                    reason, (0.02, place - 0.12), xycoords=("axes fraction", "data"), fontsize=7.5,
                    color=MUTED, style="italic", va="center",
                )  # fmt: skip
                continue
            estimate = mean_estimate(sample)
            ends = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            axes.errorbar(
                estimate.value, place - 0.1, xerr=ends, color=style.colour, fmt=style.marker, markersize=6,
                elinewidth=2.2, capsize=3,
            )  # fmt: skip
            for seed in sample.returns:
                axes.plot(seed.mean(), place - 0.1, "|", color=style.colour, markersize=9, alpha=0.7)
        axes.set_ylim(len(networks) - 0.4, -0.6)
        axes.set_yticks(range(len(networks)), [style_of(network).label for network in networks])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.08)
    label_outer(panels, "return", None)
    handles = [
        Line2D([], [], color="black", marker="o", linewidth=2.2, label="ours: mean, 95% interval, | seeds"),
    ]
    if any(paper.score(game, network) for game in experiment.games for network in networks):
        label = f"the paper's ({paper.STEPS / 1e6:g}M steps): mean ± std over games"
        handles.append(Line2D([], [], color=MUTED, marker="d", mfc="white", linewidth=0.8, label=label))
    finish(
        figure, f"{experiment.title}: final scores, {experiment.total_steps / 1e6:g}M agent steps", handles
    )
    return figure


def panel_grid(count: int, panel_height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three per row."""
    columns = min(count, _COLUMNS)
    lines = -(-count // columns)
    figure = Figure(
        figsize=(3.3 * columns + 0.4 + share_y * 1.4, panel_height * lines + 1.1),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06),
    )
    axes = figure.subplots(lines, columns, squeeze=False, sharey=share_y).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def label_outer(panels: Sequence[Axes], x: str, y: str | None) -> None:
    """Label the axes of the lowest and the leftmost panels."""
    columns = min(len(panels), _COLUMNS)
    for place, axes in enumerate(panels):
        if place + columns >= len(panels):
            axes.set_xlabel(x)
        if y and place % columns == 0:
            axes.set_ylabel(y)


def handle(network: str, seeds: Sequence[int]) -> Line2D:
    """A network's entry in a legend. seeds: their number in each panel."""
    style = style_of(network)
    counts = str(min(seeds)) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    return Line2D(
        [], [], color=style.colour, linestyle=style.dashes, linewidth=1.8, marker=style.marker, markersize=5,
        markeredgecolor="white", label=f"{style.label}: {counts} seed{'s' * (max(seeds) > 1)}",
    )  # fmt: skip


def _say_missing(axes: Axes, missing: Mapping[str, str]) -> None:
    """Write the missing networks and the reasons above a panel, or into an empty one."""
    reasons = " or ".join(sorted(set(missing.values())))
    look: dict[str, Any] = {"color": MUTED, "style": "italic"}
    if not axes.lines:
        axes.text(
            0.5, 0.5, reasons or "not planned", transform=axes.transAxes, ha="center", va="center", **look
        )
        axes.set_yticks([])
    elif missing:
        what = style_of(*missing).label if len(missing) == 1 else f"{len(missing)} networks"
        axes.set_title(f"{what}: {reasons}", loc="right", fontsize=7.5, **look)


def finish(figure: Figure, title: str, handles: Sequence[Any]) -> None:
    """Put the title above and the legend below."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    if handles:
        columns = min(len(handles), 3)
        figure.legend(
            handles=handles, loc="outside lower left", ncols=columns, frameon=False, handlelength=3.4
        )
