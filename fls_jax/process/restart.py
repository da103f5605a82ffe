"""Starts this process again, for settings that Python and its libraries read only at their start."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn


def restart(environment: Mapping[str, str]) -> NoReturn:
    """Run the same command in the same process, with another environment. Call this before any work."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(environment))
