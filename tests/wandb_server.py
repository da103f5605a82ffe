"""A W&B server on this machine that knows as much as a test wants it to, and remembers who called."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_VIEWER = {
    "id": "u1",
    "entity": "me",
    "username": "me",
    "email": "",
    "flags": "{}",
    "teams": {"edges": []},
}
_BUCKET = {
    "id": "b1",
    "displayName": "run",
    "description": "",
    "config": "{}",
    "sweepName": None,
    "historyLineCount": 0,
    "project": {"id": "p1", "name": "fls-jax", "entity": {"id": "e1", "name": "me"}},
}
_ANSWERS: dict[str, Any] = {
    "Viewer": {"viewer": _VIEWER},
    "RunResumeStatus": {"model": None},
    "ServerFeaturesQuery": {"serverInfo": {"features": []}},
}


class WandbServer(ThreadingHTTPServer):
    """Answers the GraphQL operations in `answered`; leaves the rest waiting, or refuses every key.

    calls: (operation or path, its variables), in the order of arrival.
    """

    daemon_threads = True

    def __init__(self, answered: tuple[str, ...], refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answered, self.refuses = answered, refuses
        self.calls: list[tuple[str, Any]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        server = self.server
        assert isinstance(server, WandbServer)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = json.loads(body) if self.path == "/graphql" else {}
        operation, variables = request.get("operationName", self.path), request.get("variables") or {}
        server.calls.append((operation, variables))
        if server.refuses:
            self.reply(401, {"errors": [{"message": "no such key"}]})
        elif operation == "UpsertBucket" and operation in server.answered:
            bucket = _BUCKET | {"name": variables["name"]}
            self.reply(200, {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}})
        elif operation in server.answered:
            self.reply(200, {"data": _ANSWERS[operation]})
        else:
            server.over.wait()

    def reply(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def wandb_server(*answered: str, refuses: bool = False) -> Generator[WandbServer]:
    """A server in a thread, until the end of the block."""
    server = WandbServer(answered, refuses)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
