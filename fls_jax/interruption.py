"""SIGINT and SIGTERM as a flag that loops look at, so that a run ends between two updates."""

from __future__ import annotations

import os
import signal
from types import FrameType


class StopFlag:
    """The first signal asks the run to stop; the second ends the process at once.

    Use as a context manager, entered before the first compilation; the handlers that stood before
    come back at the end.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> StopFlag:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os.write(2, b"\nStopped at once; the last complete checkpoint stands.\n")
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        os.write(2, b"\nStopping after this update (the same signal again stops at once) ...\n")
