"""fls sync: run folders as W&B's own reader and a server on this machine see them afterwards."""

from __future__ import annotations

import json

import pytest

from fls_jax.wandb.sync import sync
from tests.experiments.folders import LAST_STEP, row, write_evaluation, write_gaze, write_run
from tests.wandb.syncing import CELL, KEY, fls, history, inspect, killed_and_resumed
from tests.wandb.wandb_server import wandb_server


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
