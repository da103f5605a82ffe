"""Files of a Zenodo record: the listing, and downloads that resume and are checked against it.

The listing is untrusted: its names must be plain file names, its links http or https, and every file must
have a size and an MD5 sum (Zenodo's REST API: https://developers.zenodo.org).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fls_jax.errors import UserError

_CHUNK = 1 << 18
_MAX_LISTING_BYTES = 1 << 25
_LONGEST_WAIT = 60.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class RemoteFile:
    """One file of a record: its name, size in bytes, MD5 sum in hexadecimal and address."""

    name: str
    size: int
    md5: str
    url: str


@dataclass(frozen=True)
class Zenodo:
    """A Zenodo server.

    Args:
        base_url: its address.
        attempts: how often a request is repeated without progress before giving up.
        timeout: seconds without a byte after which a connection counts as lost.
        backoff: seconds before the second attempt; doubled for each further one, up to a minute.
    """

    base_url: str = "https://zenodo.org"
    attempts: int = 6
    timeout: float = 30.0
    backoff: float = 1.0

    def list_files(self, record: str) -> list[RemoteFile]:
        """The files of a record.

        Raises:
            UserError: the server cannot be reached, or its answer is not the listing of a record.
        """
        url = f"{self.base_url.rstrip('/')}/api/records/{record}"

        def attempt() -> bytes:
            with _open(url, {"Accept": "application/json"}, self.timeout) as response:
                text = _read(response, _MAX_LISTING_BYTES)
                if response.length:
                    raise _PassingError(f"the connection ended with {response.length:,} bytes to come")
                return text

        answer = self._persist(attempt, lambda: 0, f"the listing {url}")
        try:
            return [_remote_file(entry, url) for entry in json.loads(answer)["files"]]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{url} did not answer with the listing of a Zenodo record: {error}") from error

    def fetch(
        self, file: RemoteFile, path: Path, advance: Callable[[int], object] = lambda size: None
    ) -> None:
        """Download `file` to `path`, continuing ``<path>.part`` if it exists; atomic at the end.

        `advance` is called with the number of bytes available, whenever that changes.

        Raises:
            UserError: every attempt failed or gave a wrong checksum, or the disk cannot be written.
        """
        part = path.with_name(f"{path.name}.part")

        def there() -> int:
            return part.stat().st_size if part.exists() else 0

        def attempt() -> bytes:
            _fetch_rest(file, part, there(), self.timeout, advance)
            if (md5 := md5_of(part)) != file.md5:
                part.unlink()
                raise _PassingError(f"its MD5 sum is {md5}, the listing says {file.md5}")
            return b""

        self._persist(attempt, there, file.name)
        part.replace(path)

    def _persist(self, attempt: Callable[[], bytes], there: Callable[[], int], what: str) -> bytes:
        """Call `attempt` until it succeeds, or has failed too often without `there` growing."""
        failures, furthest = 0, there()
        while True:
            try:
                return attempt()
            except _PassingError as error:
                failures = 0 if there() > furthest else failures + 1
                furthest = max(furthest, there())
                if failures >= self.attempts:
                    rest = f"the same command resumes after the {there():,} bytes" if there() else "try later"
                    raise UserError(
                        f"{what}: no progress in {failures} attempts ({error}); {rest}"
                    ) from error
                time.sleep(min(error.wait or self.backoff * 2 ** max(failures - 1, 0), _LONGEST_WAIT))


class _PassingError(Exception):
    """A failure that may not occur again; `wait`: the delay that the server asks for, in seconds."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.wait = wait


class _RangeRefusedError(_PassingError):
    """The server has no bytes after the end of the partial file."""


class _TooLongError(Exception):
    """The server sent more bytes than the listing gives."""


def md5_of(path: Path) -> str:
    """MD5 sum of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _remote_file(entry: dict[str, Any], listing: str) -> RemoteFile:
    name, size, checksum, links = entry["key"], entry["size"], entry["checksum"], entry["links"]
    if not isinstance(name, str) or not _is_plain(name):
        raise UserError(
            f"{listing} names a file {name!r}, which is not a plain file name: nothing was downloaded"
        )
    md5 = re.fullmatch(r"(?:md5:)?([0-9a-f]{32})", str(checksum).lower())
    if md5 is None or not isinstance(size, int) or size < 0:
        raise ValueError(f"{name} has the size {size!r} and the checksum {checksum!r}")
    # InvenioRDM's own form has `self` for the metadata and `content` for the bytes; Zenodo's has only `self`.
    link = links.get("content") or links.get("download") or links["self"]
    url = urllib.parse.urljoin(listing, link)
    if not _is_web(url):
        raise UserError(f"{listing} gives {url!r} as the address of {name}: only http and https are followed")
    return RemoteFile(name, size, md5[1], url)


def _is_web(url: str) -> bool:
    try:
        return urllib.parse.urlsplit(url).scheme in ("http", "https")
    except ValueError:  # not an address
        return False


def _is_plain(name: str) -> bool:
    same = name != "" and name == PurePosixPath(name).name == PureWindowsPath(name).name
    return same and name.isprintable() and not name.startswith(".") and len(name.encode()) <= 200


def _open(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    if not _is_web(url):
        raise UserError(f"{url!r} is not an http or https address")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "fls-jax", **headers})
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"{url} answers {error.code} {error.reason}"
            if error.code == 416:
                raise _RangeRefusedError(reason) from error
            if error.code in _PASSING:
                wait = error.headers.get("Retry-After", "")
                raise _PassingError(reason, float(wait) if wait.isdecimal() else 0.0) from error
        raise UserError(reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(getattr(error, "reason", None) or error) from error


def _fetch_rest(
    file: RemoteFile, part: Path, start: int, timeout: float, advance: Callable[[int], object]
) -> None:
    """Append the missing bytes to `part` in one connection. If the server ignores Range, start again."""
    if start > file.size:
        part.unlink()
        start = 0
    if start == file.size and part.exists():
        return
    try:
        with _open(file.url, {"Range": f"bytes={start}-"} if start else {}, timeout) as response:
            start = _accepted_start(response, start)
            with part.open("ab" if start else "wb") as out:
                _copy(response, out.write, file.size, start, advance)
    except _RangeRefusedError:
        part.unlink(missing_ok=True)
        raise
    except _TooLongError:
        part.unlink(missing_ok=True)
        raise _PassingError(f"the server sends more than the {file.size:,} bytes of the listing") from None
    except OSError as error:
        raise UserError(f"{part} cannot be written: {error.strerror}") from error


def _accepted_start(response: http.client.HTTPResponse, start: int) -> int:
    """The offset of the response's body: `start` if the server accepted the Range, else zero."""
    if response.status != 206:
        return 0
    offered = re.match(r"bytes ([0-9]+)-", response.headers.get("Content-Range", ""))
    if offered is None or int(offered[1]) != start:
        raise _RangeRefusedError("the server sent another part than was asked for")
    return start


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(f"the connection broke: {error}") from error


def _copy(
    response: http.client.HTTPResponse,
    write: Callable[[bytes], object],
    size: int,
    there: int,
    advance: Callable[[int], object],
) -> None:
    while True:
        data = _read(response, _CHUNK)
        if not data:
            break
        there += len(data)
        if there > size:
            raise _TooLongError
        write(data)
        advance(there)
    if there < size:
        raise _PassingError(f"the connection ended after {there:,} of {size:,} bytes")
