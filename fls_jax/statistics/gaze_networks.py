"""Published figures of networks that were trained to predict human gaze in Atari-HEAD: how far maps can get.

Zhang et al., Atari-HEAD (AAAI 2020, arXiv 1903.06754), supplement, table "Gaze Network"; in EnvPool's names.
Two games could not be read. Their protocol is not ours.
"""

from __future__ import annotations

SOURCE = (
    "Gaze network: figures of networks trained on human gaze, from the supplement of Zhang et al., "
    "Atari-HEAD (AAAI 2020, arXiv 1903.06754), under their own protocol: what can be reached, roughly."
)
_METRICS = ("nss", "kl", "cc")
_FIGURES: dict[str, tuple[float, float, float]] = {
    "Alien": (6.511, 1.309, 0.578),
    "Asterix": (4.846, 1.556, 0.485),
    "BankHeist": (6.543, 1.286, 0.588),
    "Berzerk": (5.280, 1.530, 0.503),
    "Breakout": (6.147, 1.266, 0.583),
    "Centipede": (5.056, 1.750, 0.473),
    "DemonAttack": (7.662, 1.084, 0.645),
    "Enduro": (8.421, 0.830, 0.703),
    "Freeway": (7.621, 1.133, 0.641),
    "Frostbite": (5.554, 1.532, 0.521),
    "Hero": (7.798, 1.061, 0.653),
    "MontezumaRevenge": (8.267, 0.939, 0.683),
    "MsPacman": (4.674, 1.858, 0.453),
    "NameThisGame": (8.164, 1.111, 0.653),
    "Phoenix": (7.122, 1.153, 0.612),
    "Riverraid": (6.218, 1.497, 0.534),
    "RoadRunner": (6.544, 1.307, 0.581),
    "Seaquest": (6.350, 1.469, 0.552),
}


def gaze_network_score(metric: str, game: str) -> float | None:
    """The published figure of a game's gaze network; None for another metric or game."""
    if metric not in _METRICS or game not in _FIGURES:
        return None
    return _FIGURES[game][_METRICS.index(metric)]
