"""Which maps can be believed: the rule of experiments/data/rule.py, network by network."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.analysis.selection import Selection
from experiments.analysis.verdict import Verdict, judge_score, judge_sharpness, judge_use
from experiments.data.grid import BASELINE, Cell, settings_of
from experiments.data.rule import RULES
from experiments.pages.presentation import Empty, Table
from experiments.pages.tables import rules_between_games
from fls_jax.networks.specs import network_spec
from fls_jax.statistics import REFERENCES


def verdict_table(selection: Selection) -> Table:
    """Score, sharpness and use of the attention of every network and seed that has some."""
    rows, data = [], []
    for cell in _judged(selection):
        verdicts = _verdicts(selection, cell)
        rows.append(
            [cell.game, cell.network, str(cell.seed), *(_text(*verdicts[rule.part]) for rule in RULES)]
        )
        found = {rule.part: verdict.refuted for rule in RULES if (verdict := verdicts[rule.part][0])}
        data.append({"game": cell.game, "network": cell.network, "seed": cell.seed, **found})
    columns = ("game", "network", "seed", *(rule.part for rule in RULES))
    notes = [
        "The rule was written before the training of any network on patches had ended. Those of cnn on "
        "Pong and Breakout and of cnn_sparse_fls on Pong and MsPacman had; their maps were replaced later. "
        + " ".join(f"Refuted, {rule.part}: {rule.refuted}" for rule in RULES),
        "The paper's networks are judged by the same rule. In brackets the 95% interval, and behind it the "
        "margin. One seed decides nothing about other seeds.",
    ]
    title = f"{selection.experiment.title}: the score of {BASELINE}, sharp, used?"
    frame = pd.DataFrame(data, columns=columns)
    return Table("verdict", title, columns, rows, frame, notes, rules_between_games(rows))


def _judged(selection: Selection) -> list[Cell]:
    experiment = selection.experiment
    with_attention = [
        name for name in experiment.networks if network_spec(settings_of(name)["network"]).attention
    ]
    cells = [
        Cell(game, network, seed)
        for game in experiment.games
        for network in with_attention
        for seed in experiment.seeds(game, network)
    ]
    return [cell for cell in cells if cell in selection.runs]


def _verdicts(selection: Selection, cell: Cell) -> dict[str, tuple[Verdict | None, str]]:
    """A verdict for each rule, or why there is none."""
    run = selection.runs[cell]
    random = REFERENCES[cell.game].random if cell.game in REFERENCES else None
    tables = [each for each in run.attention if each["env_step"] == run.env_step and not each.get("greedy")]
    ours, baseline = (selection.sample(cell.game, name) for name in (cell.network, BASELINE))
    score = use = sharp = None
    if random is not None and ours and baseline:
        score = judge_score(ours, baseline, random)
    if tables and run.finished:
        sharp = judge_sharpness(tables[0]["map"])
        use = judge_use(tables[0]["replacements"], random) if random is not None else None
    state = selection.state(cell)
    missing = "not replaced" if state == "evaluated" else state
    names: dict[str, tuple[Any, str]] = {
        "score of cnn": (score, f"{BASELINE}: {selection.why_empty(cell.game, BASELINE)}" if ours else state),
        "sharp": (sharp, missing),
        "used": (use, missing),
    }
    return names


def _text(verdict: Verdict | None, reason: str) -> str:
    if verdict is None:
        return Empty(reason)
    return f"{'refuted' if verdict.refuted else 'not refuted'}: {verdict.numbers}"
