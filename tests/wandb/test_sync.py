"""fls sync: run folders as W&B's own reader and a server on this machine see them afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.data.grid import Cell
from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder, open_run
from fls_jax.wandb.sync import pack, sync
from tests.experiments.folders import LAST_STEP, row, write_evaluation, write_gaze, write_run
from tests.wandb.wandb_server import WandbServer, wandb_server

KEY = "0123456789abcdef0123456789abcdef01234567"
CELL = Cell("Pong", "cnn_sparse_fls", 9)


def options(home: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Of a process in a home without W&B settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HTTP"))}
    env = kept | {"HOME": str(home), "NETRC": str(home / "netrc")} | environment
    return {"env": env, "stdin": subprocess.DEVNULL, "text": True}


def fls(*arguments: object, home: Path, **environment: str) -> subprocess.CompletedProcess:
    """`fls` in a process of its own, to its end."""
    command = [sys.executable, "-m", "fls_jax", *map(str, arguments)]
    return subprocess.run(
        command, **options(home, environment), capture_output=True, timeout=120, check=False
    )


def fls_beside(*arguments: object, home: Path, **environment: str) -> subprocess.Popen:
    """`fls` in a session of its own, beside the test."""
    command = [sys.executable, "-m", "fls_jax", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(command, **options(home, environment), **quiet)


def inspect(file: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    found = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        env=os.environ | {"HOME": str(file.parent), "WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def killed_and_resumed(path: Path) -> Path:
    """A run that was killed and resumed: a step written twice, checkpoints behind the record, a cut line."""
    write_run(path, CELL, [])
    rows = [row(1, None), row(2, 1.0), row(3, 2.0), row(3, 2.5, again=1), row(4, 3.0), row(5, 4.0)]
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in rows) + '{"update": 6, "e'
    )
    for step in (2048, 4096):
        (path / "checkpoints" / str(step)).mkdir(parents=True)
    return path


def test_everything_a_folder_holds_read_back(tmp_path):
    path = killed_and_resumed(tmp_path / "runs" / "a")
    write_evaluation(path, [3.0, 5.0])
    summary = write_gaze(path, {"model": {"nss": 1.5, "kl": None}, "uniform": {"nss": 0.5, "kl": 2.0}})
    score = {"mean": 1.0, "coverage": 0.9, "interval_frames": [0.5, 1.5]}
    none = {"mean": None, "coverage": 0.0, "interval_frames": None}
    differences = {"differences": {"uniform": {"nss": score, "kl": none}}}
    summary.write_text(json.dumps(json.loads(summary.read_text()) | differences))
    film = path / "video" / "4096.mp4"
    film.parent.mkdir()
    film.write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    before = sorted(p for p in path.rglob("*") if p.is_file())
    with wandb_server(refuses=True) as server:
        address = dict.fromkeys(("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY"), server.url)
        done = fls("sync", tmp_path / "runs", "--offline", tmp_path / "out", home=tmp_path, **address)
        assert server.calls == []
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 5
    runs = [inspect(file) for file in (tmp_path / "out").glob("wandb/offline-run-*/*.wandb")]
    by_job = {}
    for records in runs:
        (start,) = [record["run"] for record in records if record["type"] == "run"]
        by_job[start["job_type"]] = (start, records)
    assert set(by_job) == {"train", "evaluate", "gaze", "video"}
    for job, (start, _) in by_job.items():
        assert start["run_group"] == "Pong/cnn_sparse_fls"
        assert start["project"] == "fls-jax"
        assert sorted(start["tags"]) == sorted(["Pong", "cnn_sparse_fls", job])
        assert start["config"]["update"]["learning_rate"] == 2.5e-4
        assert "git" not in start  # this checkout is not the run's
    training, records = by_job["train"]
    assert training["display_name"] == "Pong-cnn_sparse_fls-seed9"
    rows = history(records)
    # One row an env_step, the last that was written, and only what no resuming takes back.
    assert [(r["_step"], r["env_step"], r.get("eprewmean")) for r in rows] == [
        (1024, 1024, None),
        (2048, 2048, 1.0),
        (3072, 3072, 2.5),
        (4096, 4096, 3.0),
    ]
    assert rows[-1]["eprewmean/Pong"] == 3.0
    linked = {job: start["config"]["update"].get("training_run") for job, (start, _) in by_job.items()}
    assert linked == {"train": None} | dict.fromkeys(("evaluate", "gaze", "video"), training["run_id"])
    evaluation, records = by_job["evaluate"]
    assert evaluation["display_name"] == f"Pong-cnn_sparse_fls-seed9-evaluate-{LAST_STEP}-standard"
    (scores,) = history(records)
    prefix = "score/Pong/aligned"
    assert (scores["env_step"], scores[f"{prefix}/mean"], scores[f"{prefix}/games"]) == (LAST_STEP, 4.0, 2)
    assert scores[f"{prefix}/low"] <= 4.0 <= scores[f"{prefix}/high"]
    (table,) = (tmp_path / "out").glob("wandb/offline-run-*/files/media/table/games/Pong*.table.json")
    content = json.loads(table.read_text())
    assert [line[content["columns"].index("return")] for line in content["data"]] == [3.0, 5.0]
    (gaze,) = history(by_job["gaze"][1])
    assert gaze["gaze/Pong/aligned-screen/nss"] == 1.5
    assert "gaze/Pong/aligned-screen/kl" not in gaze
    (table,) = (tmp_path / "out").glob("wandb/offline-run-*/files/media/table/gaze-maps/**/*.table.json")
    content = json.loads(table.read_text())
    columns = [f"{metric}{part}" for metric in ("nss", "kl") for part in ("", " coverage", " low", " high")]
    assert content["columns"] == ["map", *columns]
    assert content["data"] == [
        ["model", 1.5, 0.9, 1.4, 1.6, None, 0.0, None, None],
        ["uniform", 0.5, 0.9, 0.4, 0.6, 2.0, 0.9, 1.9, 2.1],
        ["model - uniform", 1.0, 0.9, 0.5, 1.5, None, 0.0, None, None],
    ]
    (video,) = history(by_job["video"][1])
    assert video["env_step"] == 4096
    assert video["video/Pong._type"] == "video-file"
    (copy,) = (tmp_path / "out").glob("wandb/offline-run-*/files/media/videos/**/*.mp4")
    assert copy.read_bytes() == film.read_bytes()
    # The run folder has gained its id and nothing else.
    new = sorted(p for p in path.rglob("*") if p.is_file() and p not in before)
    assert new == [path / "wandb" / "train-run-id"]
    assert new[0].read_text() == training["run_id"]


def test_online_once_and_again_without_duplicates(tmp_path):
    path = write_run(tmp_path / "a", CELL, [None, 1.0], updates=[1, 2])
    (path / "video").mkdir()
    (path / "video" / "2048.mp4").write_bytes(b"first")
    with wandb_server("file_stream") as server:
        access = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        first = fls("sync", path, home=tmp_path, **access)
        assert (first.returncode, first.stderr) == (0, "")
        training, film = server.runs.values()
        assert [line.split("  -> ")[1] for line in first.stdout.splitlines()] == [
            f"{server.url}/me/fls-jax/runs/{identity}" for identity in server.runs
        ]
        assert KEY not in first.stdout
        assert [line["env_step"] for line in training.history] == [1024, 2048]
        assert (training.variables["jobType"], film.variables["jobType"]) == ("train", "video")
        assert training.variables["commit"] is None
        assert b"first" in film.files.values()
        with (path / "metrics.jsonl").open("a") as record:
            record.writelines(json.dumps(row(update, 5.0)) + "\n" for update in (3, 4))
        (path / "video" / "4096.mp4").write_bytes(b"second")
        again = fls("sync", path, home=tmp_path, **access)
        assert (again.returncode, again.stderr) == (0, "")
        assert len(server.runs) == 3
        assert [line["env_step"] for line in training.history] == [1024, 2048, 3072, 4096]
        assert training.summary["eprewmean"] == 5.0
        assert len(film.history) == 1


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


def test_offline_again_adds_only_what_is_new(tmp_path):
    path = write_run(tmp_path / "a", CELL, [None, 1.0], updates=[1, 2])
    write_evaluation(path, [3.0, 5.0])
    out = tmp_path / "my runs"
    first = fls("sync", path, "--offline", out, home=tmp_path)
    assert f"`wandb sync '{out}/wandb'/offline-run-*`" in first.stdout
    written = sorted(out.glob("wandb/offline-run-*"))
    assert len(written) == 2
    again = fls("sync", path, "--offline", out, home=tmp_path)
    assert again.stdout.count(f"-> in {out} already") == 2
    assert sorted(out.glob("wandb/offline-run-*")) == written
    with (path / "metrics.jsonl").open("a") as record:
        record.write(json.dumps(row(3, 5.0)) + "\n")
    fls("sync", path, "--offline", out, home=tmp_path)
    (new,) = set(out.glob("wandb/offline-run-*")) - {*written}
    (file,) = new.glob("*.wandb")
    assert [line["env_step"] for line in history(inspect(file))] == [3072]


def test_offline_with_nothing_to_send_names_no_folder(tmp_path, capsys):
    write_run(tmp_path / "a", CELL, [])
    sync(tmp_path, offline=tmp_path / "out")
    assert "contain nothing to send yet" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_no_key_is_told_with_code_2(tmp_path):
    path = write_run(tmp_path / "a", CELL, [1.0])
    with wandb_server(refuses=True) as server:
        done = fls("sync", path, home=tmp_path, WANDB_BASE_URL=server.url)
        assert server.calls == []
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "There is no W&B key" in line
    assert "--offline DIR" in line


@pytest.mark.parametrize("switch", [{"WANDB_MODE": "offline"}, {}])
def test_a_refused_key_and_a_switch_are_told_with_code_2(tmp_path, switch):
    path = write_run(tmp_path / "a", CELL, [1.0])
    with wandb_server(refuses=True) as server:
        done = fls("sync", path, home=tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, **switch)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert ("switched to 'offline'" if switch else "refuses the key") in line
    assert KEY not in line


class TestDryRun:
    @pytest.fixture(autouse=True)
    def without_wandb(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)

    def test_says_what_there_is_and_writes_nothing(self, tmp_path, capsys):
        path = killed_and_resumed(tmp_path / "a")
        write_evaluation(path, [3.0, 5.0], step=4096)
        before = sorted(path.rglob("*"))
        sync(tmp_path, dry_run=True)
        assert capsys.readouterr().out.splitlines() == [
            f"{path}  train: 4 rows (1 more after the latest checkpoint, which resuming would replace)"
            "  -> not sent",
            f"{path}  evaluate-4096-standard: 10 numbers, table games-before-the-end/Pong of 2 rows"
            "  -> not sent",
        ]
        assert sorted(path.rglob("*")) == before

    def test_a_damaged_run_keeps_no_other_from_being_sent(self, tmp_path, capsys):
        write_run(tmp_path / "a", CELL, [1.0])
        (write_evaluation(write_run(tmp_path / "b", CELL, [1.0]), [1.0])).write_text("{")
        write_run(tmp_path / "c", CELL, [1.0])
        (tmp_path / "a" / "config.json").write_text('{"game": "Pong"}')
        with pytest.raises(UserError, match=r"2 of 3 runs .*/a, .*/b"):
            sync(tmp_path, dry_run=True)
        lines = capsys.readouterr().out.splitlines()
        assert "lacks network, seed" in lines[0]
        assert "not a result of an evaluation" in lines[1]
        assert lines[2].startswith(f"{tmp_path / 'c'}  train: 1 row  ->")

    @pytest.mark.parametrize("name", [".", "missing"])
    def test_no_runs(self, tmp_path, name):
        with pytest.raises(UserError, match=r"no run below|not a folder"):
            sync(tmp_path / name, dry_run=True)


class TestPack:
    def test_a_finished_run_is_sent_whole_whatever_its_checkpoints(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [1.0, 2.0])
        (path / "checkpoints" / str(LAST_STEP - 1024)).mkdir(parents=True)
        (training,) = pack(RunFolder(path), "p")
        assert isinstance(training.what, list)
        assert [each["env_step"] for each in training.what] == [LAST_STEP - 1024, LAST_STEP]
        assert training.note == ""

    def test_what_must_not_be_averaged_has_names_of_its_own(self, tmp_path):
        """A panel takes the mean of whatever is called the same."""
        path = write_run(tmp_path / "a", CELL, [1.0])
        write_evaluation(path, [1.0], step=1024)
        write_evaluation(path, [2.0])
        write_evaluation(path, [3.0], mode="greedy")
        paper = write_evaluation(path, [4.0], mode="infinite")
        paper.write_text(paper.read_text().replace('"protocol": "aligned"', '"protocol": "paper"'))
        write_gaze(path, {"model": {"nss": 1.5}}, step=1024)
        means = {}
        for parcel in pack(RunFolder(path), "p")[1:]:
            means |= {
                name: value for name, value in parcel.what.row.items() if name.endswith(("mean", "nss"))
            }
        assert means == {
            "score-before-the-end/Pong/aligned/mean": 1.0,
            "score/Pong/aligned/mean": 2.0,
            "score/Pong-greedy/aligned/mean": 3.0,
            "score/BreakoutInfinite/paper/mean": 4.0,
            "gaze-before-the-end/Pong/aligned-screen/nss": 1.5,
        }

    def test_an_imported_model_is_as_it_will_ever_be(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [], imported={"source": "model.pkl"})
        write_evaluation(path, [2.0], step=0)
        (evaluation,) = pack(RunFolder(path), "p")
        assert evaluation.what.row["score/Pong/aligned/mean"] == 2.0

    def test_films_that_differ_in_a_number_share_a_name(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [])
        (path / "video").mkdir()
        for name in ("32", "32-gaze-118", "32-gaze-7", "32-gaze-7-paper", "32-2-agents", "64-greedy"):
            (path / "video" / f"{name}.mp4").write_bytes(b"film")
        names = [name for parcel in pack(RunFolder(path), "p") for name in parcel.what.videos]
        assert sorted(names) == [
            "video/Pong", "video/Pong-agents", "video/Pong-gaze", "video/Pong-gaze", "video/Pong-gaze-paper",
            "video/Pong-greedy",
        ]  # fmt: skip

    def test_ids_follow_from_the_run_and_are_its_own(self, tmp_path):
        a = RunFolder(write_run(tmp_path / "a", CELL, [1.0], sps=100.0))
        b = RunFolder(write_run(tmp_path / "b", CELL, [1.0], sps=101.0))
        for folder in (a, b):
            write_evaluation(folder.path, [1.0])
            write_evaluation(folder.path, [1.0], mode="greedy")
        ids = [[parcel.identity.id for parcel in pack(folder, "p")] for folder in (a, b, a)]
        assert ids[0] == ids[2]
        assert len({*ids[0], *ids[1]}) == 6
        (a.path / "wandb").mkdir()
        (a.path / "wandb" / "train-run-id").write_text("of-the-trainer\n")
        assert pack(a, "p")[0].identity.id == "of-the-trainer"
        assert pack(a, "p")[1].config["training_run"] == "of-the-trainer"

    def test_a_training_that_sends_its_own_rows_is_left_to_it(self, tmp_path):
        path = write_run(tmp_path / "a", CELL, [1.0], updates=[1])
        write_evaluation(path, [1.0], step=1024)
        jobs = [parcel.identity.job_type for parcel in pack(RunFolder(path), "p")]
        assert jobs == ["train", "evaluate"]
        (path / "wandb" / "offline-run-20260101_000000-x").mkdir(parents=True)
        with open_run(path):
            assert len(pack(RunFolder(path), "p")) == 2  # at work, but offline
            (path / "wandb" / "run-20260101_000001-x").mkdir()
            assert [parcel.identity.job_type for parcel in pack(RunFolder(path), "p")] == ["evaluate"]
        assert len(pack(RunFolder(path), "p")) == 2
