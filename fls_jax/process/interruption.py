"""Signals set a flag that loops check, so that a job stops between two steps of its work."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

ALWAYS = (signal.SIGINT, signal.SIGTERM)
UNLESS_TAKEN = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals of a lost terminal and of schedulers. One that is already ignored (nohup) or handled stays so."""
AS_ONE_SECONDS = 2.0
"""Signals within this time after the first one count as the same request.

`timeout` signals its child and then the group, Ctrl-C reaches make and Python, and schedulers repeat signals.
"""


class StopFlag:
    """The first signal asks the job to stop; a signal two seconds later or more ends the process.

    after, kept: parts of the messages: the work that is finished first; what an immediate end leaves.

    Use it as a context manager in the main thread, entered before the first compilation. The previous
    handlers are restored at the end, or two seconds after the first signal.

    Python runs signal handlers only between two of its own instructions, so a compilation delays them. The
    interpreter also writes each signal's number to a pipe, without that delay. A thread reads the pipe, and
    measures the time between signals.
    """

    def __init__(self, after: str = "this update", kept: str = "the last checkpoint is kept") -> None:
        again = f"another signal after {AS_ONE_SECONDS:g} seconds or more stops it at once"
        self._first = f"\nStopping after {after} ({again}) ...\n".encode()
        self._second = f"\nStopped at once; {kept}.\n".encode()
        self.signal: signal.Signals | None = None
        self._asked = itertools.count()  # next() is atomic, and the handler may interrupt itself
        self._since = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> StopFlag:
        self._before: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        self._fd_before = signal.set_wakeup_fd(self._writer)
        for number in (*ALWAYS, *filter(_is_free, UNLESS_TAKEN)):
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        late = self and not self._is_over()
        for number, handler in self._before.items():
            signal.signal(number, self._handle_late if late else handler)
        if late:
            atexit.register(self._ignore_late)
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._writer)  # ends the thread
        self._thread.join()
        os.close(self._reader)

    def _watch(self) -> None:
        while number := os.read(self._reader, 1):
            if number[0] not in self._before:
                continue
            self._ask(signal.Signals(number[0]))
            if self.signal is not None and self._is_over():
                _say(self._second)
                os._exit(128 + self.signal)  # the exit code that shells use for a signal

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._ask(signal.Signals(number))

    def _handle_late(self, number: int, _: FrameType | None) -> None:
        """After the block: ignore the rest of the first request; handle later signals as before."""
        if self._is_over():
            signal.signal(number, self._before[number])
            signal.raise_signal(number)

    def _ignore_late(self) -> None:
        """At the end of the process, which removes Python's handlers some time before it exits."""
        if not self._is_over():
            for number in self._before:
                signal.signal(number, signal.SIG_IGN)

    def _is_over(self) -> bool:
        """Whether a signal now counts as a second request."""
        return time.monotonic() - self._since >= AS_ONE_SECONDS

    def _ask(self, number: signal.Signals) -> None:
        if next(self._asked) == 0:
            self._since = time.monotonic()
            self.signal = number
            _say(self._first)


def _is_free(number: signal.Signals) -> bool:
    handler = signal.getsignal(number)
    return handler == signal.SIG_DFL or getattr(handler, "__func__", None) is StopFlag._handle_late


def _say(text: bytes) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, text)
