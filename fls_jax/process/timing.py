"""Seconds spent in each phase of a loop."""

from __future__ import annotations

import time
from types import TracebackType


class PhaseTimer:
    """Adds up wall-clock seconds by phase: `with timer("environment"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, phase: str) -> _Block:
        """Time the block as part of `phase`."""
        return _Block(self.seconds, phase)


class _Block:
    """One timed block. It is a class because a generator is slower and a rollout has some hundred blocks."""

    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        taken = time.perf_counter() - self._start
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + taken
