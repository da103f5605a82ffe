"""All games together: aggregates of normalised scores, profiles, sample efficiency, lengths of games."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.analysis.aggregate import Aggregate
from experiments.analysis.selection import Selection
from experiments.data.grid import BASELINE
from experiments.data.style import style
from experiments.pages.plots import finish, handle, label_outer, panel_grid
from experiments.pages.presentation import Empty, Table
from experiments.pages.tables import environments
from fls_jax.statistics import (
    bootstrap_band,
    bootstrap_intervals,
    iqm,
    iqm_curve,
    mean,
    median_of_means,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

FEWEST = 3
"""Least number of scores of a network (seeds times games) for a figure of their distribution."""
_STATISTICS = {"iqm": iqm, "median": median_of_means, "mean": mean, "optimality_gap": optimality_gap}
_NAMES = ("IQM", "median\nof games", "mean", "optimality\ngap", f"better than {BASELINE},\nprobability")
_THRESHOLDS = 101
_MOST_DOTS = 200


def aggregate_table(selection: Selection, final: Aggregate) -> Table:
    """Every network over the games in which all were evaluated, with stratified bootstrap intervals."""
    rows, data = [], []
    for network in selection.experiment.networks:
        scores = final.of(network)
        if scores is None:
            reason = final.why_empty or "not evaluated"
            if network in final.left_out:
                reason = "no game in common with the others"
            rows.append([network, Empty(), Empty(reason), *[Empty()] * 5])
            data.append({"network": network})
            continue
        record = {"network": network, "games": len(final.games), "seeds": len(scores)} | _aggregates(scores)
        record |= _improvement(scores, final.of(BASELINE)) if network != BASELINE else {}
        rows.append([network, str(len(final.games)), str(len(scores)), *_cells(record)])
        data.append(record)
    notes = [
        "Human-normalised mean returns of final evaluations: 0 is random play, 1 the human. "
        + (f"Over {', '.join(final.games)}. " if final.games else "")
        + "In brackets 95% intervals, seeds resampled within each game; with one seed there are none. The "
        "optimality gap is how far scores fall short of 1: less is better. After Agarwal et al. 2021.",
    ]
    title = f"{selection.experiment.title}: over all games"
    return Table("aggregates", title, ("network", "games", "seeds", *_NAMES), rows, pd.DataFrame(data), notes)


def _aggregates(scores: np.ndarray) -> dict[str, float]:
    values = {name: float(statistic(scores)) for name, statistic in _STATISTICS.items()}
    if len(scores) > 1:
        for name, (low, high) in bootstrap_intervals(scores, _STATISTICS).items():
            values |= {f"{name}_low": low, f"{name}_high": high}
    return values


def _improvement(ours: np.ndarray, theirs: np.ndarray | None) -> dict[str, float]:
    """The probability that a run beats one of the baseline; for single runs it would be 0 or 1."""
    if theirs is None or min(len(ours), len(theirs)) == 1:
        return {}
    band = bootstrap_band([ours, theirs], probability_of_improvement)
    names = ("improvement", "improvement_low", "improvement_high")
    return dict(zip(names, map(float, band), strict=True))


def _cells(record: dict[str, Any]) -> list[str]:
    cells = []
    for name in (*_STATISTICS, "improvement"):
        if name not in record:
            alone = name == "improvement" and record["network"] != BASELINE
            cells.append(Empty("one seed" if alone and record["seeds"] == 1 else ""))
            continue
        text = f"{record[name]:.2f}"
        if f"{name}_low" in record:
            text += f" [{record[f'{name}_low']:.2f}, {record[f'{name}_high']:.2f}]"
        cells.append(text)
    return cells


def draw_profiles(selection: Selection, final: Aggregate) -> Figure | None:
    """Share of runs above every score, with bands; None if no network has enough runs."""
    enough = _enough(selection, final)
    if not enough:
        return None
    highest = max(1.0, *(float(scores.max()) for scores in enough.values()))
    lowest = min(0.0, *(float(scores.min()) for scores in enough.values()))
    thresholds = np.linspace(lowest, highest, _THRESHOLDS)
    figure, axes = _one_panel()
    for network, scores in enough.items():
        band = bootstrap_band([scores], lambda x: performance_profile(x, thresholds))
        _draw(axes, thresholds, band, network)
    axes.set_xlabel("human-normalised score")
    axes.set_ylabel("share of runs above it")
    axes.set_ylim(-0.02, 1.02)
    title = f"{selection.experiment.title}: performance profiles, {_over(final)}"
    finish(figure, title, [handle(network, [len(scores)]) for network, scores in enough.items()])
    return figure


def draw_efficiency(selection: Selection, curves: Aggregate) -> Figure | None:
    """IQM of the training return over all games, with bands; None without enough runs."""
    enough = _enough(selection, curves)
    if not enough or curves.steps is None:
        return None
    figure, axes = _one_panel()
    for network, scores in enough.items():
        _draw(axes, curves.steps / 1e6, bootstrap_band([scores], iqm_curve), network)
    axes.set_xlabel("agent steps, millions")
    axes.set_ylabel("IQM of human-normalised return")
    title = f"{selection.experiment.title}: sample efficiency, {_over(curves)}"
    finish(figure, title, [handle(network, [len(scores)]) for network, scores in enough.items()])
    return figure


def draw_lengths(selection: Selection) -> Figure | None:
    """Length against return of evaluated games, one panel per environment; None without evaluations.

    It reveals networks that score by playing long or by looping.
    """
    panels = {}
    for game, environment in environments(selection):
        dots = {}
        for network in selection.experiment.networks:
            if len(games := _games(selection, game, network, environment)):
                dots[network] = games
        panels[environment] = dots
    if not any(panels.values()):
        return None
    figure, axes = panel_grid(len(panels), 2.5)
    drawn: dict[str, list[int]] = {}
    for (environment, dots), place in zip(panels.items(), axes, strict=True):
        place.set_title(environment, fontsize=10, weight="bold", loc="left")
        for network, games in dots.items():
            look = style(network)
            shown = games[:: max(1, len(games) // _MOST_DOTS)]
            place.plot(
                *shown.T,
                look.marker,
                color=look.colour,
                alpha=0.5,
                markersize=3.5,
                markeredgewidth=0,
                rasterized=True,
            )
            drawn.setdefault(network, []).append(_seeds(selection, network))
        if not dots:
            place.text(0.5, 0.5, "not evaluated", transform=place.transAxes, ha="center", style="italic")
            place.set_yticks([])
    label_outer(axes, "agent steps in a game", "return")
    title = f"{selection.experiment.title}: length and return of whole games"
    finish(figure, title, [handle(network, seeds) for network, seeds in drawn.items()])
    return figure


def _games(selection: Selection, game: str, network: str, environment: str) -> np.ndarray:
    """(steps, return) of every game of the final evaluations: float [k, 2]."""
    found = []
    for cell in selection.experiment.cells:
        if (cell.game, cell.network) == (game, network):
            evaluation = selection.final_evaluation(cell, environment)
            found += [(each["steps"], each["return"]) for each in evaluation.games] if evaluation else []
    return np.array(found, float).reshape(-1, 2)


def _seeds(selection: Selection, network: str) -> int:
    counts = [
        len(sample.returns)
        for game in selection.experiment.games
        if (sample := selection.sample(game, network)) is not None
    ]
    return max(counts, default=1)


def _enough(selection: Selection, aggregate: Aggregate) -> dict[str, np.ndarray]:
    """The networks that have enough runs for a figure, in their order."""
    found = {}
    for network in selection.experiment.networks:
        scores = aggregate.of(network)
        if scores is not None and len(scores) * len(aggregate.games) >= FEWEST:
            found[network] = scores
    return found


def _one_panel() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4.2), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    return figure, figure.subplots()


def _draw(axes: Any, x: np.ndarray, band: Any, network: str) -> None:
    look = style(network)
    axes.fill_between(x, band.low, band.high, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(
        x, band.value, color=look.colour, linestyle=look.dashes, linewidth=1.6, marker=look.marker,
        markersize=4.5, markevery=max(1, len(x) // 6), markeredgecolor="white", markeredgewidth=0.6,
    )  # fmt: skip


def _over(aggregate: Aggregate) -> str:
    return f"{len(aggregate.games)} game{'s' * (len(aggregate.games) != 1)}"
