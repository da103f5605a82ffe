"""SIGINT and SIGTERM as a flag that loops look at, so that a job ends between two steps of its work."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """The first signal asks the job to stop; the second ends the process at once.

    after, kept: what is told then: what is still finished, and what a second signal leaves.

    Use as a context manager in the main thread, entered before the first compilation; the handlers
    that stood before come back at the end.

    Python runs signal handlers only between two of its own instructions, so a compilation would hold
    them back. The interpreter also writes each signal's number to a pipe, without that delay, and a
    thread reads it there. Each of the two ways counts for itself.
    """

    def __init__(self, after: str = "this update", kept: str = "the last complete checkpoint stands") -> None:
        self._first = f"\nStopping after {after} (a second signal stops at once) ...\n".encode()
        self._second = f"\nStopped at once; {kept}.\n".encode()
        self.signal: signal.Signals | None = None
        self._handled = 0

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> StopFlag:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        self._fd_before = signal.set_wakeup_fd(self._writer)
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._writer)  # ends the thread
        self._thread.join()
        os.close(self._reader)

    def _watch(self) -> None:
        seen = 0
        while number := os.read(self._reader, 1):
            if number[0] in _SIGNALS:
                seen += 1
                self._received(signal.Signals(number[0]), seen)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._handled += 1
        self._received(signal.Signals(number), self._handled)

    def _received(self, number: signal.Signals, times: int) -> None:
        if times > 1 and self.signal is not None:
            os.write(2, self._second)
            os._exit(128 + self.signal)  # as a shell names the signal that asked
        if self.signal is None:
            self.signal = number
            os.write(2, self._first)
