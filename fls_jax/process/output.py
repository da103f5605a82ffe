"""What a process prints, where nobody may be left to read it: the display ends then, not the job."""

from __future__ import annotations

import errno
import io
import os
import select
import sys

_READER_LEFT = (errno.EPIPE, errno.EIO)  # a closed pipe, a terminal that is gone


class LastingStream(io.RawIOBase):
    """A file descriptor that takes everything: what can no longer be written is dropped.

    lost: why something was dropped (a full disk); None as long as nothing was, or only because the reader
        left.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor, self._open = descriptor, True
        self.lost: str | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal that is still there."""
        return self._open and os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        """Write, or drop, all of `data`; returns its length in bytes."""
        left = memoryview(data).cast("B")  # ty: ignore[invalid-argument-type]
        size = len(left)
        while self._open and len(left):
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process has made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno in _READER_LEFT:
                    self._open = False
                else:
                    self.lost = error.strerror
                break
        return size


def outlast_readers() -> None:
    """Make this process's standard output and error such streams, which also write whatever text there is.

    Descriptors 0 to 2 that are closed become the null device, so that no file of a job takes their place.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(null)
    for name in ("stdout", "stderr"):
        before = getattr(sys, name)
        if type(before) is not io.TextIOWrapper:  # closed, or a test's or a notebook's own
            continue
        before.flush()
        stream = LastingStream(before.fileno())
        # Names in other people's archives need not be text that this terminal can show.
        text = io.TextIOWrapper(
            io.BufferedWriter(stream),
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=before.line_buffering,
        )
        setattr(sys, name, text)


def lost_output() -> str | None:
    """Why something that was printed is not where it should be; None where all is, or nobody reads it."""
    for text in (sys.stdout, sys.stderr):
        stream = getattr(getattr(text, "buffer", None), "raw", None)
        if isinstance(stream, LastingStream):
            text.flush()
            if stream.lost:
                return stream.lost
    return None
