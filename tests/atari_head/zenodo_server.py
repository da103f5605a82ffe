"""A real HTTP server that answers like Zenodo, and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeZenodo:
    """Files of one record, and how their next answers go wrong.

    Attributes:
        files: bytes by name.
        listing, raw_listing: answered in place of the true listing.
        drops: for a file or the record, after how many bytes of the body each coming answer breaks off.
        corrupt: how many coming answers for a file have a wrong byte.
        statuses: for a path's last part, status codes (with headers) that come before a proper answer.
        ignore_range: answer every request with the whole file.
        shift_range: answer with a part that begins elsewhere than was asked for.
        surplus: bytes appended to every file beyond the listing's size.
        requests: (last part of the path, Range header) of each request.
    """

    def __init__(self, files: dict[str, bytes], record: str) -> None:
        self.files = files
        self.record = record
        self.listing: dict | None = None
        self.raw_listing = b""
        self.drops: dict[str, list[int]] = {}
        self.corrupt: Counter[str] = Counter()
        self.statuses: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.ignore_range = False
        self.shift_range = 0
        self.surplus = b""
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""

    def record_json(self) -> dict:
        """The form of https://zenodo.org/api/records/<id>."""
        if self.listing is not None:
            return self.listing
        base = f"{self.url}/api/records/{self.record}/files"
        return {
            "id": int(self.record),
            "metadata": {"license": {"id": "cc-by-4.0"}},
            "files": [
                {
                    "id": f"0-{name}",
                    "key": name,
                    "size": len(data),
                    "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                    "links": {"self": f"{base}/{urllib.parse.quote(name)}/content"},
                }
                for name, data in self.files.items()
            ],
        }

    def requested(self, name: str) -> list[str | None]:
        """The Range headers of the requests for a file, in order."""
        return [header for requested, header in self.requests if requested == name]


class _Handler(BaseHTTPRequestHandler):
    fake: FakeZenodo
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fake = self.fake
        parts = urllib.parse.unquote(self.path).split("/")
        name = parts[-2] if parts[-1] == "content" else parts[-1]
        fake.requests.append((name, self.headers.get("Range")))
        if fake.statuses.get(name):
            status, headers = fake.statuses[name].pop(0)
            return self._answer(status, b"sorry", headers)
        if name == fake.record:
            return self._answer(200, fake.raw_listing or json.dumps(fake.record_json()).encode(), {}, name)
        if name not in fake.files:
            return self._answer(404, b"")
        data = fake.files[name] + fake.surplus
        if fake.corrupt[name]:
            fake.corrupt[name] -= 1
            data = data[:5] + bytes([data[5] ^ 1]) + data[6:]
        start = 0
        asked = self.headers.get("Range")
        if asked and not fake.ignore_range:
            start = int(asked.removeprefix("bytes=").rstrip("-")) + fake.shift_range
            if start >= len(data):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return self._answer(206, data[start:], headers, name)
        return self._answer(200, data, {}, name)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        drops = self.fake.drops.get(name)
        if drops:
            body = body[: drops.pop(0)]
            self.close_connection = True
        with suppress(ConnectionError):  # the client may have heard enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(files: dict[str, bytes], record: str) -> Generator[FakeZenodo]:
    fake = FakeZenodo(files, record)
    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
