"""How annotations are checked at run time (tests/conftest.py): as Python's typing rules read them."""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

# By module or function. What these refuse with a sentence of their own would never reach them in tests.
UNCHECKED = (
    "fls_jax.atari_head.download",
    "fls_jax.gaze.observations.TrialObservations.__init__",
    "fls_jax.gaze.observations.open_trial",
    "fls_jax.saliency.projection.project",
    "fls_jax.evaluation.settings",  # tyro reads its annotations
)
_check = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True,  # an int is a float
        hint_overrides=FrozenDict(
            {
                IO[bytes]: io.IOBase,  # files do not inherit from typing.IO
                np.ndarray: np.ndarray | np.generic,  # NumPy gives a scalar for an array of no axes
            }
        ),
    )
)


def check(function: Any) -> Any:
    """The function, or the class, that checks what it is given and what it returns."""
    name = f"{function.__module__}.{function.__qualname__}"
    return function if name.startswith(UNCHECKED) else _check(function)
