from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from fls_jax.atari_head.archives import TrialError
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.atari_head.metadata import TrialFilter
from fls_jax.atari_head.trial import read_trial
from fls_jax.errors import UserError
from tests.atari_head.synthetic import make_trial, metadata, write_pair, write_v1, write_v4


@pytest.fixture(scope="module")
def trials():
    return [
        make_trial(52, frames=9),
        make_trial(118, frames=10, highscore=True),
        make_trial(7, frames=11, game="SpaceInvaders", subject="JAW_x"),
    ]


def summary(dataset):
    return [(trial.id, trial.game, trial.highscore, trial.frames_in_metadata) for trial in dataset.trials]


def assert_readable(dataset, trials):
    by_id = {trial.id: trial for trial in trials}
    assert [trial.id for trial in dataset.trials] == sorted(by_id)
    for found in dataset.trials:
        data = read_trial(found)
        assert data.frames.png == dict(enumerate(by_id[found.id].pngs, 1))
        assert data.frames.run == by_id[found.id].run
        assert found.name == by_id[found.id].stem
        assert len(data.gaze.rows) == len(by_id[found.id].gaze)


@pytest.mark.parametrize("unpacked", [False, True], ids=["archives", "folders"])
def test_v1_layout_with_v1_metadata(tmp_path, trials, unpacked):
    dataset = open_dataset(write_v1(tmp_path, trials, unpacked=unpacked))
    assert (dataset.layout, dataset.metadata_release, dataset.problems) == ("v1", "v1", ())
    assert summary(dataset) == [
        (7, "SpaceInvaders", False, 11),
        (52, "MsPacman", False, 9),
        (118, "MsPacman", False, 10),  # v1's metadata knows no highscore part
    ]
    assert_readable(dataset, trials)


def test_v1_layout_with_v4_metadata(tmp_path, trials):
    dataset = open_dataset(write_v1(tmp_path, trials, meta="v4"))
    assert (dataset.layout, dataset.metadata_release) == ("v1", "v4")
    assert summary(dataset)[2] == (118, "MsPacman", True, 10)
    assert_readable(dataset, trials)


@pytest.mark.parametrize("unpacked", [False, True], ids=["archives", "folders"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "unzipped"])
@pytest.mark.parametrize("meta", ["v1", "v4", None])
def test_v4_layout_zipped_or_not_with_any_metadata(tmp_path, trials, zipped, unpacked, meta):
    dataset = open_dataset(write_v4(tmp_path, trials, meta=meta, zipped=zipped, unpacked=unpacked))
    assert (dataset.layout, dataset.metadata_release, dataset.problems) == ("v4", meta, ())
    assert [row[:3] for row in summary(dataset)] == [
        (7, "SpaceInvaders", False),
        (52, "MsPacman", False),
        (118, "MsPacman", True),
    ]
    assert [row[3] for row in summary(dataset)] == ([11, 9, 10] if meta else [None] * 3)
    assert dataset.games() == {"MsPacman": 2, "SpaceInvaders": 1}
    assert_readable(dataset, trials)


def test_one_games_zip_or_folder_alone(tmp_path, trials):
    write_v4(tmp_path, trials)
    of_zip = open_dataset(tmp_path / "ms_pacman.zip")
    with zipfile.ZipFile(tmp_path / "ms_pacman.zip") as archive:
        archive.extractall(tmp_path)
    of_folder = open_dataset(tmp_path / "ms_pacman")
    for dataset in (of_zip, of_folder):
        assert (dataset.layout, dataset.metadata_release) == ("v4", "v4")
        assert summary(dataset) == [(52, "MsPacman", False, 9), (118, "MsPacman", True, 10)]


def test_a_folder_of_any_name_is_matched_by_its_run_id(tmp_path, trials):
    write_pair(tmp_path, trials[0])
    (tmp_path / f"{trials[0].stem}.tar.bz2").unlink()
    for name, data in trials[0].members("unpacked/somewhere").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    dataset = open_dataset(tmp_path)
    assert [trial.name for trial in dataset.trials] == [trials[0].stem]
    assert read_trial(dataset.trials[0]).frames.length == 9


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_pictures_of_two_runs_in_one_folder_are_told_apart(tmp_path, trials, zipped):
    files = {f"{trial.stem}.txt": trial.text().encode() for trial in trials[:2]}
    files |= {Path(name).name: data for trial in trials[:2] for name, data in trial.members().items()}
    root = tmp_path / "ms_pacman"
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    if zipped:
        root = Path(shutil.make_archive(str(root), "zip", root))
    assert_readable(open_dataset(root), trials[:2])


def test_nothing_is_unpacked_to_disk(tmp_path, trials):
    write_v4(tmp_path, trials)
    before = sorted(tmp_path.rglob("*"))
    for trial in open_dataset(tmp_path).trials:
        read_trial(trial)
    assert sorted(tmp_path.rglob("*")) == before


def test_selecting_trials_of_a_game_in_any_spelling(tmp_path, trials):
    dataset = open_dataset(write_v1(tmp_path, trials, meta="v4"))
    for spelling in ("MsPacman", "ms_pacman", "Mspacman", "ms_pacman_highscore"):
        assert [trial.id for trial in dataset.select(spelling)] == [52, 118]
    assert [trial.id for trial in dataset.select("MsPacman", [118, 118])] == [118]
    with pytest.raises(UserError, match=r"no trial 7, 5 of MsPacman; it has 52, 118"):
        dataset.select("MsPacman", [7, 5])


def test_a_game_that_is_not_there_lists_those_that_are(tmp_path, trials):
    dataset = open_dataset(write_v1(tmp_path, trials))
    with pytest.raises(
        UserError, match=r"of Breakout; games and trials found: MsPacman \(2\), SpaceInvaders \(1\)"
    ):
        dataset.select("Breakout")
    with pytest.raises(UserError, match=r"of Pong \(Atari-HEAD has no Pong\)"):
        dataset.select("Pong")


def test_trials_that_lack_a_part_fail_alone(tmp_path, trials):
    write_v1(tmp_path, trials)
    (tmp_path / f"{trials[0].stem}.txt").unlink()
    (tmp_path / f"{trials[1].stem}.tar.bz2").unlink()
    dataset = open_dataset(tmp_path)
    first, second = dataset.select("MsPacman")
    with pytest.raises(TrialError, match=r"no gaze file 52_RZ_4300052.*\.txt"):
        read_trial(first)
    with pytest.raises(TrialError, match="neither an archive nor a folder"):
        read_trial(second)
    assert read_trial(dataset.select("SpaceInvaders")[0]).frames.length == 11


def test_the_gaze_of_another_run_is_not_taken_for_this_ones(tmp_path, trials):
    write_v1(tmp_path, trials)
    (tmp_path / f"{trials[0].stem}.txt").write_text(trials[1].text())
    with pytest.raises(TrialError, match=r"no row of run RZ_4300052 \(10 of other runs"):
        read_trial(open_dataset(tmp_path).select("MsPacman", [52])[0])


def test_a_broken_zip_leaves_the_others(tmp_path, trials):
    write_v4(tmp_path, trials)
    (tmp_path / "ms_pacman.zip").write_bytes(b"PK\x03\x04 nothing more")
    dataset = open_dataset(tmp_path)
    assert dataset.games() == {"SpaceInvaders": 1}
    assert "ms_pacman.zip cannot be read" in dataset.problems[0]
    (tmp_path / "space_invaders.zip").unlink()
    with pytest.raises(UserError, match=r"no Atari-HEAD trials in .*ms_pacman\.zip cannot be read"):
        open_dataset(tmp_path)


def test_a_trial_that_is_there_twice_is_used_once(tmp_path, trials):
    write_v4(tmp_path, trials)
    write_v4(tmp_path, trials, zipped=False, unpacked=True)
    dataset = open_dataset(tmp_path)
    assert [trial.id for trial in dataset.trials] == [7, 52, 118]
    assert all(trial.frames and trial.frames.kind == "tar" for trial in dataset.trials)
    assert sum("there twice" in problem for problem in dataset.problems) == 3


def test_where_a_trial_lies_counts_more_than_the_metadata(tmp_path, trials):
    write_v4(tmp_path, trials[:2])
    other = make_trial(52, frames=9, game="Enduro")
    (tmp_path / "meta_data.csv").write_text(metadata([other], "v4"))
    dataset = open_dataset(tmp_path)
    assert summary(dataset)[0] == (52, "MsPacman", False, None)
    assert "trial 52 lies with MsPacman, but meta_data.csv says Enduro" in dataset.problems[0]


def test_trials_of_no_known_game_are_a_problem(tmp_path, trials):
    dataset = open_dataset(write_v1(tmp_path, trials, meta=None))
    assert dataset.games() == {}
    assert "which game these trials are: 7, 52, 118" in dataset.problems[0]
    with pytest.raises(UserError, match="games and trials found: no game"):
        dataset.select("MsPacman")


def test_a_root_whose_name_is_too_long_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / ("long" * 100))


def test_unusable_roots_are_named(tmp_path, trials):
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(UserError, match=r"no Atari-HEAD trials in .*expected <trial>"):
        open_dataset(tmp_path)
    (tmp_path / "ms_pacman.txt").write_text("")
    with pytest.raises(UserError, match=r"no Atari-HEAD trials in .*cannot be read"):
        open_dataset(tmp_path / "ms_pacman.txt")
    write_v1(tmp_path, trials)
    (tmp_path / "meta_data.csv").write_text("some,other,table\n")
    with pytest.raises(UserError, match=r"meta_data\.csv cannot be used.*'some, other, table'"):
        open_dataset(tmp_path)


def test_other_files_and_unfinished_downloads_are_passed_over(tmp_path, trials):
    write_v4(tmp_path, trials)
    (tmp_path / "alien.zip.part").write_bytes(b"half")
    (tmp_path / "12.txt").write_text("")
    (tmp_path / ".hidden.zip").write_bytes(b"")
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path, "ms_pacman.zip")
    with zipfile.ZipFile(tmp_path / "ms_pacman.zip", "a") as archive:
        archive.writestr(f"__MACOSX/ms_pacman/._{trials[0].stem}.tar.bz2", b"fork")
        archive.writestr(f"../../{trials[0].stem.replace('52_', '53_')}.txt", b"escaping")
    dataset = open_dataset(tmp_path)
    assert [trial.id for trial in dataset.trials] == [7, 52, 53, 118]
    (problem,) = dataset.problems
    assert problem.startswith(
        f"{tmp_path / 'all.zip'}: 'ms_pacman.zip' is a zip inside a zip and is not read"
    )
    with pytest.raises(TrialError, match="neither an archive"):
        read_trial(dataset.select("MsPacman", [53])[0])
    assert not (tmp_path.parent / f"{trials[0].stem.replace('52_', '53_')}.txt").exists()


def test_trials_are_filtered_by_how_they_were_recorded(tmp_path, trials):
    trials[0].averaged, trials[1].load_trial = True, 89
    dataset = open_dataset(write_v4(tmp_path, trials))
    assert [trial.recording.frame_averaging for trial in dataset.trials] == [False, True, False]
    assert dataset.filtered(TrialFilter()) is dataset
    kept = dataset.filtered(TrialFilter(no_averaged=True, no_continued=True))
    assert [trial.id for trial in kept.trials] == [7]
    assert kept.problems[0] == "left out: 52 (averaged frames), 118 (continues trial 89)"
    with pytest.raises(UserError, match=r"leave no trial of .*: 7 \(avg_error 0.34\)"):
        dataset.filtered(TrialFilter(avg_error=0.1))


def test_metadata_in_another_encoding(tmp_path, trials):
    root = write_v4(tmp_path, trials)
    (root / "meta_data.csv").write_bytes((root / "meta_data.csv").read_text().encode("utf-16"))
    assert [trial.frames_in_metadata for trial in open_dataset(root).trials] == [11, 9, 10]
