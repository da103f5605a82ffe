"""Cascading randomisation: does a map change as layers are randomised one by one? (Adebayo et al. 2018)

From the heads down, each layer's parameters are replaced by fresh ones, cumulatively. A map that does not
change does not depend on what the network has learnt there. Attention is computed before the dense layer and
the heads. It can therefore only change when its own or an earlier layer does; this is no fault of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fls_jax.benchmark.similarity import hog_correlation, spearman, ssim
from fls_jax.networks.specs import NetworkSpec
from fls_jax.types import Params

SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "spearman": spearman,
    "ssim": ssim,
    "hog": hog_correlation,
}


def layers(spec: NetworkSpec) -> dict[str, tuple[tuple[str, ...], ...]]:
    """A network's layers from the heads down: the paths of each layer's parameters."""
    found: dict[str, tuple[tuple[str, ...], ...]] = {
        "heads": (("policy",), ("value",)),
        "dense": (("extractor", "dense"),),
    }
    for number in range(len(spec.torso), 0, -1):
        if spec.attention and number in spec.attention.after:
            found[f"attention{number}"] = (("extractor", f"attention{number}"),)
        found[f"conv{number}"] = (("extractor", f"conv{number}"),)
    return found


def cascade(params: Params, fresh: Params, spec: NetworkSpec) -> Iterator[tuple[str, Params]]:
    """Each layer from the heads down, with parameters in which it and all above it are randomised."""
    for name, paths in layers(spec).items():
        for path in paths:
            params = _replaced(params, fresh, path)
        yield name, params


def similarities(before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Similarities of maps [B, H, W] by name in SIMILARITIES: float64 [B], NaN if a map is constant."""
    return {name: measure(before, after) for name, measure in SIMILARITIES.items()}


def _replaced(params: Any, fresh: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return fresh
    return {**params, path[0]: _replaced(params[path[0]], fresh[path[0]], path[1:])}
