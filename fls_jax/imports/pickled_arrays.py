"""Arrays from a joblib dump, without unpickling it.

A pickle is a program, so that loading an untrusted one runs its code. This module interprets only the
instructions for numbers, text, containers and NumPy arrays, and refuses all others. No name in the file is
imported or called: the few known names have a fixed meaning here.
"""

from __future__ import annotations

import bz2
import io
import lzma
import math
import pickletools
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 2**30

_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_NAMES = {
    "numpy dtype": "dtype",
    "numpy ndarray": "ndarray",
    "joblib.numpy_pickle NumpyArrayWrapper": "wrapper",
    "collections OrderedDict": "ordered dict",
    "_codecs encode": "bytes",  # how protocol 2 spells them ...
    "__builtin__ bytes": "no bytes",  # ... and none of them
} | {
    f"numpy.{core}.multiarray {function}": meaning
    for core in ("core", "_core")  # before and since NumPy 2
    for function, meaning in [("_reconstruct", "array"), ("scalar", "scalar")]
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MALFORMED = (ValueError, TypeError, LookupError, EOFError, OverflowError, RecursionError, struct.error)


class UnsafePickleError(ValueError):
    """The file asks for something that is not plain data; the message names it."""


@dataclass(frozen=True)
class _Name:
    """A global name in the file, with one of the meanings in _NAMES."""

    meaning: str


@dataclass
class _Dtype:
    dtype: np.dtype


@dataclass
class _Array:
    """An array, or a placeholder until its state has been read."""

    meaning: str
    value: np.ndarray | None = None


_MARK = object()


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a joblib dump of a dict, by their keys, read-only; other entries are left out.

    The dump may be compressed with zlib, gzip, bz2, lzma or xz, and has at most 1 GiB unpacked. Raises
    UnsafePickleError if the file holds anything but numbers, text, containers and arrays of numbers,
    ValueError if it is damaged or of another format, OSError if it cannot be read.
    """
    stream = io.BytesIO(_unpacked(path))
    try:
        content = _Reader(stream).read()
    except UnsafePickleError:
        raise
    except _MALFORMED as error:
        raise ValueError(f"it is damaged or not a joblib dump ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict of arrays")
    return {
        key: item.value
        for key, item in content.items()
        if isinstance(key, str) and isinstance(item, _Array) and item.value is not None
    }


def _unpacked(path: Path) -> bytes:
    """The file's bytes, decompressed. Raises ValueError beyond MAX_BYTES or for an unknown format."""
    limit = MAX_BYTES + 1
    with path.open("rb") as file:
        data = file.read(limit)
    try:
        if data.startswith((b"\x1f\x8b", b"x")):
            data = zlib.decompressobj(wbits=zlib.MAX_WBITS + 32).decompress(data, limit)  # gzip or zlib
        elif data.startswith(b"BZh"):
            data = bz2.BZ2Decompressor().decompress(data, limit)
        elif data.startswith((b"\xfd7zXZ", b"]\x00")):
            data = lzma.LZMADecompressor().decompress(data, limit)
        elif data.startswith(b"\x04\x22\x4d\x18"):
            raise ValueError("it is compressed with lz4: decompress it first")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"it cannot be decompressed ({error})") from error
    if len(data) > MAX_BYTES:
        raise ValueError("it is larger than 1 GiB unpacked")
    return data


class _Reader:
    """Executes the data instructions of one pickle, with joblib's raw arrays between them."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0  # counts bytes that are not in the file, because one text can be encoded many times

    def read(self) -> Any:
        """The object that the pickle describes, with arrays as _Array."""
        for opcode, argument, _ in pickletools.genops(self.stream):
            if opcode.name == "STOP":
                break
            self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            instruction = getattr(self, f"do_{name.lower()}", None)
            if instruction is None:
                raise UnsafePickleError(f"it uses the pickle instruction {name}, which no array needs")
            instruction(argument)

    def do_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.since_mark()))

    def do_list(self, _: Any) -> None:
        self.stack.append(self.since_mark())

    def do_dict(self, _: Any) -> None:
        self.stack.append(_pairs(self.since_mark()))

    def do_append(self, _: Any) -> None:
        item = self.stack.pop()
        self.top(list).append(item)

    def do_appends(self, _: Any) -> None:
        items = self.since_mark()
        self.top(list).extend(items)

    def do_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.top(dict).update(_pairs([key, value]))

    def do_setitems(self, _: Any) -> None:
        items = self.since_mark()
        self.top(dict).update(_pairs(items))

    def do_global(self, argument: str) -> None:
        if argument not in _NAMES:
            named = argument.replace(" ", ".")[:80]
            raise UnsafePickleError(f"it asks for {named!r}, which is not plain array data")
        self.stack.append(_Name(_NAMES[argument]))

    def do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.do_global(f"{module} {name}")

    def do_newobj(self, _: Any) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if name != _Name("wrapper") or arguments != ():
            raise UnsafePickleError("it makes an object that is not an array")
        self.stack.append(_Array("wrapper"))

    def do_reduce(self, _: Any) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        match name, arguments:
            case _Name("dtype"), (str(code), *_):
                self.stack.append(_Dtype(_dtype(code)))
            case _Name("array"), (_Name("ndarray"), *_):
                self.stack.append(_Array("array"))
            case _Name("scalar"), (_Dtype(dtype), bytes(raw)):
                self.stack.append(_Array("scalar", np.frombuffer(raw, dtype, count=1).reshape(()).copy()))
            case _Name("ordered dict"), ():
                self.stack.append({})
            case _Name("no bytes"), ():
                self.stack.append(b"")
            case _Name("bytes"), (str(text), "latin1"):
                self.encoded += len(text)
                if self.encoded > MAX_BYTES:
                    raise ValueError("it is larger than 1 GiB unpacked")
                self.stack.append(text.encode("latin1"))
            case _:
                raise UnsafePickleError("it makes a call that no array needs")

    def do_build(self, _: Any) -> None:
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Dtype() as item, (int(), str(order), None, None, None, *_):
                item.dtype = item.dtype.newbyteorder(_byte_order(order))
            case _Array("array") as item, (int(), tuple(shape), _Dtype(dtype), bool(fortran), bytes(raw)):
                item.value = _shaped(raw, dtype, shape, "F" if fortran else "C")
            case _Array("wrapper") as item, dict():
                item.value = self.raw_array(state)
            case _:
                raise UnsafePickleError("it sets the state of something that is not an array")

    def raw_array(self, state: dict[str, Any]) -> np.ndarray:
        """The bytes that follow joblib's array wrapper in the file, as an array."""
        match state:
            case {"shape": tuple(shape), "order": ("C" | "F") as order, "dtype": _Dtype(dtype)}:
                pass
            case _:
                raise UnsafePickleError("it has an array wrapper that does not describe an array")
        if state.get("numpy_array_alignment_bytes") is not None:  # since joblib 1.2
            self.stream.read(self.stream.read(1)[0])
        left = len(self.stream.getbuffer()) - self.stream.tell()
        size = _count(shape) * dtype.itemsize
        if size > left:
            raise ValueError(f"an array needs {size} bytes and {left} are left")
        return _shaped(self.stream.read(size), dtype, shape, order)

    def since_mark(self) -> list[Any]:
        """Pops everything above the last mark, and the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise UnsafePickleError(f"it fills something that is not a {kind.__name__}")
        return self.stack[-1]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, str | bytes | int) for key in items[::2]):
        raise UnsafePickleError("it has a dict whose keys are not names")
    return dict(zip(items[::2], items[1::2], strict=True))


def _dtype(code: str) -> np.dtype:
    if not _DTYPE.fullmatch(code):
        raise UnsafePickleError(
            f"it holds an array of dtype {code[:40]!r}; only numbers are read, no objects"
        )
    return np.dtype(code)


def _byte_order(order: str) -> Any:
    if order not in ("<", ">", "=", "|"):
        raise ValueError("an array's byte order is invalid")
    return order


def _count(shape: tuple[Any, ...]) -> int:
    if len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array's shape is invalid")
    return math.prod(shape)


def _shaped(raw: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(raw, dtype, count=_count(shape)).reshape(shape, order=order)
