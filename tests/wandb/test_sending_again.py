"""What W&B refused, or was sent when the process was killed, is sent again by the same command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.experiments.folders import write_evaluation, write_run
from tests.wandb.syncing import CELL, KEY, fls, fls_beside
from tests.wandb.wandb_server import WandbServer, wandb_server


def film_of(path: Path) -> bytes:
    """A film in a run folder, and what W&B must have of it."""
    (path / "video").mkdir()
    (path / "video" / "2048.mp4").write_bytes(b"a film")
    return b"a film"


def games_of(path: Path) -> bytes:
    """An evaluation in a run folder, and what W&B must have of its table: here, a column."""
    write_evaluation(path, [3.0, 5.0])
    return b'"return"'


def has(server: WandbServer, content: bytes, table: bool) -> bool:
    """Whether a server has a film or a table in full: of a table the artifact too, which pages read."""
    (run,) = server.runs.values()
    file = any(content in file for name, file in run.files.items() if name.startswith("media/"))
    stored = server.artifacts.kept.values()
    whole = any(kept.committed and content in b"".join(kept.files.values()) for kept in stored)
    return file and (whole or not table)


CONTENTS = pytest.mark.parametrize("write", [film_of, games_of])


@CONTENTS
def test_what_was_refused_is_sent_again(tmp_path, write):
    path = write_run(tmp_path / "a", CELL, [])
    content, table = write(path), write is games_of
    with wandb_server("file_stream") as server:
        access = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.refused = ("/media/", "/artifacts/")
        refused = fls("sync", path, home=tmp_path, **access)
        assert refused.returncode == 2
        assert (
            f"W&B has not taken media/{'table/games' if table else 'videos/video'}/Pong_0_" in refused.stdout
        )
        assert not has(server, content, table)
        server.refused = ()
        again = fls("sync", path, home=tmp_path, **access)
        assert (again.returncode, again.stderr) == (0, "")
        assert has(server, content, table)
        (sent,) = server.runs.values()
        assert sent.summary["digest"]  # which had been there since the first time


def test_a_table_whose_artifact_alone_was_refused_is_sent_again_and_then_no_more(tmp_path):
    path = write_run(tmp_path / "a", CELL, [])
    content = games_of(path)
    with wandb_server("file_stream") as server:
        access = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.refused = ("/artifacts/",)
        refused = fls("sync", path, home=tmp_path, **access)
        assert refused.returncode == 2
        assert "W&B has not taken table games/Pong of the evaluate run" in refused.stdout
        server.refused = ()
        assert fls("sync", path, home=tmp_path, **access).returncode == 0
        assert has(server, content, table=True)
        (sent,) = server.runs.values()
        rows = len(sent.history)
        assert fls("sync", path, home=tmp_path, **access).returncode == 0
        assert len(sent.history) == rows


@CONTENTS
def test_what_was_under_way_when_it_was_killed_is_sent_again(tmp_path, write):
    path = write_run(tmp_path / "a", CELL, [])
    content, table = write(path), write is games_of
    with wandb_server("file_stream") as server:
        access = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.refused = ("/media/", "/artifacts/")
        with fls_beside("sync", path, home=tmp_path, **access) as process:
            deadline = time.monotonic() + 60
            while not any(run.summary.get("digest") for run in server.runs.values()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
        assert not has(server, content, table)
        server.refused = ()
        again = fls("sync", path, home=tmp_path, **access)
        assert (again.returncode, again.stderr) == (0, "")
        assert has(server, content, table)
