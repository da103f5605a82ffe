"""Names of files: JAX's libraries take every name as UTF-8, whatever the locale says."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from fls_jax.errors import UserError
from fls_jax.process.restart import restart


def read_names_as_utf8(arguments: Iterable[str]) -> None:
    """Restart in Python's UTF-8 mode if this process decodes names in another way (LC_ALL=C, PYTHONUTF8=0).

    What is printed keeps its encoding. Raises UserError if an argument, or the current folder, is not UTF-8:
    checkpoints could not be written there.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        shown_as = {"PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"} if sys.stdout else {}
        restart({**shown_as, **os.environ, "PYTHONUTF8": "1"})
    names = list(arguments)
    with contextlib.suppress(FileNotFoundError):
        names.append(os.getcwd())
    remedy = "rename the file or folder" if sys.flags.utf8_mode else "set PYTHONUTF8=1, without -X utf8=0"
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"The name {name!r} cannot be read as UTF-8: {remedy}.") from None
