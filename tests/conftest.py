"""Before anything of ours is imported: shapes and types in annotations are checked at run time."""

from __future__ import annotations

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_hook = install_import_hook(
    ["fls_jax.ppo", "fls_jax.optimiser", "fls_jax.rollout", "fls_jax.networks"], "beartype.beartype"
)
_hook.__enter__()


@pytest.fixture
def rng(request):
    """A NumPy generator that is the same for a test in every run."""
    import zlib

    import numpy as np

    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
