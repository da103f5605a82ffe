"""Messages for methods that fail: a UserError's own, or the place and traceback of a programming error."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fls_jax.errors import UserError
from fls_jax.runs.files import write_whole


def told(error: Exception, method: Callable[..., Any], log: Path) -> str:
    """The message for an error that a method raised.

    A UserError has its own message. Any other error is a programming error: the message has its type, the
    last line of the method's own file in the traceback, and its text. The whole traceback is written to
    `log`.
    """
    if isinstance(error, UserError):
        return str(error)
    write_whole(log, "".join(traceback.format_exception(error)))
    file, line = _place(error, method)
    message = " ".join(str(error).split())
    return f"{type(error).__name__} at {file}:{line}{': ' * bool(message)}{message} (traceback: {log})"


def _place(error: Exception, method: Callable[..., Any]) -> tuple[str, int | None]:
    """File and line: the last in the method's own file, else where the error was raised."""
    calls = traceback.extract_tb(error.__traceback__)
    try:
        own = inspect.getsourcefile(inspect.unwrap(method))
    except TypeError:  # a callable object
        own = inspect.getsourcefile(type(method))
    last = next((call for call in reversed(calls) if call.filename == own), calls[-1])
    return last.filename, last.lineno
