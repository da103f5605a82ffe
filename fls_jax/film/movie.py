"""Writes frames to an MP4 file that every browser plays. No other module imports av."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from fls_jax.errors import UserError
from fls_jax.runs.files import part_of

_BT709: dict[str, Any] = {
    "colorspace": Colorspace.ITU709,
    "color_primaries": ColorPrimaries.BT709,
    "color_trc": ColorTrc.BT709,
    "color_range": ColorRange.MPEG,
}
# Constant quality; for flat, sharp pictures `veryfast` is as good as slower presets.
_ENCODER = {"preset": "veryfast", "crf": "18", "tune": "animation"}


class Movie:
    """An MP4 file written frame by frame: H.264, yuv420p, BT.709, index in front (`faststart`).

    A context manager. Frames are written to `<path>.part`, which is renamed to `path` at the end of the
    block, or removed if the block fails: `path` is always either a whole movie or unchanged.

    Args:
        path: the file; its folder is created if missing, an existing file is replaced at the end.
        fps: frames per second, a whole number.

    Raises UserError if the file cannot be written.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self.path, self._fps = Path(path), fps
        self._place = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Movie:
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self._place.enter_context(part_of(self.path))
            self._container = av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise self._unwritten(error) from error
        return self

    def add(self, frame: np.ndarray) -> None:
        """Add a frame: uint8 RGB [H, W, 3], H and W even and the same for all frames.

        Raises ValueError for anything else.
        """
        if (
            frame.dtype != np.uint8
            or frame.ndim != 3
            or frame.shape[2] != 3
            or any(n % 2 for n in frame.shape[:2])
        ):
            raise ValueError(
                "A frame must be uint8 [H, W, 3] with even H and W; "
                f"this is {frame.dtype} {list(frame.shape)}."
            )
        if self._stream is None:
            self._open_stream(*frame.shape[:2])
        size = self._stream.height, self._stream.width
        if frame.shape[:2] != size:
            raise ValueError(
                f"All frames must be {size[0]}x{size[1]}; this is {frame.shape[0]}x{frame.shape[1]}."
            )
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = self._reformatter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        self._write(picture)

    def _open_stream(self, height: int, width: int) -> None:
        self._stream = self._container.add_stream("libx264", rate=self._fps, options=_ENCODER)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        for name, value in _BT709.items():
            setattr(self._stream.codec_context, name, value)

    def _write(self, picture: Any) -> None:
        """Encode a picture; None flushes the encoder."""
        try:
            self._container.mux(self._stream.encode(picture))
        except OSError as error:
            raise self._unwritten(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                with self._place:
                    self._finish()
            except OSError as unwritten:
                raise self._unwritten(unwritten) from unwritten
        else:
            with contextlib.suppress(OSError):
                self._container.close()
            self._place.__exit__(kind, error, trace)

    def _finish(self) -> None:
        try:
            if self._stream is None:
                raise ValueError(f"{self.path} would be a movie without frames.")
            self._write(None)
            self._container.close()
        finally:
            with contextlib.suppress(OSError):
                self._container.close()

    def _unwritten(self, error: OSError) -> UserError:
        todo = "free some space" if error.errno == errno.ENOSPC else "choose another file"
        return UserError(f"{self.path} cannot be written ({error.strerror}): {todo} and run it again.")
