"""Standard output that may lose its reader: then the display ends, and the job continues."""

from __future__ import annotations

import errno
import io
import os
import select
import sys

_READER_LEFT = (errno.EPIPE, errno.EIO)  # a closed pipe, a closed terminal


class LastingStream(io.RawIOBase):
    """A file descriptor to which every write succeeds: output that cannot be written is dropped.

    lost: why output was dropped (a full disk). None if nothing was dropped, or only because the reader has
        closed the pipe.
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
        """Whether it is a terminal that still exists."""
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
    """Turn this process's standard output and error into such streams, which also accept any text.

    Closed descriptors 0 to 2 become the null device, so that no file of a job gets one of these numbers.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(null)
    for name in ("stdout", "stderr"):
        before = getattr(sys, name)
        if type(before) is not io.TextIOWrapper:  # closed, or replaced by a test or a notebook
            continue
        before.flush()
        stream = LastingStream(before.fileno())
        # This terminal may not be able to show all names in archives.
        text = io.TextIOWrapper(
            io.BufferedWriter(stream),
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=before.line_buffering,
        )
        setattr(sys, name, text)


def lost_output() -> str | None:
    """Why printed output was lost; None if none was, or if its reader has closed the pipe."""
    for text in (sys.stdout, sys.stderr):
        stream = getattr(getattr(text, "buffer", None), "raw", None)
        if isinstance(stream, LastingStream):
            text.flush()
            if stream.lost:
                return stream.lost
    return None
