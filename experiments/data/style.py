"""Names and line styles of networks, distinguishable for colour-blind people and on grey paper.

Colours are Okabe and Ito's (2008), the most distant ones for the paper's own comparison. Dashes and markers
also differ, so that no two networks differ only in colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fls_jax.networks.specs import NETWORKS

_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE, _GREY = "#0072B2", "#D55E00", "#CC79A7", "#7f7f7f"
_SOLID: Any = "solid"


@dataclass(frozen=True)
class Style:
    """Label, colour, dashes (matplotlib's, in line widths) and marker of a network."""

    label: str
    colour: str
    dashes: Any
    marker: str


STYLES: dict[str, Style] = {
    "cnn": Style("CNN (baseline)", _BLACK, _SOLID, "o"),
    "cnn_daqn": Style("DAQN attention", _SKY, (0, (1, 1.2)), "v"),
    "cnn_rsppo": Style("RS-PPO attention", _GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    "cnn_rsppo_nopad": Style("RS-PPO, no padding", _GREEN, (0, (1, 2)), "<"),
    "cnn_sparse_fls": Style("Sparse FLS", _VERMILION, _SOLID, "s"),
    "cnn_sparse_fls_pool": Style("Sparse FLS, pooled", _ORANGE, (0, (3, 1.2)), "D"),
    "cnn_sparse_fls_norm": Style("Sparse FLS, normalised", _SKY, (0, (5, 1.5)), "P"),
    "cnn_sparse_fls_1x1": Style("Sparse FLS, 1x1", _GREEN, (0, (3, 1.2, 1, 1.2)), "X"),
    "cnn_sparse_fls_sp2": Style("Sparse FLS, base-2 softplus", _BLUE, (0, (1, 1)), "h"),
    "cnn_sparse_fls_norelu": Style("Sparse FLS, no last relu", _PURPLE, (0, (6, 1.5)), "p"),
    "cnn_sparse_fls_norelu_pool": Style("Sparse FLS, no last relu, pooled", _PURPLE, (0, (1, 1.5)), "*"),
    "cnn_sparse_fls_h1": Style("Sparse FLS at conv 1", _BLUE, (0, (7, 1.5)), "<"),
    "cnn_sparse_fls_x3": Style("Sparse FLS x3", _GREY, (0, (4, 1, 1, 1, 1, 1)), ">"),
    "cnn_dense_fls": Style("Dense FLS", _BLUE, (0, (4, 1.2, 1, 1.2)), "d"),
    "cnn_dense_fls_norelu": Style("Dense FLS, no last relu", _ORANGE, (0, (1, 1.2)), "H"),
    "cnn_patch": Style("Patch CNN (ours)", _GREY, (0, (5, 1.2)), "o"),
    "cnn_patch_fls": Style("Patch FLS (ours)", _PURPLE, _SOLID, "h"),
    "cnn_patch_fls_nobias": Style("Patch FLS, no bias (ours)", _PURPLE, (0, (4, 1.2)), "D"),
    "cnn_patch_fls_k3": Style("Patch FLS, 3x3 (ours)", _PURPLE, (0, (6, 1.5, 1, 1.5)), "P"),
    "cnn_patch_fls_sigmoid": Style("Patch FLS, sigmoid (ours)", _PURPLE, (0, (2, 1)), "X"),
}
_COLOURS = (_VERMILION, _BLUE, _GREEN, _PURPLE, _ORANGE, _SKY)


def style(variant: str) -> Style:
    """The style of a network. The default label is its name, the default colour depends on its index.

    variant: its name, with `-cost<L>` if attention costs; this is drawn dotted.
    """
    network, _, cost = variant.partition("-cost")
    if cost:
        plain = style(network)
        return replace(plain, label=f"{plain.label}, cost {cost}", dashes=(0, (1, 1)))
    if network in STYLES:
        return STYLES[network]
    return Style(network, _COLOURS[list(NETWORKS).index(network) % len(_COLOURS)], (0, (2, 1)), ".")
