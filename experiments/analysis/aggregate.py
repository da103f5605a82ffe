"""Human-normalised scores over many games: a matrix of seeds and games for each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.analysis.runs import Run
from experiments.analysis.selection import Selection
from experiments.data.grid import BASELINE
from fls_jax.statistics import REFERENCES

POINTS = 60
_WHERE = "in a game with published human scores"


@dataclass(frozen=True)
class Aggregate:
    """Human-normalised scores of networks over the same games.

    scores: by network, float [seeds, games], or [seeds, games, points] for learning curves, whose env_steps
    are `steps`. The number of seeds may differ between networks, but not between the games of one.
    left_out: networks with scores, but with no game in common with the others.
    why_empty: the reason if there are no scores.
    """

    games: tuple[str, ...] = ()
    scores: Mapping[str, np.ndarray] | None = None
    steps: np.ndarray | None = None
    left_out: tuple[str, ...] = ()
    why_empty: str = ""

    def of(self, network: str) -> np.ndarray | None:
        """The scores of a network; None if it has none."""
        return (self.scores or {}).get(network)


def final_scores(selection: Selection) -> Aggregate:
    """Mean returns of the final evaluations, one score per seed and game."""
    found: dict[str, dict[str, list[float]]] = {}
    for network in selection.experiment.networks:
        for game in _scorable(selection):
            if sample := selection.sample(game, network):
                found.setdefault(network, {})[game] = [float(seed.mean()) for seed in sample.returns]
    if not found:
        return Aggregate(why_empty=f"no network has been evaluated yet {_WHERE}")
    games, left_out = _common(found, _scorable(selection))
    scores = {network: _normalised(_matrix(by_game, games), games) for network, by_game in found.items()}
    return Aggregate(games, scores, left_out=left_out)


def training_curves(selection: Selection) -> Aggregate:
    """Training return (mean of the last 100 games) of finished runs, at the same steps for all."""
    found: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for network in selection.experiment.networks:
        for game in _scorable(selection):
            curves = [curve for run in selection.of(game, network) if (curve := _curve(run)) is not None]
            if curves:
                found.setdefault(network, {})[game] = curves
    if not found:
        return Aggregate(why_empty=f"no network has been trained to its end yet {_WHERE}")
    games, left_out = _common(found, _scorable(selection))
    kept = [curve for by_game in found.values() for game in games for curve in by_game[game]]
    steps = np.linspace(max(x[0] for x, _ in kept), min(x[-1] for x, _ in kept), POINTS)
    scores = {}
    for network, by_game in found.items():
        at_steps = {game: [np.interp(steps, x, y) for x, y in by_game[game]] for game in games}
        scores[network] = _normalised(_matrix(at_steps, games), games)
    return Aggregate(games, scores, steps, left_out)


def _curve(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """env_steps and returns of a finished run; None if no game has ended in it."""
    if not run.finished or "eprewmean" not in run.history:
        return None
    rows = run.history[["env_step", "eprewmean"]].dropna()
    return (rows["env_step"].to_numpy(float), rows["eprewmean"].to_numpy(float)) if len(rows) else None


def _scorable(selection: Selection) -> list[str]:
    return [game for game in selection.experiment.games if game in REFERENCES]


def _common(
    found: dict[str, dict[str, Any]], games: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The games that all networks in `found` have, and the networks taken out of it until there was one.

    The network with the fewest games is taken out first (of several, the last one), the baseline at last.
    """
    left_out: list[str] = []
    while True:
        common = tuple(game for game in games if all(game in by_game for by_game in found.values()))
        if common:
            return common, tuple(left_out)
        fewest = min(reversed(found), key=lambda network: (network == BASELINE, len(found[network])))
        del found[fewest]
        left_out.append(fewest)


def _matrix(by_game: Mapping[str, Sequence[object]], games: Sequence[str]) -> np.ndarray:
    """[seeds, games, ...]: the first k seeds, where k is the smallest number over the games."""
    seeds = min(len(by_game[game]) for game in games)
    return np.stack([np.asarray(by_game[game][:seeds], float) for game in games], axis=1)


def _normalised(scores: np.ndarray, games: Sequence[str]) -> np.ndarray:
    """(score - random) / (human - random), game by game along axis 1."""
    random = np.array([REFERENCES[game].random for game in games])
    human = np.array([REFERENCES[game].human for game in games])
    shape = (1, len(games), *[1] * (scores.ndim - 2))
    return (scores - random.reshape(shape)) / (human - random).reshape(shape)
