"""`fls gaze` and `fls atari-head` from the command line, and the study over several runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from fls_jax.atari_head.download import RECORDS
from fls_jax.atari_head.metadata import TrialFilter
from fls_jax.cli import AtariHead, Gaze, parse
from fls_jax.errors import UserError
from fls_jax.gaze import gaze_pass
from fls_jax.gaze.job import gaze
from fls_jax.gaze.observations import open_trial
from tests.atari_head.synthetic import make_trial, write_v1, write_v4
from tests.atari_head.zenodo_server import serve
from tests.processes import assert_raises, assert_refused, run_fls, small_disk
from tests.run_folders import write_run

NETWORK = "cnn_sparse_fls_pool"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("job")
    write_v1(home / "data", [make_trial(7, 45), make_trial(9, 30)])
    for seed in (1, 9):
        write_run(home / f"runs/MsPacman/{NETWORK}/seed{seed}", NETWORK, "MsPacman", seed)
    write_run(home / "runs/MsPacman/cnn/seed1", "cnn", "MsPacman", 1)
    write_run(home / f"runs/Pong/{NETWORK}/seed1", NETWORK, "Pong", 1)
    return home


@pytest.fixture
def runs(home, tmp_path):
    return Path(shutil.copytree(home / "runs", tmp_path / "runs"))


def files(run):
    return sorted(
        str(path.relative_to(run / "gaze")) for path in (run / "gaze").rglob("*.*") if path.name[0] != "."
    )


def test_every_option_reaches_its_field():
    words = (
        "gaze runs/a runs/b --atari-head data --trials 118 119 --protocol both --space input --step 5 "
        "--no-controls --out table --video --fresh --methods gradient rise"
    )
    assert parse(words.split()) == Gaze(
        runs=(Path("runs/a"), Path("runs/b")),
        atari_head=Path("data"),
        trials=(118, 119),
        protocol="both",
        space="input",
        step=5,
        controls=False,
        out=Path("table"),
        video=True,
        fresh=True,
        methods=("gradient", "rise"),
    )
    words = "gaze run --atari-head data --no-averaged --no-continued --avg-error 0.5 --low-sample-rate 0.1"
    rule = TrialFilter(no_averaged=True, no_continued=True, avg_error=0.5, low_sample_rate=0.1)
    assert parse(words.split()) == Gaze((Path("run"),), Path("data"), trial_filter=rule)
    assert parse(["gaze", "run", "--atari-head", "data"]) == Gaze((Path("run"),), Path("data"))
    words = "atari-head download --game Breakout --dir data --release v1 --server http://localhost:1"
    expected = AtariHead("download", "Breakout", Path("data"), "v1", "http://localhost:1")
    assert parse(words.split()) == expected
    assert parse(["atari-head", "download", "--game", "Hero", "--dir", "d"]) == AtariHead(
        "download", "Hero", Path("d"), "v4", "https://zenodo.org"
    )


def test_a_run_from_the_command_line(home, runs):
    run = runs / f"MsPacman/{NETWORK}/seed1"
    done = run_fls("gaze", str(run), "--atari-head", str(home / "data"), "--trials", "9", "--video")
    assert done.returncode == 0, done.stderr
    names = ["frames.csv", "frames.parquet", "summary.json", "trials.json"]
    assert files(run) == [f"aligned-screen/{name}" for name in names]
    assert (run / "video" / "32-gaze-9.mp4").stat().st_size > 1000
    for words in (
        "reading ...",
        "100%",
        "Trial 9: 8 observations",
        "uniform",
        "frame_difference",
        "Written to",
    ):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{runs}/Pong/{network}/seed1", "--atari-head", "{data}"], ["Pong", "MsPacman (2)"]),
        (["{runs}/MsPacman/cnn/seed1", "--atari-head", "{data}/none"], ["no such folder"]),
        (["{runs}/MsPacman/cnn/seed1", "--atari-head", "{data}", "--trials", "8"], ["no trial 8", "7, 9"]),
        (["{runs}/MsPacman/cnn/seed1", "--atari-head", "{data}", "--step", "5"], ["5", "32"]),
        (["{runs}", "--atari-head", "{data}", "--no-controls", "--out", "{runs}/o"], ["--no-controls"]),
        (["--atari-head", "{data}"], ["Name a run folder"]),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(home, arguments, words):
    places = {"runs": home / "runs", "data": home / "data", "network": NETWORK}
    assert_raises(["gaze", *(argument.format(**places) for argument in arguments)], *words)


def test_what_cannot_be_scored_ends_the_command(home):
    done = run_fls("gaze", str(home / "runs" / "none"), "--atari-head", str(home / "data"))
    assert_refused(done, str(home / "runs" / "none"))


def test_a_run_that_cannot_be_written_is_scored_with_out(home, tmp_path):
    with small_disk(tmp_path, "size=10m") as disk:
        run = disk / "run"
        shutil.copytree(home / f"runs/MsPacman/{NETWORK}/seed1", run)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match="cannot be written"):
            gaze([run], home / "data", [9])
        (summary,) = gaze([run], home / "data", [9], "aligned", out=tmp_path / "out")
    (written,) = (tmp_path / "out").glob("runs/*/gaze/aligned-screen/summary.json")
    assert json.loads(written.read_text())["scores"] == summary["scores"]
    assert (tmp_path / "out" / "study.csv").exists()


def test_a_study_over_a_folder_of_runs(home, runs, tmp_path, capsys):
    scored = gaze([runs], home / "data", out=tmp_path / "out")
    assert sorted((s["protocol"], s["network"], s["training_seed"]) for s in scored) == sorted(
        (protocol, network, seed)
        for protocol in ("aligned", "paper")
        for network, seed in ((NETWORK, 1), (NETWORK, 9), ("cnn", 1))
    )
    text = capsys.readouterr().out
    assert "Pong" in text
    assert "is left out" in text
    listed = [f"MsPacman/{network}/seed{seed}" for network, seed in (("cnn", 1), (NETWORK, 1), (NETWORK, 9))]
    assert f"3 runs: {', '.join(str(runs / name) for name in listed)}\n" in text.split("reading ...")[0]
    study = pd.read_csv(tmp_path / "out" / "study.csv").set_index(["protocol", "network", "map", "metric"])
    for protocol in ("aligned", "paper"):
        values = [
            json.loads(
                (runs / f"MsPacman/{NETWORK}/seed{seed}/gaze/{protocol}-screen/summary.json").read_text()
            )
            for seed in (1, 9)
        ]
        means = [value["scores"]["model"]["nss"]["mean"] for value in values]
        row = study.loc[(protocol, NETWORK, "model", "nss")]
        assert row["mean"] == pytest.approx(sum(means) / 2, rel=1e-4)
        assert row["seeds"] == 2
        assert row["paper"] == 0.621
        assert study.loc[(protocol, "cnn", "model", "nss"), "seeds"] == 0
    assert "no map" in (tmp_path / "out" / "study.md").read_text()

    # The same command again reads what there is.
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("trials.json")}
    assert [s["scores"] for s in gaze([runs], home / "data", out=tmp_path / "again")] == [
        s["scores"] for s in scored
    ]
    assert capsys.readouterr().out.count("2 of 2 trials are scored already") == 6
    assert len(before) == 6
    again = pd.read_csv(tmp_path / "again" / "study.csv")
    pd.testing.assert_frame_equal(again, pd.read_csv(tmp_path / "out" / "study.csv"))


def test_one_run_that_fails_does_not_keep_the_others_from_being_scored(home, runs):
    shutil.rmtree(runs / f"MsPacman/{NETWORK}/seed1/checkpoints")
    with pytest.raises(UserError, match=r"1 of the passes failed: .*seed1"):
        gaze([runs / "MsPacman"], home / "data", controls=False)
    assert files(runs / f"MsPacman/{NETWORK}/seed9")
    assert files(runs / "MsPacman/cnn/seed1")


def test_a_damaged_config_does_not_keep_the_others_from_being_scored(home, runs):
    (runs / f"MsPacman/{NETWORK}/seed1/config.json").write_text("{")
    with pytest.raises(UserError, match=r"1 of the passes failed: .*seed1"):
        gaze([runs / "MsPacman"], home / "data", controls=False)
    assert files(runs / f"MsPacman/{NETWORK}/seed9")


def test_the_place_of_a_study_is_tried_before_the_work(home, runs):
    (runs / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        gaze([runs / "MsPacman"], home / "data", out=runs / "file" / "out")
    assert not list(runs.rglob("gaze"))


def test_a_trial_that_was_damaged_after_it_was_scored_is_not_filmed(home, runs, tmp_path, capsys):
    data = Path(shutil.copytree(home / "data", tmp_path / "data"))
    run = runs / f"MsPacman/{NETWORK}/seed1"
    gaze([run], data, controls=False)
    archive = next(data.glob("7_*.bz2"))
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"trial 7 cannot be filmed: .*cannot be read"):
        gaze([run], data, controls=False, video=True)
    assert [path.name for path in (run / "video").iterdir()] == ["32-gaze-9.mp4"]


def test_runs_without_any_gaze_are_an_error(home, runs):
    shutil.copytree(runs / f"Pong/{NETWORK}/seed1", runs / f"Pong/{NETWORK}/seed2")
    with pytest.raises(UserError, match=r"no trials of any of these runs' games; it has MsPacman"):
        gaze([runs / "Pong"], home / "data")


def test_a_signal_ends_the_job_and_the_same_call_goes_on(home, runs, monkeypatch, capsys):
    opened = []

    def opening(trial, **options):
        opened.append(trial.id)
        if len(opened) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return open_trial(trial, **options)

    monkeypatch.setattr(gaze_pass, "open_trial", opening)
    assert gaze([runs / "MsPacman"], home / "data", controls=False) == []
    assert "The same command resumes from there" in capsys.readouterr().out
    assert opened == [7, 9]
    scored = gaze([runs / "MsPacman"], home / "data", controls=False)
    assert [s["complete"] for s in scored] == [True] * 3
    assert opened == [7, 9, 9, 7, 9, 7, 9]


@pytest.mark.parametrize("release", ["v1", "v4"])
def test_a_download_from_the_command_line(tmp_path, release):
    root = (write_v1 if release == "v1" else write_v4)(tmp_path / "record", [make_trial(7, 6)])
    contents = {path.name: path.read_bytes() for path in root.iterdir()}
    archive = next(name for name in contents if name.endswith((".bz2", ".zip")))
    with serve(contents, RECORDS[release]) as fake:
        fake.drops = {archive: [1000]}
        arguments = ["--game", "mspacman", "--dir", str(tmp_path / "data"), "--release", release]
        done = run_fls("atari-head", "download", *arguments, "--server", fake.url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / archive).read_bytes() == contents[archive]
    assert fake.requested(archive) == [None, "bytes=1000-"]
    assert "CC-BY-4.0" in done.stderr
    assert "1903.06754" in done.stderr


def test_a_server_that_is_not_there_is_one_sentence(tmp_path):
    arguments = ["--game", "Pong", "--dir", str(tmp_path), "--server", "http://127.0.0.1:9"]
    assert_refused(run_fls("atari-head", "download", *arguments), "Pong", "Breakout")
