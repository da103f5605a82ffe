"""What is shown to a user as a sentence instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: says what is wrong, with what value, and what to do.

    The command line prints it and exits with code 2.
    """


_PACKAGES = {"ale_py": "ale-py", "cv2": "opencv-python-headless", "orbax": "orbax-checkpoint"}
"""Names under which libraries are installed, where these differ from what is imported."""


def missing_library(error: ModuleNotFoundError) -> str | None:
    """What to say of a library that is not installed; None where the missing module is our own."""
    library = (error.name or "").split(".")[0]
    if library in ("", "fls_jax"):
        return None
    return f"{library} is not installed, and this needs it: pip install {_PACKAGES.get(library, library)}"
