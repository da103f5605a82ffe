"""The networks as data: the paper's 15 (Nikulin et al. 2019, arXiv 1908.02511, section 3 and appendix)
and ours on patches.

A network is a torso of convolutions, attention gates after some of them, and a readout. To add a
network, add one entry to `_OTHERS` (docs/extending.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Conv:
    """A square convolution; by default with a bias and followed by relu."""

    features: int
    kernel: int
    stride: int = 1
    padding: Literal["VALID", "SAME"] = "VALID"
    relu: bool = True
    bias: bool = True


@dataclass(frozen=True)
class AttentionSpec:
    """conv `hidden` kernel x kernel, activation, conv `maps` kernel x kernel, score; stride 1, SAME.

    after: numbers (from 1) of the convolutions whose output is multiplied by a gate; each has its own.
    score: `softplus` (base e), `softplus2` (base 2: log2(1 + 2^x)), `sigmoid` (at most 1) or `softmax`
        over the positions of each map; several maps are summed.
    normalise: divide the result by its sum over positions.
    """

    after: tuple[int, ...] = (3,)
    hidden: int = 256
    kernel: int = 3
    activation: Literal["relu", "tanh", "elu"] = "relu"
    score: Literal["softplus", "softplus2", "sigmoid", "softmax"] = "softplus"
    maps: int = 1
    normalise: bool = False


@dataclass(frozen=True)
class NetworkSpec:
    """One network: input padding -> torso with gates -> readout -> dense 512 -> heads.

    readout: `flatten` (row-major H, W, C) or `pool` (sum over positions).
    input_padding: zero pixels added on each side of the input.
    l2_normalise: features are normalised over channels before attention reads them.
    published_padding: padding of the geometry that the authors published, if it differs from that of the
        torso.
    """

    name: str
    torso: tuple[Conv, ...]
    attention: AttentionSpec | None
    readout: Literal["flatten", "pool"]
    input_padding: int = 0
    l2_normalise: bool = False
    published_padding: int | None = None


SPARSE = (Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3))
SPARSE_NORELU = (*SPARSE[:2], replace(SPARSE[2], relu=False))
DENSE = (Conv(32, 7, padding="SAME"), Conv(64, 5, padding="SAME"), Conv(64, 3, padding="SAME"))
DENSE_NORELU = (*DENSE[:2], replace(DENSE[2], relu=False))

# Disjoint 4x4 patches: every pixel is in exactly one receptive field of the first convolution.
PATCH = (Conv(32, 4, 4), Conv(64, 4, 2), Conv(64, 3))
PATCH_NOBIAS = (replace(PATCH[0], bias=False), *PATCH[1:])

FLS = AttentionSpec()
DAQN = AttentionSpec(hidden=256, kernel=1, activation="tanh", score="softmax")
RSPPO = AttentionSpec(hidden=512, kernel=1, activation="elu", score="softmax", maps=2)

PATCH_FLS = AttentionSpec(after=(1,), hidden=64, kernel=1)

_PUBLISHED = (
    NetworkSpec("cnn", SPARSE, None, "flatten"),
    NetworkSpec("cnn_daqn", SPARSE, DAQN, "pool"),
    NetworkSpec(
        "cnn_rsppo", SPARSE, RSPPO, "flatten", input_padding=1, l2_normalise=True, published_padding=0
    ),
    NetworkSpec("cnn_rsppo_nopad", SPARSE, RSPPO, "flatten", l2_normalise=True),
    NetworkSpec("cnn_sparse_fls", SPARSE, FLS, "flatten"),
    NetworkSpec("cnn_sparse_fls_pool", SPARSE, FLS, "pool"),
    NetworkSpec("cnn_sparse_fls_norm", SPARSE, replace(FLS, normalise=True), "flatten"),
    NetworkSpec("cnn_sparse_fls_1x1", SPARSE, replace(FLS, kernel=1), "flatten"),
    NetworkSpec("cnn_sparse_fls_sp2", SPARSE, replace(FLS, score="softplus2"), "flatten"),
    NetworkSpec("cnn_sparse_fls_norelu", SPARSE_NORELU, FLS, "flatten"),
    NetworkSpec("cnn_sparse_fls_norelu_pool", SPARSE_NORELU, FLS, "pool"),
    NetworkSpec("cnn_sparse_fls_h1", SPARSE, replace(FLS, after=(1,)), "flatten"),
    NetworkSpec("cnn_sparse_fls_x3", SPARSE, replace(FLS, after=(1, 2, 3)), "flatten"),
    NetworkSpec("cnn_dense_fls", DENSE, FLS, "pool"),
    NetworkSpec("cnn_dense_fls_norelu", DENSE_NORELU, FLS, "pool"),
)

_OTHERS: tuple[NetworkSpec, ...] = (
    NetworkSpec("cnn_patch", PATCH, None, "flatten"),
    NetworkSpec("cnn_patch_fls", PATCH, PATCH_FLS, "flatten"),
    NetworkSpec("cnn_patch_fls_nobias", PATCH_NOBIAS, PATCH_FLS, "flatten"),
    NetworkSpec("cnn_patch_fls_k3", PATCH, replace(PATCH_FLS, hidden=32, kernel=3), "flatten"),
    NetworkSpec("cnn_patch_fls_sigmoid", PATCH, replace(PATCH_FLS, score="sigmoid"), "flatten"),
)

PUBLISHED: tuple[str, ...] = tuple(spec.name for spec in _PUBLISHED)
"""The paper's own."""
NETWORKS: dict[str, NetworkSpec] = {spec.name: spec for spec in (*_PUBLISHED, *_OTHERS)}
"""All networks, by name."""


def network_spec(name: str) -> NetworkSpec:
    """The spec of a network's name. Raises ValueError with the known names for another."""
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}; choose one of: {', '.join(NETWORKS)}.")
    return NETWORKS[name]
