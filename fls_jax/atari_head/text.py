"""Text files of the data set, also as re-saved by other programs: encodings, separators, quotes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEPARATORS = ",;\t"


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins with these bytes: UTF-8, or UTF-16 with or without its mark."""
    if start[:2] in _BOMS:
        return _BOMS[start[:2]]
    if start[:1] == b"\0":
        return "utf-16-be"
    return "utf-16-le" if start[1:2] == b"\0" else "utf-8-sig"


def from_header(lines: Iterable[str]) -> Iterator[str]:
    """The lines from the first non-blank one on."""
    lines = iter(lines)
    for line in lines:
        if line.strip("\ufeff \t\r\n,;"):
            yield line
            yield from lines


def separator_of(header: str) -> str:
    """The separator of a header's columns: the most frequent of comma, semicolon and tab."""
    return max(_SEPARATORS, key=header.count)
