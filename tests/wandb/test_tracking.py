"""The record on disk, and W&B as its own reader and a server on this machine see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fls_jax.errors import UserError
from fls_jax.runs.record import Record, pack, packed, read_record
from fls_jax.wandb import live
from fls_jax.wandb.live import WandbRun
from tests.processes import small_disk
from tests.wandb.wandb_server import wandb_server

KEY = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "game": "Pong",
    "network": "cnn",
    "seed": 9,
    "learning_rate": 2.5e-4,
    "action_names": ["NOOP", "FIRE"],
}


def row(update: int, **more: Any) -> dict[str, Any]:
    return {"update": update, "env_step": 1024 * update, "eprewmean": None, **more}


class TestRecord:
    def test_a_row_is_on_disk_at_once(self, tmp_path):
        file = tmp_path / "metrics.jsonl"
        record = Record(file)
        for update in (1, 2):
            record.write(row(update))
            seen = subprocess.run(["cat", file], capture_output=True, check=True).stdout
            assert [json.loads(line)["update"] for line in seen.splitlines()] == [1, 2][:update]
            assert seen.endswith(b"\n")
        record.close()
        assert read_record(file) == [row(1), row(2)]

    def test_what_is_no_number_is_null(self, tmp_path):
        record = Record(tmp_path / "metrics.jsonl")
        record.write(row(1, loss=float("nan"), high=float("inf"), low=-float("inf"), fine=0.5))
        record.close()
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
        values = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert values == row(1, loss=None, high=None, low=None, fine=0.5)

    @pytest.mark.parametrize(
        "cut", ['{"update": 4, "env_st', '{"update": 4, "env_step": 4096', "\0\0\0", "\xff"]
    )
    def test_reopening_drops_what_no_checkpoint_holds(self, tmp_path, cut):
        file = tmp_path / "metrics.jsonl"
        lines = "".join(json.dumps(row(update)) + "\n" for update in (1, 2, 3))
        file.write_bytes((lines + cut).encode("latin-1"))
        assert read_record(file) == [row(1), row(2), row(3)]
        record = Record(file, last_step=2048)
        assert read_record(file) == [row(1), row(2)]
        record.write(row(3, again=True))
        record.close()
        assert read_record(file) == [row(1), row(2), row(3, again=True)]
        assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]

    @pytest.mark.parametrize("damage", ["nonsense", "[1, 2]", "17", '{"update": 2}', '{"env_step": "2048"}'])
    def test_damage_in_the_middle_is_told_and_left_alone(self, tmp_path, damage):
        file = tmp_path / "metrics.jsonl"
        text = f"{json.dumps(row(1))}\n{damage}\n{json.dumps(row(3))}\n"
        file.write_text(text)
        with pytest.raises(UserError, match="line 2"):
            Record(file, last_step=4096)
        assert file.read_text() == text

    def test_an_unwritable_record_is_told(self, tmp_path):
        with pytest.raises(UserError, match="cannot be written"):
            Record(tmp_path / "missing" / "metrics.jsonl")
        (tmp_path / "metrics.jsonl").mkdir()
        with pytest.raises(UserError, match="cannot be read"):
            Record(tmp_path / "metrics.jsonl")

    def test_a_full_disk_is_told_and_keeps_what_was_written(self, tmp_path):
        with small_disk(tmp_path, "size=16k") as disk:
            record = Record(disk / "metrics.jsonl")

            def fill() -> None:
                for update in range(1, 1000):
                    record.write(row(update))

            with pytest.raises(UserError, match=r"No space left.*free space"):
                fill()
            record.close()
            kept = read_record(disk / "metrics.jsonl")
            assert len(kept) > 50
            assert kept == [row(update) for update in range(1, len(kept) + 1)]


SCRIPT = f"""
import sys
from pathlib import Path
from fls_jax.wandb.live import WandbRun
from fls_jax.wandb import service

service.START_SECONDS, service.FINISH_SECONDS = 3.0, 3.0
run = WandbRun(Path(sys.argv[1]), {CONFIG!r}, "train", sys.argv[2], "fls-jax")
if run.failure:
    print(run.failure)
for update in range(1, 4):
    score = None if update == 1 else -20.5
    run.log({{"update": update, "env_step": 1024 * update, "eprewmean": score, "sps": 99.0}})
run.finish()
"""


def track(
    folder: Path, mode: str = "auto", script: str = SCRIPT, **environment: str
) -> subprocess.CompletedProcess:
    """SCRIPT in a process of its own, in a home without W&B settings; what it printed as text."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HTTP"))}
    return subprocess.run(
        [sys.executable, "-c", script, str(folder), mode],
        env=kept | {"HOME": str(home), "NETRC": str(home / "netrc")} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def inspect(folder: Path) -> list[dict[str, Any]]:
    """The records of the only W&B run in a folder, by W&B's own reader."""
    (file,) = folder.glob("wandb/*run-*/*.wandb")
    found = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        env=os.environ | {"HOME": str(folder), "WANDB_ERROR_REPORTING": "false"},
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def check_content(records: list[dict[str, Any]]) -> None:
    """The run that SCRIPT logs, whole."""
    by_type = {record["type"]: record[record["type"]] for record in records}
    run = by_type["run"]
    config = run["config"]["update"]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert run["run_group"] == "Pong/cnn"
    assert run["job_type"] == "train"
    assert run["project"] == "fls-jax"
    assert run["display_name"] == "Pong-cnn-seed9"
    assert sorted(run["tags"]) == ["Pong", "cnn", "train"]
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert any(m.get("glob_name") == "*" and m.get("step_metric") == "env_step" for m in metrics)
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [(r["update"], r["env_step"], r["sps"]) for r in rows] == [(u, 1024 * u, 99.0) for u in (1, 2, 3)]
    assert [r.get("eprewmean") for r in rows] == [None, -20.5, -20.5]
    assert [r.get("eprewmean/Pong") for r in rows] == [None, -20.5, -20.5]
    assert [r["_step"] for r in rows] == [1024, 2048, 3072]
    assert by_type["exit"]["exit_code"] == 0


class TestWandb:
    def test_without_a_key_offline_silent_and_without_network(self, tmp_path):
        folder = tmp_path / "run"
        with wandb_server(refuses=True) as server:
            ended = track(folder, WANDB_BASE_URL=server.url, HTTPS_PROXY=server.url, HTTP_PROXY=server.url)
            assert server.calls == []
        assert (ended.stdout, ended.stderr) == ("", "")
        check_content(inspect(folder))

    def test_a_resumed_run_keeps_its_id(self, tmp_path):
        folder = tmp_path / "run"
        for _ in range(2):
            track(folder, mode="offline")
            time.sleep(1.1)  # W&B names folders by the second
        names = [path.name for path in folder.glob("wandb/offline-run-*")]
        identity = (folder / "wandb" / "train-run-id").read_text()
        assert len(names) == 2
        assert all(name.endswith(f"-{identity}") for name in names)

    def test_a_refused_key_means_offline_and_is_said_once(self, tmp_path):
        folder = tmp_path / "run"
        with wandb_server(refuses=True) as server:
            ended = track(folder, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
            assert [operation for operation, _ in server.calls] == ["Viewer"]
        assert ended.stderr == ""
        (line,) = ended.stdout.splitlines()
        assert "recorded offline" in line
        assert f"`fls sync {folder}` sends it" in line
        assert KEY not in line
        check_content(inspect(folder))

    def test_a_malformed_key_means_offline(self, tmp_path):
        ended = track(tmp_path / "run", WANDB_API_KEY="abc")
        assert len(ended.stdout.splitlines()) == 1
        assert "recorded offline" in ended.stdout
        assert ended.stderr == ""

    def test_a_server_silent_after_the_login_means_offline_soon(self, tmp_path):
        folder = tmp_path / "run"
        with wandb_server("Viewer") as server:
            start = time.monotonic()
            ended = track(folder, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
            assert time.monotonic() - start < 40
        assert "recorded offline" in ended.stdout
        assert ended.stderr == ""
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1

    def test_online_where_a_key_works_and_a_lost_network_ends_nothing(self, tmp_path):
        folder = tmp_path / "run"
        with wandb_server("Viewer", "RunResumeStatus", "ServerFeaturesQuery", "UpsertBucket") as server:
            ended = track(folder, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
            (first, *_) = [variables for operation, variables in server.calls if operation == "UpsertBucket"]
        assert first["groupName"] == "Pong/cnn"
        assert first["jobType"] == "train"
        assert sorted(first["tags"]) == ["Pong", "cnn", "train"]
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        assert line.startswith("fls: W&B has not received the whole run")
        (sent,) = folder.glob("wandb/run-*")
        assert f"wandb sync --include-online {sent}" in line

    @pytest.mark.parametrize("switch", [{"WANDB_MODE": "disabled"}, {"WANDB_MODE": "offline"}])
    def test_wandbs_own_switches_are_heeded(self, tmp_path, switch):
        with wandb_server("Viewer") as server:
            ended = track(tmp_path / "run", WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, **switch)
            assert server.calls == []
        assert (ended.stdout, ended.stderr) == ("", "")
        runs = list((tmp_path / "run").glob("wandb/offline-run-*"))
        assert len(runs) == (switch["WANDB_MODE"] == "offline")

    def test_a_folder_that_cannot_be_written_ends_nothing(self, tmp_path):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "wandb").write_text("in the way")
        ended = track(folder)
        (line,) = ended.stdout.splitlines()
        assert line.startswith("W&B failed and is off for this run")
        assert "File exists" in line
        assert ended.stderr == ""

    def test_off_does_not_even_import_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "wandb", None)
        run = WandbRun(tmp_path, CONFIG, "train", "off", "fls-jax")
        run.log(row(1))
        run.finish()
        assert run.failure is None
        assert list(tmp_path.iterdir()) == []

    def test_a_broken_installation_ends_nothing(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setitem(sys.modules, "wandb", None)
        run = WandbRun(tmp_path, CONFIG, "train", "auto", "fls-jax")
        run.log(row(1))
        run.finish()
        assert run.failure is not None
        assert run.failure.startswith("W&B failed and is off for this run")
        assert capfd.readouterr() == ("", "")

    def test_a_failure_on_the_way_is_said_once_and_ends_nothing(self, tmp_path, monkeypatch, capfd):
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("the service has died\nat length")

        logged: list[dict[str, Any]] = []
        fake_run = SimpleNamespace(
            log=lambda row, **_: logged.append(row), define_metric=lambda *_, **__: None, finish=fail
        )
        fake = SimpleNamespace(
            setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode="online")),
            login=lambda prompt: False,
            init=lambda **_: fake_run,
            Settings=SimpleNamespace,
        )
        monkeypatch.setitem(sys.modules, "wandb", fake)
        run = WandbRun(tmp_path, CONFIG, "train", "auto", "fls-jax")
        run.log(row(1))
        fake_run.log = fail
        for update in (2, 3):
            run.log(row(update))
        run.finish()
        assert logged == [{"update": 1, "env_step": 1024}]
        out, err = capfd.readouterr()
        assert out == ""
        assert err.splitlines() == [
            "fls: W&B failed and is off for this run (the service has died); metrics.jsonl has everything."
        ]


class TestCatchUp:
    """An online run is sent what earlier sessions have recorded offline."""

    @pytest.mark.parametrize(("has", "sent"), [(0, [1024, 2048, 3072]), (2049, [3072]), (3073, [])])
    def test_rows_that_an_online_run_lacks(self, tmp_path, monkeypatch, has, sent):
        logged: list[int] = []
        fake_run = SimpleNamespace(
            offline=False, step=has, log=lambda values, **_: logged.append(values["env_step"])
        )
        monkeypatch.setattr(live, "_start", lambda *_: (fake_run, None))
        run = WandbRun(tmp_path, CONFIG, "train", "auto", "fls-jax")
        run.catch_up([row(1), row(2), row(3)])
        assert logged == sent
        fake_run.offline = True
        run.catch_up([row(1), row(2), row(3)])
        assert logged == sent

    def test_through_wandb_itself(self, tmp_path):
        folder = tmp_path / "run"
        script = SCRIPT.replace(
            "for update in range(1, 4)",
            "run.catch_up([{'env_step': 1024, 'sps': 98.0}])\nfor update in range(2, 4)",
        )
        with wandb_server("file_stream") as server:
            for _ in range(2):
                ended = track(folder, script=script, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
                assert (ended.stdout, ended.stderr) == ("", "")
            (stored,) = server.runs.values()
        assert [(line["env_step"], line["sps"]) for line in stored.history] == [
            (1024, 98.0), (2048, 99.0), (3072, 99.0),
        ]  # fmt: skip


def test_a_packed_record_is_read_where_the_plain_one_is_not(tmp_path, monkeypatch):
    plain = tmp_path / "metrics.jsonl"
    rows = [{"env_step": n, "loss": n / 3} for n in range(5)]
    plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pack(plain, packed(plain))
    before = packed(plain).read_bytes()
    pack(plain, packed(plain))
    assert packed(plain).read_bytes() == before
    plain.unlink()
    assert read_record(plain) == rows
    monkeypatch.setattr("fls_jax.runs.record._MOST_BYTES", 10)
    with pytest.raises(UserError, match="unpacks to more than 10 bytes"):
        read_record(plain)
    packed(plain).write_bytes(before[:-9])
    monkeypatch.undo()
    with pytest.raises(UserError, match="cannot be read"):
        read_record(plain)
