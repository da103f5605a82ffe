"""Sentences about what an experiment's runs can and cannot show, derived from the runs."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from experiments.analysis.selection import Selection
from experiments.data.grid import OWN, PAPER_GAMES
from experiments.pages.tables import million
from fls_jax.statistics import paper


def reading(selection: Selection, lunch: pd.DataFrame) -> list[str]:
    """Lines of Markdown: the experiment's progress, and how to read its numbers.

    lunch: the data of its free-lunch table.
    """
    sentences = [_progress(selection), _seeds(selection), _length(selection), *_games(selection)]
    sentences += [_lunch(lunch), _verdict(selection)]
    return [f"- {sentence}" for sentence in sentences] + [""]


def _progress(selection: Selection) -> str:
    cells = selection.experiment.cells
    states = Counter(selection.state(cell) for cell in cells)
    hours = 0.0
    for run in selection.runs.values():
        if len(run.history) and "seconds_total" in run.history:
            hours += float(run.history["seconds_total"].iloc[-1]) / 3600
    names = ("evaluated", "not evaluated", "unfinished", "not run")
    parts = ", ".join(f"{states[name]} {name}" for name in names if states[name])
    spent = f"; {hours:,.1f} hours of training so far" if hours else ""
    planned = "" if selection.experiment.name == OWN else " are planned"
    return f"**How far it is.** {len(cells)} run{'s' * (len(cells) != 1)}{planned}: {parts}{spent}."


def _seeds(selection: Selection) -> str:
    experiment = selection.experiment
    pairs = {(cell.game, cell.network) for cell in experiment.cells}
    samples = [sample for pair in sorted(pairs) if (sample := selection.sample(*pair))]
    text = "**Seeds.** "
    if not samples:
        return f"{text}No finished run has been evaluated yet, so there are no scores to compare."
    counts = [len(sample.returns) for sample in samples]
    low, high = min(counts), max(counts)
    text += f"{low if low == high else f'{low} to {high}'} a score; the paper has {paper.SEEDS}. "
    if low == 1:
        text += (
            "With one seed an interval covers the luck of the games alone: another seed may well end "
            "outside it. "
        )
    if high > 1 and low < paper.SEEDS:
        text += (
            "Intervals over so few seeds are too narrow: with two that differ as much as games do, about "
            "half of them hold the true mean. "
        )
    return text.rstrip()


def _length(selection: Selection) -> str:
    steps = selection.experiment.total_steps
    if steps == paper.STEPS:
        return f"**Length.** {million(steps)} agent steps, as in the paper."
    return (
        f"**Length.** {million(steps)} agent steps, {steps / paper.STEPS:.0%} of the paper's "
        f"{million(paper.STEPS)}, with the learning rate annealed over that length: these curves are not the "
        "beginnings of the paper's."
    )


def _games(selection: Selection) -> list[str]:
    others = [game for game in selection.experiment.games if game not in PAPER_GAMES]
    if not others:
        return []
    verb = "is" if len(others) == 1 else "are"
    return [f"**Games.** {' and '.join(others)} {verb} not among the paper's: no score to compare with."]


def _lunch(table: pd.DataFrame) -> str:
    if "low" not in table:
        return "**Free lunch.** No network has a score beside the baseline's in the same game yet."
    compared = table.dropna(subset=["low"])
    worse, better = int((compared["high"] < 0).sum()), int((compared["low"] > 0).sum())
    open_ones = len(compared) - better - worse
    caution = ", which is not evidence of no difference" if open_ones else ""
    if len(compared) and compared[["seeds", "baseline_seeds"]].min(axis=None) < paper.SEEDS:
        caution += ". With so few seeds these compare the agents that were trained, not the networks"
    return (
        f"**Free lunch.** {len(compared)} difference{'s' * (len(compared) != 1)} to the baseline: {better} "
        f"with an interval above 0, {worse} with one below, {open_ones} with one that holds 0{caution}."
    )


def _verdict(selection: Selection) -> str:
    experiment = selection.experiment
    whole = experiment.total_steps >= paper.STEPS and all(
        selection.state(cell) == "evaluated" for cell in experiment.cells
    )
    if whole:
        return "**What it shows.** The whole grid was run; compare it with the paper score by score."
    works = any(selection.state(cell) == "evaluated" for cell in experiment.cells)
    shown = (
        "That the system works, from training to this page. It"
        if works
        else "Nothing yet: no run was evaluated. It"
    )
    return (
        f"**What it shows.** {shown} does not show whether the paper is right: that takes its whole grid, "
        f"{paper.SEEDS} seeds of {million(paper.STEPS)} steps."
    )
