"""The run folder: its lock, its configuration, and what --fresh sets aside."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder, default_run_dir, find_runs, open_run
from tests.processes import small_disk

CONFIG = TrainConfig(game="MsPacman", network="cnn", seed=9)
HOLD = """
import sys, time
from pathlib import Path
from fls_jax.runs.folder import open_run
with open_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def open_and_close(path, fresh=False):
    with open_run(path, fresh) as folder:
        return folder


def test_default_folder_follows_from_the_cell():
    assert str(default_run_dir(CONFIG)) == "runs/MsPacman/cnn/seed9"
    costly = dataclasses.replace(CONFIG, network="cnn_patch_fls", attention_cost=0.01)
    assert str(default_run_dir(costly)) == "runs/MsPacman/cnn_patch_fls-cost0.01/seed9"


def test_a_folder_is_made_with_its_parents(tmp_path):
    folder = open_and_close(tmp_path / "a" / "b" / "run")
    assert folder.path == tmp_path / "a" / "b" / "run"
    assert [p.name for p in folder.path.iterdir()] == [".lock"]
    assert folder.record_file == folder.path / "metrics.jsonl"
    assert folder.checkpoints == folder.path / "checkpoints"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_held_folder_is_refused_and_named(tmp_path, holder, fresh):
    with pytest.raises(UserError, match=f"process {holder.pid} on .*--run-dir"):
        open_and_close(tmp_path / "run", fresh)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_dead_process_holds_no_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / "run" / ".lock").read_text()
    open_and_close(tmp_path / "run")


def test_the_same_process_may_open_it_again_once_it_is_closed(tmp_path):
    with open_run(tmp_path / "run"), pytest.raises(UserError, match=f"process {os.getpid()}"):
        open_and_close(tmp_path / "run")
    open_and_close(tmp_path / "run")


def test_fresh_counts_up_and_deletes_nothing(tmp_path):
    for number in (1, 2, 3):
        with open_run(tmp_path / "run", fresh=True) as folder:
            assert [p.name for p in folder.path.iterdir()] == [".lock"]
            (folder.path / "metrics.jsonl").write_text(str(number))
            folder.write_config(CONFIG, {})
    assert (tmp_path / "run.old-1" / "metrics.jsonl").read_text() == "1"
    assert (tmp_path / "run.old-2" / "metrics.jsonl").read_text() == "2"
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "3"


def test_fresh_on_an_empty_or_missing_folder_sets_nothing_aside(tmp_path):
    open_and_close(tmp_path / "run", fresh=True)
    open_and_close(tmp_path / "run", fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_fresh_holds_the_new_folder(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").write_config(CONFIG, {})
    with open_run(tmp_path / "run", fresh=True), pytest.raises(UserError, match="Another training"):
        open_and_close(tmp_path / "run")


def test_fresh_in_the_current_folder(tmp_path, monkeypatch):
    home = tmp_path / "run"
    home.mkdir()
    (home / "metrics.jsonl").write_text("old")
    RunFolder(home).write_config(CONFIG, {})
    monkeypatch.chdir(home)
    with open_run(RunFolder(home).path.relative_to(home), fresh=True) as folder:
        (folder.path / "metrics.jsonl").write_text("new")
    assert (home / "metrics.jsonl").read_text() == "new"
    assert (tmp_path / "run.old-1" / "metrics.jsonl").read_text() == "old"


@pytest.mark.parametrize("name", ["thesis.tex", "metrics.jsonl", "checkpoints/32"])
def test_fresh_renames_no_folder_that_is_no_run(tmp_path, monkeypatch, name):
    """As with `--run-dir "$UNSET" --fresh`, which means the current folder."""
    home = tmp_path / "home"
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("mine")
    monkeypatch.chdir(home)
    with pytest.raises(
        UserError, match=f"{home} is not a run folder .*--fresh does not rename it.*--run-dir"
    ):
        open_and_close(Path(), fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert [p.name for p in home.iterdir()] == [Path(name).parts[0]]


def test_fresh_on_a_link_renames_the_folder_and_not_the_link(tmp_path):
    (tmp_path / "disk").mkdir()
    with open_run(tmp_path / "disk" / "run") as folder:
        folder.write_config(CONFIG, {})
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "run")
    open_and_close(tmp_path / "link", fresh=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "run.old-1" / "config.json").exists()
    assert [p.name for p in (tmp_path / "link").iterdir()] == [".lock"]


def test_a_link_to_nothing_is_a_sentence(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted" / "run")
    with pytest.raises(
        UserError, match=f"{tmp_path / 'link'} links to .*unmounted/run, which does not exist"
    ):
        open_and_close(tmp_path / "link")


def test_linked_folders_are_found_once_and_circles_end(tmp_path):
    for name in ("runs/a", "elsewhere/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    root = tmp_path / "runs"
    (root / "0").symlink_to(tmp_path / "elsewhere")
    (root / "a_again").symlink_to(root / "a")
    (tmp_path / "elsewhere" / "circle").symlink_to(root)
    assert find_runs(root) == [root / "0" / "b", root / "a"]
    assert find_runs(root / "a_again") == [root / "a_again"]


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=f"{path} cannot be written .*--run-dir"):
            open_and_close(path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", ["size=1m,ro", "size=1m,nr_inodes=1"])
def test_a_disk_that_takes_nothing_is_a_sentence(tmp_path, options):
    with small_disk(tmp_path, options) as disk, pytest.raises(UserError, match="cannot be written"):
        open_and_close(disk / "run")


def test_the_configuration_is_written_whole_or_not_at_all(tmp_path):
    with small_disk(tmp_path, "size=8k") as disk:
        folder = RunFolder(disk)
        folder.write_config(CONFIG, {"commit": "abc"})
        text = folder.config_file.read_text()
        with pytest.raises(OSError, match="No space"):
            folder.write_config(CONFIG, {"commit": "x" * 100_000})
        assert folder.config_file.read_text() == text
        assert json.loads(text) == CONFIG.to_json() | {"commit": "abc"}


def test_the_same_configuration_passes_and_another_is_shown(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG, {"action_names": ["NOOP"]})
    folder.check_same(CONFIG)
    folder.check_same(dataclasses.replace(CONFIG, checkpoint_every=1, keep_every=5, devices=1, env_threads=2))
    with pytest.raises(UserError, match=r"seed: 9 -> 17; gamma: 0.99 -> 0.9\): .*--fresh"):
        folder.check_same(dataclasses.replace(CONFIG, seed=17, gamma=0.9))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"num_envs": "8"}', "num_envs is '8'; it must be of type int"),
        ('{"num_envs": true}', "num_envs is True; it must be of type int"),
        ('{"gamma": null}', "gamma is None; it must be of type float"),
        ('{"overlap": 0}', "overlap is 0; it must be of type bool"),
        ('{"compute_dtype": ["float32"]}', "one of float32, bfloat16"),
        ('{"game": "Pong", "netw', "cannot be read"),
        ("[]", "not a JSON object"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_damaged_configuration_is_a_sentence(tmp_path, text, told):
    folder = RunFolder(tmp_path)
    folder.config_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"config.json.*{told}"):
        folder.check_same(CONFIG)


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(tmp_path).read_config()


def test_hidden_folders_and_those_set_aside_are_no_runs(tmp_path):
    for name in ("a", ".a.tmp1/a", "a.old-1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    assert find_runs(tmp_path) == [tmp_path / "a"]
    with pytest.raises(UserError, match="is not a folder"):
        find_runs(tmp_path / ("long" * 100))


def test_an_imported_model_is_not_trained_on(tmp_path):
    config = TrainConfig(game="Breakout")
    with open_run(tmp_path / "run") as folder:
        folder.write_config(config, {"imported": {"from": "elsewhere"}})
        with pytest.raises(UserError, match="imported model"):
            folder.check_same(config)
