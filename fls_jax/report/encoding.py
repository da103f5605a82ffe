"""Encodes arrays in the report's JSON: packed numbers, and lossless pictures over time.

Measured on 30 s of Pong and of MsPacman at 210x160 (docs/report.md): differences of palette indices,
deflated, are smaller than H.264 at the quality of our films, exact, and any frame can be shown at once.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

BLOCK = 64
"""Pictures that are decoded together."""
_LEVEL = 9
_KEPT_BITS = 12  # of a float32's mantissa: four significant digits, nearly


def plain(value: Any) -> Any:
    """Convert a value for JSON: NaN and infinity become null, NumPy scalars become Python numbers."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def packed(array: Any, dtype: str = "float32") -> dict[str, Any]:
    """An array as base64 of zlib of little-endian numbers in row-major order. dtype: float32, int32 or uint8.

    A float keeps 12 of its 24 significant bits (a relative error of at most 2^-12), which deflates better.
    """
    array = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    if array.dtype.kind == "f":
        array = _rounded(array)
    return {"shape": list(array.shape), "dtype": dtype, "data": _deflated(array.tobytes())}


def unpacked(record: dict[str, Any]) -> np.ndarray:
    """The inverse of `packed`, except for rounding."""
    data = zlib.decompress(base64.b64decode(record["data"]))
    return np.frombuffer(data, np.dtype(record["dtype"]).newbyteorder("<")).reshape(record["shape"])


def pictures(values: np.ndarray) -> dict[str, Any]:
    """Encode pictures uint8 or uint16 [T, ...] in blocks; each but the first as XOR with the previous one."""
    data = [_block(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)]
    return {"shape": list(values.shape), "dtype": values.dtype.name, "block": BLOCK, "data": data}


def unpacked_pictures(record: dict[str, Any]) -> np.ndarray:
    """The inverse of `pictures`."""
    dtype, parts = np.dtype(record["dtype"]).newbyteorder("<"), []
    for data in record["data"]:
        block = np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype)
        block = block.reshape(-1, *record["shape"][1:])
        parts.append(np.bitwise_xor.accumulate(block, axis=0))
    return np.concatenate(parts)


def screens(steps: int, screen: Callable[[int], np.ndarray]) -> tuple[dict[str, Any], list[list[int]] | None]:
    """Encode colour screens as indices [T, H, W] and a palette [[r, g, b], ...].

    screen: the picture uint8 [H, W, 3] of a step. A clip with more than 256 colours is stored without
    palette, as [T, H, W, 3].
    """
    colours = _palette(_codes(screen(t)) for t in range(steps))
    if colours is None:
        return _in_blocks(steps, screen), None
    record = _in_blocks(steps, lambda t: np.searchsorted(colours, _codes(screen(t))).astype(np.uint8))
    return record, [[int(c) >> 16, int(c) >> 8 & 255, int(c) & 255] for c in colours]


def _in_blocks(steps: int, picture: Callable[[int], np.ndarray]) -> dict[str, Any]:
    """`pictures` of a clip, with only one block in memory at a time."""
    spans = [range(start, min(start + BLOCK, steps)) for start in range(0, steps, BLOCK)]
    data = [_block(np.stack([picture(t) for t in span])) for span in spans]
    return {"shape": [steps, *picture(0).shape], "dtype": "uint8", "block": BLOCK, "data": data}


def _palette(frames: Iterable[np.ndarray]) -> np.ndarray | None:
    """The colours of a clip, sorted; None if there are more than 256."""
    colours = np.empty(0, np.uint32)
    for codes in frames:
        colours = np.union1d(colours, codes)
        if len(colours) > 256:
            return None
    return colours


def _codes(picture: np.ndarray) -> np.ndarray:
    red, green, blue = (picture[..., c].astype(np.uint32) for c in range(3))
    return red << 16 | green << 8 | blue


def quantised(maps: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Quantise maps float [T, h, w] to whole numbers between their lowest and highest value, (low, high).

    Small maps get 16 bits, so that small changes over time are kept; large maps get 8.
    Raises ValueError for values that are not finite.
    """
    low, high = float(maps.min()), float(maps.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("Maps must be finite.")
    dtype = np.uint16 if maps[0].size <= 512 else np.uint8
    share = (maps - low) / (high - low) if high > low else np.zeros_like(maps)
    return np.round(share * np.iinfo(dtype).max).astype(dtype), low, high


def _rounded(array: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2**_KEPT_BITS) / 2**_KEPT_BITS, exponent).astype(array.dtype)


def _block(values: np.ndarray) -> str:
    differences = values.copy()
    differences[1:] ^= values[:-1]
    return _deflated(differences.astype(values.dtype.newbyteorder("<")).tobytes())


def _deflated(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, _LEVEL)).decode()


def ragged(groups: Sequence[np.ndarray]) -> dict[str, Any]:
    """Encode points float [k_t, 2] of T steps: offsets int32 [T + 1] into float32 [sum of k_t, 2]."""
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    points = np.concatenate([np.zeros((0, 2)), *groups])
    return {"offsets": packed(offsets, "int32"), "points": packed(points)}
