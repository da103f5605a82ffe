"""A W&B server on this machine that knows as much as a test wants it to, and remembers who called."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.wandb.artifacts import ArtifactStore

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
    "GetDefaultEntity": {"viewer": {"id": "u1", "entity": "me"}},
    "GetProjects": {
        "models": {
            "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
            "edges": [],
        }
    },
    "RunResumeStatus": {"model": None},
    "ServerFeaturesQuery": {"serverInfo": {"features": []}},
}


@dataclass
class StoredRun:
    """A run as W&B keeps it: the arguments of its start, lines of its history, summary, files by name."""

    variables: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class WandbServer(ThreadingHTTPServer):
    """Answers the GraphQL operations in `answered`; leaves the rest waiting, or refuses every key.

    With `file_stream` among the answered it also takes histories and files, resumes runs, and keeps views.

    refused: uploads to addresses with any of these in them are answered with 403.
    calls: (operation or path, its variables), in the order of arrival. runs: by id. views: workspaces and
    reports, the variables of each by id.
    """

    daemon_threads = True

    def __init__(self, answered: tuple[str, ...], refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answered, self.refuses = answered, refuses
        self.calls: list[tuple[str, Any]] = []
        self.runs: dict[str, StoredRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.refused: tuple[str, ...] = ()
        self.over = threading.Event()
        self.answers = {
            "UpsertBucket": self.start,
            "RunResumeStatus": self.resume,
            "CreateRunFiles": self.upload_addresses,
            "Run": self.describe,
            "RunFiles": self.list_files,
            "upsertView": self.keep_view,
            "UpsertView2": self.keep_view,
        }
        self.artifacts = ArtifactStore(f"{self.url}/artifacts")
        self.answers |= self.artifacts.answers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to UpsertBucket."""
        run = self.runs.setdefault(variables["name"], StoredRun(variables))
        bucket = _BUCKET | {"name": variables["name"], "historyLineCount": len(run.history)}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def resume(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to RunResumeStatus."""
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": None}
        bucket = _BUCKET | {
            "name": variables["name"],
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
            "eventsTail": "[]",
            "tags": [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {
            "model": {"id": "p1", "name": "fls-jax", "entity": {"id": "e1", "name": "me"}, "bucket": bucket}
        }

    def stream(self, run: StoredRun, files: dict[str, Any]) -> None:
        """Take what a run sends to its file_stream."""
        history = files.get("wandb-history.jsonl")
        if history:
            run.history[history["offset"] :] = [json.loads(line) for line in history["content"]]
        if "wandb-summary.json" in files:
            run.summary = json.loads(files["wandb-summary.json"]["content"][-1])

    def describe(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to Run, the public interface's question for a run."""
        run = self.runs[variables["name"]]
        about = {"id": "b1", "name": variables["name"], "projectId": 1, "state": "finished"}
        about |= {"config": "{}", "systemMetrics": "{}", "summaryMetrics": json.dumps(run.summary)}
        return {"project": {"run": about}}

    def list_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to RunFiles: of the files named, those that are here."""
        files = self.runs[variables["name"]].files
        edges = [
            {"cursor": name, "node": {"id": name, "name": name, "sizeBytes": len(files[name])}}
            for name in variables["fileNames"]
            if name in files
        ]
        page = {"endCursor": None, "hasNextPage": False}
        found = {"fileCount": len(files), "files": {"edges": edges, "pageInfo": page}}
        return {"project": {"internalId": 1, "run": found}}

    def keep_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to upsertView."""
        identity = variables.get("id") or f"view{len(self.views) + 1}"
        self.views[identity] = variables
        project = {"id": "p1", "name": variables["projectName"], "entityName": variables["entityName"]}
        names = ("name", "displayName", "description", "type", "spec")
        view = {"id": identity, "project": project, **{name: variables[name] for name in names}}
        return {"upsertView": {"view": view, "inserted": True}}

    def upload_addresses(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to CreateRunFiles."""
        home = f"{self.url}/upload/{variables['run']}"
        files = [{"name": name, "uploadUrl": f"{home}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "b1", "uploadHeaders": [], "files": files}}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        server = self.server
        assert isinstance(server, WandbServer)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request = json.loads(body) if self.path == "/graphql" else {}
        named = re.match(r"(?:\s|#.*\n)*(?:query|mutation)\s+(\w+)", request.get("query", ""))
        operation = request.get("operationName") or (named[1] if named else self.path)
        variables = request.get("variables") or {}
        server.calls.append((operation, variables))
        streaming = "file_stream" in server.answered
        if server.refuses:
            self.reply(401, {"errors": [{"message": "no such key"}]})
        elif streaming and self.path.endswith("/file_stream"):
            server.stream(server.runs[self.path.split("/")[-2]], json.loads(body).get("files", {}))
            self.reply(200, {})
        elif any(part in self.path for part in server.refused):
            self.reply(403, {})
        elif streaming and self.path.startswith("/upload/"):
            _, _, run, name = self.path.split("/", 3)
            server.runs[run].files[name] = body
            self.reply(200, {})
        elif streaming and self.path.startswith("/artifacts/"):
            server.artifacts.take(self.path.removeprefix("/artifacts/"), body)
            self.reply(200, {})
        elif streaming and operation in server.answers:
            self.reply(200, {"data": server.answers[operation](variables)})
        elif operation == "UpsertBucket" and operation in server.answered:
            self.reply(200, {"data": server.start(variables)})
        elif operation in server.answered or (streaming and operation in _ANSWERS):
            self.reply(200, {"data": _ANSWERS[operation]})
        elif streaming:
            self.reply(200, {"data": {}})
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
