"""The saliency figures of Nikulin et al. (arXiv 1908.02511), to stand beside ours.

A second-hand transcription, visibly damaged in places: a rough guide and no reference. Figures that could not
be read are None. They are means over 5 seeds, under what is here called the paper protocol.
"""

from __future__ import annotations

GAMES = ("Breakout", "Enduro", "MsPacman", "Seaquest", "SpaceInvaders")
NETWORKS = ("cnn_daqn", "cnn_rsppo", "cnn_sparse_fls", "cnn_sparse_fls_pool", "cnn_dense_fls")
CAVEAT = (
    "The paper's figures are a second-hand transcription that is damaged in places: a rough guide only, "
    "and empty where they could not be read."
)

_TABLES: dict[str, tuple[tuple[float | None, ...], ...]] = {
    "sauc": (
        (0.758, 0.527, 0.604, 0.502, 0.679),
        (0.654, 0.552, 0.629, 0.629, 0.678),
        (0.530, 0.530, 0.520, 0.453, 0.656),
        (0.612, 0.536, 0.524, 0.486, 0.660),
        (0.698, 0.579, 0.610, 0.693, 0.419),
    ),
    "nss": (
        (1.344, 0.586, 0.881, 0.334, 1.899),
        (0.947, 0.922, 0.943, 0.955, 1.775),
        (0.510, 1.588, 0.631, 0.556, 1.664),
        (0.747, 0.251, 0.621, 0.286, 1.569),
        (1.385, 0.629, -0.136, 0.797, -0.230),
    ),
    "kl": (
        (2.885, 4.025, 3.364, 4.418, 2.880),
        (3.209, 3.368, 3.325, 3.294, 2.979),
        (3.481, 4.752, 3.535, 4.281, 3.086),
        (3.470, 4.452, None, None, None),
        (3.070, 3.453, None, None, None),
    ),
}

METRICS = tuple(_TABLES)


def published(metric: str, network: str, game: str) -> float | None:
    """The paper's figure of a network's map, None where there is none."""
    if metric not in _TABLES or network not in NETWORKS or game not in GAMES:
        return None
    return _TABLES[metric][NETWORKS.index(network)][GAMES.index(game)]
