"""Seconds spent in each phase of a loop."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class PhaseTimer:
    """Adds up wall-clock seconds by phase: `with timer("environment"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Generator[None]:
        """Time the block as part of `phase`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
