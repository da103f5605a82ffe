"""Free-Lunch Saliency: attention inside a PPO agent as its saliency map (arXiv 1908.02511), in JAX.

    import fls_jax
    agent = fls_jax.load_agent("runs/Pong/cnn_sparse_fls/seed1")

Imports are lazy: `import fls_jax` alone loads neither JAX nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fls_jax import metrics, saliency, train
    from fls_jax.agent import Agent, AgentOutput, load_agent
    from fls_jax.config import TrainConfig
    from fls_jax.errors import UserError
    from fls_jax.film.drawing import magnify, overlay
    from fls_jax.film.movie import Movie
    from fls_jax.film.playing import play
    from fls_jax.networks.geometry import attention_geometry, attention_shape, paint
    from fls_jax.networks.modules import ActorCritic, AttentionGate, Extractor
    from fls_jax.networks.replacement import gate_maps, make_replacement, replaced
    from fls_jax.networks.specs import FLS, NETWORKS, SPARSE, AttentionSpec, NetworkSpec, network_spec
    from fls_jax.networks.summary import describe, parameter_count
    from fls_jax.saliency.projection import project, to_screen

__all__ = [
    "FLS", "NETWORKS", "SPARSE", "ActorCritic", "Agent", "AgentOutput", "AttentionGate", "AttentionSpec",
    "Extractor", "Movie", "NetworkSpec", "TrainConfig", "UserError", "attention_geometry", "attention_shape",
    "describe", "gate_maps", "load_agent", "magnify", "make_replacement", "metrics", "network_spec",
    "overlay", "paint", "parameter_count", "play", "project", "replaced", "saliency", "to_screen", "train",
]  # fmt: skip

_PACKAGES = ("metrics", "saliency", "train")
_HOMES = {
    "agent": ("Agent", "AgentOutput", "load_agent"),
    "config": ("TrainConfig",),
    "errors": ("UserError",),
    "film.drawing": ("magnify", "overlay"),
    "film.movie": ("Movie",),
    "film.playing": ("play",),
    "networks.geometry": ("attention_geometry", "attention_shape", "paint"),
    "networks.modules": ("ActorCritic", "AttentionGate", "Extractor"),
    "networks.replacement": ("gate_maps", "make_replacement", "replaced"),
    "networks.specs": ("FLS", "NETWORKS", "SPARSE", "AttentionSpec", "NetworkSpec", "network_spec"),
    "networks.summary": ("describe", "parameter_count"),
    "saliency.projection": ("project", "to_screen"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"fls_jax.{name}")
    if name == "__version__":
        return _version()
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"fls_jax.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'fls_jax' has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fls-jax")
    except PackageNotFoundError:
        return "not installed"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
