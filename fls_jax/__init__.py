"""Free-Lunch Saliency: attention inside a PPO agent as its saliency map (arXiv 1908.02511), in JAX.

    import fls_jax
    agent = fls_jax.load_agent("runs/Pong/cnn_sparse_fls/seed1")

Nothing heavy is imported before it is used: `import fls_jax` alone loads neither JAX nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fls_jax import metrics, saliency
    from fls_jax.agent import Agent, AgentOutput, load_agent
    from fls_jax.networks.specs import NETWORKS

__all__ = ["NETWORKS", "Agent", "AgentOutput", "load_agent", "metrics", "saliency"]

_HOMES = {
    "Agent": "fls_jax.agent",
    "AgentOutput": "fls_jax.agent",
    "load_agent": "fls_jax.agent",
    "NETWORKS": "fls_jax.networks.specs",
}


def __getattr__(name: str) -> Any:
    if name in ("metrics", "saliency"):
        return importlib.import_module(f"fls_jax.{name}")
    if name == "__version__":
        return _version()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fls_jax' has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fls-jax")
    except PackageNotFoundError:
        return "not installed"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
