"""The driver of the peer benchmark: reports, ratios, tables, the order of the runs, the environment."""

from __future__ import annotations

import io
import json
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import bench_peers
from benchmarks import contenders as trainers
from benchmarks.bench_peers import main, measure, write_record
from benchmarks.contenders import Contender, Settings, contenders, run
from benchmarks.peer_results import (
    OURS,
    Report,
    Track,
    conclusions,
    markdown,
    parse_report,
    ratio,
    summarise,
    table,
)
from benchmarks.peers.install import ensure_environment
from fls_jax.errors import UserError


def parse(output: str) -> Report:
    """Of a trainer that was to time two updates of cnn."""
    return parse_report(output, network="cnn", updates=2, steps_per_update=1024)


def line(**changes: object) -> str:
    """The last line of a well-behaved trainer, with changes."""
    values = {
        "peer": "x",
        "network": "cnn",
        "seconds_per_update": [4.0, 6.0],
        "steps_per_update": 1024,
        "allocator": "default",
        "versions": {"torch": "2.13.0+cpu"},
    }
    return json.dumps(values | changes)


def track(name: str, speeds: list[float | None], network: str = "cnn", *, yardstick: bool = False) -> Track:
    """A trainer that ran at these speeds: one update of 1000 steps a round."""
    reports = [None if speed is None else Report(network, (1000 / speed,), 1000, {}) for speed in speeds]
    return Track(name, network, yardstick, reports=reports)


def test_report_is_the_last_line_and_speed_is_over_all_updates():
    report = parse(f"{{not json}}\nchatter\n{line()}\n")
    assert report.seconds_per_update == (4.0, 6.0)
    assert report.versions == {"torch": "2.13.0+cpu"}
    assert report.steps_per_second == pytest.approx(2 * 1024 / 10)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "does not end with a JSON line"),
        (line() + "\ndone", "does not end with a JSON line, but with done"),
        ("[1, 2]", "does not end with a JSON line"),
        (json.dumps({"network": "cnn"}), "lacks 'seconds_per_update'"),
        (line(seconds_per_update="fast"), "wrong kind"),
        (line(seconds_per_update=None), "wrong kind"),
        (line(versions=3), "wrong kind"),
        (line(seconds_per_update=[4.0, 0.0]), "not all positive"),
        (line(seconds_per_update=[4.0, math.nan]), "not all positive"),
        (line(seconds_per_update=[4.0]), "other work"),
        (line(steps_per_update=512), "other work"),
        (line(network="cnn_sparse_fls"), "other work"),
        (line(allocator="tuned"), "other work"),
    ],
)
def test_report_that_cannot_be_trusted_is_refused(output: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        parse(output)


def test_ratio_is_to_the_fastest_of_the_same_round():
    ours = track(OURS, [300, 320, 200])
    against = ratio(ours, [track("a", [100, 200, 100]), track("b", [150, 100, 80])])
    assert against.per_round == pytest.approx((2.0, 1.6, 2.0))
    assert against.median == pytest.approx(2.0)


def test_ratio_leaves_out_rounds_where_one_is_missing():
    against = ratio(track(OURS, [300, 320, None]), [track("a", [100, 200, 100]), track("b", [None, 100, 80])])
    assert against.per_round == (None, pytest.approx(1.6), None)
    assert against.median == pytest.approx(1.6)
    assert ratio(track(OURS, [None]), [track("a", [1.0])]).median is None


@pytest.fixture
def tracks() -> list[Track]:
    failed = track("sbx", [None, None])
    failed.failure = "exit code 1: no module [x]"
    return [
        track(OURS, [300, 330]),
        track("pytorch", [200, 150], yardstick=True),
        track("stable-baselines3", [100, 200], yardstick=True),
        track("pytorch channels_last", [400, 300]),
        failed,
        track(OURS, [150, 150], "cnn_sparse_fls"),
        track("pytorch", [120, 125], "cnn_sparse_fls", yardstick=True),
    ]


def test_summary_compares_with_the_yardsticks_only(tracks: list[Track]):
    summary = summarise(tracks, target=1.5)
    cnn, attention = (summary["targets"][name]["default"] for name in ("cnn", "cnn_sparse_fls"))
    assert cnn["yardsticks"] == ["pytorch", "stable-baselines3"]
    assert cnn["per_round"] == pytest.approx([1.5, 1.65])
    assert cnn["median"] == pytest.approx(1.575)
    assert cnn["reached"] is True
    assert attention["median"] == pytest.approx((150 / 120 + 150 / 125) / 2)
    assert attention["reached"] is False
    assert summary["networks"]["cnn"]["cost"] == pytest.approx(1.0)
    assert summary["networks"]["cnn_sparse_fls"]["cost"] == pytest.approx(2.1)
    by_name = {(row["name"], row["network"]): row for row in summary["trainers"]}
    assert by_name["pytorch channels_last", "cnn"]["ours_over_it"] == pytest.approx((0.75 + 1.1) / 2)
    assert by_name["sbx", "cnn"]["median_steps_per_second"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_ours_is_compared_with_peers_of_the_same_allocator():
    tracks = [track(OURS, [300.0]), track("pytorch", [200.0], yardstick=True)]
    tuned = [track(OURS, [400.0]), track("pytorch", [400.0], yardstick=True)]
    for each in tuned:
        each.allocator = "tuned"
    summary = summarise([*tracks, *tuned], target=1.5)
    assert {name: goal["median"] for name, goal in summary["targets"]["cnn"].items()} == {
        "default": 1.5,
        "tuned": 1.0,
    }
    assert [row["ours_over_it"] for row in summary["trainers"]] == [1.0, 1.5, 1.0, 1.0]
    assert [sentence.split(":")[0] for sentence in conclusions(summary)] == ["cnn, default", "cnn, tuned"]


def test_summary_without_ours_has_speeds_but_no_targets():
    summary = summarise([track("pytorch", [100.0], yardstick=True)], target=1.5)
    assert summary["targets"] == {}
    assert summary["trainers"][0]["ours_over_it"] is None
    assert conclusions(summary) == []


def test_table_and_sentences(tracks: list[Track]):
    summary = summarise(tracks, target=1.5)
    output = io.StringIO()
    Console(file=output, width=160).print(table(summary))
    printed = output.getvalue()
    rows = markdown(summary).splitlines()
    assert len(rows) == 2 + len(tracks)
    assert rows[2].startswith("| cnn | ours | default | 315 | 300 to 330 | - |")
    assert rows[3].startswith("| cnn | pytorch | default | 175 | 150 to 200 | 1.85 |")
    assert "failed: exit code 1: no module [x]" in rows[6]
    assert "failed: exit code 1: no module [x]" in printed
    assert "300 to 330" in printed
    sentences = conclusions(summary)
    assert sentences[0].startswith("cnn, default: 1.57 times the faster of pytorch and stable-baselines3")
    assert "reached" in sentences[0]
    assert "cnn_sparse_fls, default: 1.23 times pytorch (target 1.5: missed)" in sentences[1]
    assert "2.10 times as long as cnn" in sentences[2]


def test_every_round_runs_everyone_starting_with_another():
    entries = [Contender(Track(name, "cnn"), name) for name in "abc"]
    order: list[str] = []
    seen: list[tuple[int, str]] = []

    def run_one(entry: Contender) -> Report:
        order.append(entry.command)
        if entry.command == "b":
            raise ValueError("broken")
        return Report("cnn", (1.0,), 100 + len(order), {})

    measure(entries, 3, run_one, lambda number, entry: seen.append((number, entry.command)))
    assert order == ["a", "b", "c", "c", "a", "c", "a"], "b failed once and is not tried again"
    assert [name for _, name in seen] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert entries[1].track.failure == "broken"
    assert entries[1].track.reports == [None, None, None]
    assert entries[2].track.steps_per_second == [103, 104, 106]


def test_commands_are_filled_in():
    settings = Settings(
        game="Breakout",
        num_envs=4,
        updates=3,
        warmup_updates=2,
        ours_command="run {network} {game}",
        allocators=("tuned",),
    )
    entries = contenders(settings)
    assert [(entry.track.name, entry.track.network) for entry in entries if entry.track.yardstick] == [
        ("pytorch", "cnn"),
        ("stable-baselines3", "cnn"),
        ("pytorch", "cnn_sparse_fls"),
    ]
    assert [entry.command for entry in entries if entry.track.name == OURS] == [
        "run cnn Breakout",
        "run cnn_sparse_fls Breakout",
    ]
    layout = next(entry for entry in entries if entry.track.name == "pytorch channels_last")
    arguments = shlex.split(layout.command)
    assert arguments[1:3] == ["-m", "benchmarks.peers.pytorch_ppo"]
    assert arguments[3:] == shlex.split(
        "--game Breakout --network cnn --num-envs 4 --updates 3 --warmup-updates 2 --channels-last"
    )


def test_every_peer_that_is_run_has_its_script():
    scripts = {shlex.split(entry.command)[2] for entry in contenders(Settings())} - {"benchmarks.end_to_end"}
    assert len(scripts) == 3
    for script in scripts:
        assert (trainers.ROOT / f"{script.replace('.', '/')}.py").is_file()


def test_unknown_name_in_the_command_is_the_users_mistake():
    with pytest.raises(UserError, match="speed"):
        contenders(Settings(ours_command="run {speed}"))


def python(source: str) -> str:
    return shlex.join([sys.executable, "-c", source])


def test_running_a_trainer():
    settings = Settings(updates=2, timeout=20)
    report = run(python(f"import sys; print('hello', file=sys.stderr); print({line()!r})"), settings, "cnn")
    assert report.steps_per_second == pytest.approx(204.8)
    with pytest.raises(ValueError, match="exit code 3: out of luck"):
        run(python("import sys; print('out of luck', file=sys.stderr); sys.exit(3)"), settings, "cnn")
    with pytest.raises(ValueError, match=r"longer than 0\.2 s"):
        run(python("import time; time.sleep(20)"), replace(settings, timeout=0.2), "cnn")
    with pytest.raises(ValueError, match="cannot be started"):
        run("/no/such/program", settings, "cnn")


@pytest.mark.parametrize("allocator", ["tuned", "default"])
def test_ours_and_peers_run_under_the_memory_settings_asked_for(allocator, monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    source = (
        "import json, os; from fls_jax.process.allocator import SETTINGS, restart_with_settings; "
        "restart_with_settings(); "
        f"found = [{{n: os.environ.get(n) for n in SETTINGS}}, json.loads({line(allocator=allocator)!r})]; "
        "wanted = SETTINGS if found[1]['allocator'] == 'tuned' else dict.fromkeys(SETTINGS); "
        "assert found[0] == wanted, found; print(json.dumps(found[1]))"
    )
    settings = Settings(updates=2, timeout=20)
    report = run(python(source), settings, "cnn", allocator)
    assert report.allocator == allocator
    both = [entry.track for entry in contenders(Settings())]
    for name in {each.name for each in both}:
        assert {each.allocator for each in both if each.name == name} == {"tuned", "default"}


def test_a_peer_says_which_memory_settings_it_ran_with():
    source = (
        "from benchmarks.peers.common import *; "
        "arguments = Arguments('Pong', 'cnn', False, 8, 1, 0, 1, 'cpu'); "
        "print_report('x', arguments, [1.0], [], parameters=1, losses={})"
    )
    report = run(python(source), Settings(updates=1, timeout=60), "cnn", "tuned")
    assert report.allocator == "tuned"


def trainer_command() -> str:
    """A command that prints a report for whatever it is asked to train, as a process of its own."""
    source = (
        "import json, os, sys; network = sys.argv[1]; updates, games = map(int, sys.argv[2:4]); "
        "print(json.dumps(dict(network=network, seconds_per_update=[0.5] * updates, "
        "steps_per_update=128 * games, versions=dict(), "
        "allocator=os.environ['FLS_ALLOCATOR'])))"
    )
    quoted = python(source).replace("{", "{{").replace("}", "}}")
    return quoted + " {network} {updates} {num_envs}"


@pytest.fixture
def only_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line for a run whose peers are stand-ins too and need no environment."""
    monkeypatch.setattr(trainers, "PEER_COMMAND", trainer_command() + " {script}")
    monkeypatch.setattr(bench_peers, "ensure_environment", lambda *_: None)
    return ["--updates", "2", "--rounds", "2", "--output", str(tmp_path / "sub" / "record.json")]


def test_whole_run_is_recorded(only_ours: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*only_ours, "--ours-command", trainer_command(), "--markdown"]) == 0
    record = json.loads((tmp_path / "sub" / "record.json").read_text())
    assert record["targets"]["cnn"]["tuned"]["per_round"] == [1.0, 1.0]
    assert record["targets"]["cnn"]["default"]["per_round"] == [1.0, 1.0]
    assert record["settings"]["updates"] == 2
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_gib"] > 0
    assert set(record) >= {"commit", "machine"}
    assert [row["median_steps_per_second"] for row in record["trainers"]] == [2048.0] * 16
    assert not list(tmp_path.rglob("*.partial.json"))
    assert "| cnn | ours | tuned | 2048 |" in capsys.readouterr().out


def test_failure_of_ours_is_told_and_the_others_are_still_measured(only_ours: list[str], tmp_path: Path):
    assert main([*only_ours, "--ours-command", python("raise SystemExit('not today')")]) == 1
    record = json.loads((tmp_path / "sub" / "record.json").read_text())
    assert record["trainers"][0]["failure"] == "exit code 1: not today"
    assert record["trainers"][1]["median_steps_per_second"] == 2048.0
    assert record["targets"]["cnn"]["tuned"]["median"] is None


def test_older_record_stays_when_nothing_could_be_measured(
    only_ours: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainers, "PEER_COMMAND", python("raise SystemExit(1)"))
    path = tmp_path / "sub" / "record.json"
    write_record(path, {"old": True})
    assert main([*only_ours, "--ours-command", "/no/such/program"]) == 1
    assert json.loads(path.read_text()) == {"old": True}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--rounds", "0"], "--rounds is 0"),
        (["--updates", "-1"], "--updates is -1"),
        (["--networks", "cnn", "cnn"], "each once"),
        (["--allocators", "tuned", "tuned"], "each once"),
        (["--ours-command", "run {speed}"], "--ours-command"),
        (["--output", "/proc/none/record.json"], "cannot be written"),
    ],
)
def test_bad_request_is_a_sentence(
    only_ours: list[str], arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
):
    assert main([*only_ours, *arguments]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.strip().splitlines()) == 1


def test_environment_is_made_once_and_again_for_other_requirements(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder, requirements = tmp_path / "venv", tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    interpreter = ensure_environment(folder, requirements, ["--no-index"])
    assert interpreter.is_file()
    assert "Installing the peers" in capfd.readouterr().out
    assert ensure_environment(folder, requirements, ["--no-index"]) == interpreter
    assert capfd.readouterr().out == ""
    requirements.write_text("no-such-package-for-the-test==1.0\n")
    for _ in range(2):  # a failed installation is not taken for a finished one
        with pytest.raises(UserError, match="run the same command again"):
            ensure_environment(folder, requirements, ["--no-index", "--find-links", str(tmp_path)])
