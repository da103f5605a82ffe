"""How annotations are checked at run time (tests/conftest.py): as Python's typing rules read them."""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

# Its tests give it values of the wrong type to refuse.
UNCHECKED = ("fls_jax.atari_head.download",)
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
    return function if function.__module__.startswith(UNCHECKED) else _check(function)
