"""Errors that the user sees as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can correct. The message names what is wrong, the value, and what to do.

    The command line prints it and exits with code 2.
    """


_PACKAGES = {"ale_py": "ale-py", "cv2": "opencv-python-headless", "orbax": "orbax-checkpoint"}
"""Names of libraries on PyPI where they differ from the imported names."""


def missing_library(error: ModuleNotFoundError) -> str | None:
    """The message for a library that is not installed; None if the missing module is our own."""
    library = (error.name or "").split(".")[0]
    if library in ("", "fls_jax"):
        return None
    return f"{library} is not installed and is needed here: pip install {_PACKAGES.get(library, library)}"
