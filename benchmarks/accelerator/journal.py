"""Writes results to disk as soon as they are measured, within a time limit."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from fls_jax.runs.files import write_whole


class OutOfTimeError(Exception):
    """The time of a measurement is over."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Raise OutOfTimeError in the block after some seconds; infinite: never. In the main thread.

    Python hears the signal between two of its own instructions, so a compilation comes to its end first.
    """

    def out_of_time(*_: object) -> None:
        raise OutOfTimeError(f"cut off after {seconds:.0f} s")

    if seconds == float("inf"):
        yield
        return
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Journal:
    """accelerator.json and accelerator.log in a folder.

    Args:
        out: the folder; created if missing.
        minutes: the time limit, from now on.
    """

    def __init__(self, out: Path, minutes: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out = out
        self._end = time.monotonic() + 60 * minutes
        self._log = (out / "accelerator.log").open("w")
        self.results: dict[str, Any] = {"minutes": minutes}
        self.kept = 0.0
        """Seconds before the limit that belong to later parts."""

    def left(self) -> float:
        """Seconds until the limit, or until those that are kept; negative after that."""
        return self._end - self.kept - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line in the log and on the terminal."""
        line = f"[{self.left():4.0f} s left] {text}"
        print(line, flush=True)
        print(line, file=self._log, flush=True)

    def measure(self, part: str, name: str, work: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Store the result of `work` as results[part][name], and return it.

        If less than `seconds` are left, `work` is not started; where the time ends, it is cut off, unless
        `seconds` is negative. If it raises, the error is stored instead. In these cases the return value is
        None, and earlier results are kept.
        """
        there = self.results.setdefault(part, {})
        if self.left() < seconds:
            there[name] = {"not_run": f"less than {seconds:.0f} s were left"}
            self.say(f"{part}, {name}: no time left")
            return self._write(None)
        start = time.monotonic()
        try:
            with time_limit(self.left() if seconds >= 0 else float("inf")):
                there[name] = result = work()
        except OutOfTimeError as error:
            there[name] = {"not_run": str(error)}
            self.say(f"{part}, {name}: {error}")
            return self._write(None)
        except Exception as error:  # one part that fails must not cost the others
            there[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
            self._log.write(traceback.format_exc())
            self.say(f"{part}, {name}: failed, {there[name]['error']}")
            return self._write(None)
        self.say(
            f"{part}, {name} ({time.monotonic() - start:.1f} s): {json.dumps(result, default=str)[:400]}"
        )
        return self._write(result)

    def _write(self, result: Any) -> Any:
        text = json.dumps(self.results, indent=1, default=str) + "\n"
        write_whole(self.out / "accelerator.json", text)
        return result

    def close(self) -> None:
        """Close the log."""
        self._log.close()
