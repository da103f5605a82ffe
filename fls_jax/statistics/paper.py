"""The figures of Nikulin et al. (arXiv 1908.02511), for comparison with ours.

The scores are a second-hand transcription that nobody has checked against the paper; the parameter counts
follow from the networks. The saliency figures are means over 5 seeds, under what is here called the paper
protocol; their transcription is visibly damaged: a rough guide and no reference, None where unreadable.
"""

from __future__ import annotations

from typing import NamedTuple

PAPER_GAMES = ("BeamRider", "Breakout", "Enduro", "MsPacman", "Seaquest", "SpaceInvaders")
SOURCE = "Nikulin et al. 2019, arXiv 1908.02511"
STEPS = 50_000_000
SEEDS = 5
GAMES_PER_MODEL = 8192
CAVEAT = "The paper's scores are a second-hand transcription: check them against the paper before citing."


class Score(NamedTuple):
    """Mean and standard deviation of the raw returns of 5 seeds x 8,192 games."""

    mean: float
    std: float


_SCORES: dict[str, tuple[tuple[float, float], ...]] = {
    "cnn": ((6949, 2569), (618, 209), (3808, 1670), (4874, 1701), (1920, 37), (3867, 3627)),
    "cnn_daqn": ((701, 205), (601, 201), (2182, 1075), (3111, 1165), (1453, 420), (2096, 1554)),
    "cnn_rsppo": ((583, 185), (605, 202), (3851, 1677), (3943, 1435), (1670, 372), (2562, 1339)),
    "cnn_rsppo_nopad": ((823, 432), (591, 199), (3658, 1670), (3950, 1371), (1710, 379), (2248, 782)),
    "cnn_sparse_fls": ((6634, 2361), (624, 211), (5094, 1876), (5421, 1517), (2440, 382), (9359, 13230)),
    "cnn_sparse_fls_pool": ((3356, 1878), (520, 183), (1917, 1486), (4317, 1485), (1150, 385), (1847, 773)),
    "cnn_sparse_fls_norm": (
        (6584, 2159), (598, 200), (4524, 1807), (3409, 1275), (1161, 348), (11206, 10441),
    ),
    "cnn_sparse_fls_1x1": ((6870, 2413), (621, 207), (4701, 1880), (4887, 1589), (2255, 336), (5673, 6344)),
    "cnn_sparse_fls_sp2": ((6697, 2261), (612, 208), (4854, 1823), (5242, 1527), (1908, 29), (6443, 7684)),
    "cnn_sparse_fls_norelu": ((6777, 2242), (589, 207), (4814, 1904), (5049, 1145), (2013, 185), (2929, 556)),
    "cnn_sparse_fls_norelu_pool": (
        (747, 626), (480, 158), (2093, 1469), (3365, 1292), (2356, 1874), (1999, 899),
    ),
    "cnn_sparse_fls_h1": ((7468, 2645), (640, 212), (4942, 2053), (4720, 1455), (2181, 376), (9395, 13615)),
    "cnn_sparse_fls_x3": ((6588, 2348), (633, 217), (5950, 3739), (4978, 1461), (2083, 314), (2855, 194)),
    "cnn_dense_fls": ((866, 415), (532, 173), (2114, 2164), (4977, 1253), (1368, 517), (1549, 831)),
    "cnn_dense_fls_norelu": ((730, 245), (503, 162), (1292, 1829), (4879, 1282), (10052, 11853), (1316, 493)),
}  # fmt: skip
_BREAKOUT_INFINITE: dict[str, tuple[float, float]] = {
    "cnn": (652, 274),
    "cnn_daqn": (622, 245),
    "cnn_rsppo": (625, 244),
    "cnn_sparse_fls": (663, 283),
    "cnn_sparse_fls_pool": (529, 204),
    "cnn_dense_fls": (534, 182),
    "cnn_sparse_fls_h1": (689, 291),
    "cnn_sparse_fls_x3": (681, 302),
}
PARAMETERS: dict[str, int] = {
    "cnn": 1_686_693,
    "cnn_daqn": 130_726,
    "cnn_rsppo": 1_720_999,
    "cnn_sparse_fls": 1_836_710,
    "cnn_sparse_fls_pool": 263_846,
    "cnn_dense_fls": 280_358,
    "cnn_sparse_fls_h1": 1_762_982,
    "cnn_sparse_fls_x3": 2_063_016,
}
"""With 4 actions, policy and value heads included; the paper does not count the other networks."""


def score(environment: str, network: str) -> Score | None:
    """The paper's score, None if it has none. environment: a game, or BreakoutInfinite."""
    if environment == "BreakoutInfinite" and network in _BREAKOUT_INFINITE:
        return Score(*_BREAKOUT_INFINITE[network])
    if environment in PAPER_GAMES and network in _SCORES:
        return Score(*_SCORES[network][PAPER_GAMES.index(environment)])
    return None


SALIENCY_GAMES = ("Breakout", "Enduro", "MsPacman", "Seaquest", "SpaceInvaders")
SALIENCY_NETWORKS = ("cnn_daqn", "cnn_rsppo", "cnn_sparse_fls", "cnn_sparse_fls_pool", "cnn_dense_fls")
SALIENCY_CAVEAT = (
    "The paper's figures are a second-hand transcription that is damaged in places: a rough guide only, "
    "and empty where they could not be read."
)

_SALIENCY: dict[str, tuple[tuple[float | None, ...], ...]] = {
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

SALIENCY_METRICS = tuple(_SALIENCY)


def saliency_score(metric: str, network: str, game: str) -> float | None:
    """The paper's figure of a network's map, None if there is none."""
    if metric not in _SALIENCY or network not in SALIENCY_NETWORKS or game not in SALIENCY_GAMES:
        return None
    return _SALIENCY[metric][SALIENCY_NETWORKS.index(network)][SALIENCY_GAMES.index(game)]
