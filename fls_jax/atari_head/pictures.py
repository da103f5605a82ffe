"""Decodes pictures of Atari-HEAD and converts them to planes of an agent's observation."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

SCREEN = (210, 160)
"""Height and width of the native screen."""
INPUT = (84, 84)
"""Height and width of an agent's observation."""
_START = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + b"IHDR"
"""Signature and first chunk of every PNG."""


def decode_png(data: bytes) -> np.ndarray:
    """Decode one picture, uint8 [210, 160, 3] RGB.

    The checksum of every chunk and the size are checked before anything is decompressed.

    Raises:
        ValueError: the picture is truncated, damaged, or of another size.
    """
    if not data.startswith(_START):
        raise ValueError("not a PNG")
    width, height = struct.unpack(">II", data[len(_START) : len(_START) + 8].ljust(8, b"\0"))
    if (height, width) != SCREEN:
        raise ValueError(f"{width}x{height} and not 160x210")
    position, kind = 8, b""
    while kind != b"IEND":
        header = data[position : position + 8]
        if len(header) < 8:
            raise ValueError("truncated")
        length, kind = struct.unpack(">I4s", header)
        body = data[position + 4 : position + 8 + length]
        if position > 8 and kind == b"IHDR":
            raise ValueError("damaged")
        position += 12 + length
        if position > len(data):
            raise ValueError("truncated")
        if zlib.crc32(body) != int.from_bytes(data[position - 4 : position]):
            raise ValueError("damaged")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError("damaged") from error
    if picture is None or picture.shape != (*SCREEN, 3):
        raise ValueError("damaged")
    return picture


def preprocess(pictures: list[np.ndarray], *, colour_first: bool) -> np.ndarray:
    """One plane of an observation, uint8 [84, 84], from one or two pictures uint8 [210, 160, 3] RGB.

    The maximum is taken before conversion to grey (`colour_first`, OpenAI Baselines) or after it (EnvPool).
    Conversion and resizing are OpenCV's RGB2GRAY and INTER_AREA.
    """
    if colour_first:
        pictures = [np.maximum(pictures[0], pictures[-1])]
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    plane = np.maximum(grey[0], grey[-1])
    return cv2.resize(plane, INPUT[::-1], interpolation=cv2.INTER_AREA)
