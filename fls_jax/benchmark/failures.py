"""A method that fails: its user's sentence, or, for a programming error, where it was and its traceback."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fls_jax.errors import UserError
from fls_jax.runs.files import write_whole


def told(error: Exception, method: Callable[..., Any], log: Path) -> str:
    """What is said of an error that a method raised.

    A UserError says itself what is wrong. Any other error is one of programming: its type, the last line of
    the method's own file that it came through, and its message; the whole traceback goes into `log`.
    """
    if isinstance(error, UserError):
        return str(error)
    write_whole(log, "".join(traceback.format_exception(error)))
    file, line = _place(error, method)
    message = " ".join(str(error).split())
    return f"{type(error).__name__} at {file}:{line}{': ' * bool(message)}{message} (traceback: {log})"


def _place(error: Exception, method: Callable[..., Any]) -> tuple[str, int | None]:
    """File and line: in the file of the method where the error passed it, else where it was raised."""
    calls = traceback.extract_tb(error.__traceback__)
    try:
        own = inspect.getsourcefile(inspect.unwrap(method))
    except TypeError:  # a callable object
        own = inspect.getsourcefile(type(method))
    last = next((call for call in reversed(calls) if call.filename == own), calls[-1])
    return last.filename, last.lineno
