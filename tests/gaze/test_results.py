from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fls_jax.errors import UserError
from fls_jax.gaze.results import ResultsWriter, read_scored, to_rows, to_scores
from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.trial_pass import TrialScores
from tests.processes import small_disk

MAPS = ["model", "uniform"]
SETTINGS = {"env_step": 32, "maps": MAPS}


def scores(rng, n: int = 5) -> TrialScores:
    values = rng.normal(size=(n, 2, len(METRICS))).astype(np.float32)
    values[1, 0] = np.nan
    return TrialScores(4 * np.arange(n), values)


def entry(trial: int, scored: bool = True) -> dict:
    return {"trial": trial, "scored": scored}


def write(folder, trials: dict[int, TrialScores], settings=SETTINGS, fresh=False, complete=True) -> list:
    with ResultsWriter(folder, settings, fresh) as writer:
        for trial, its_scores in trials.items():
            writer.add(entry(trial), its_scores)
        return writer.publish({**settings, "complete": complete})


def kept(folder, settings=SETTINGS, fresh=False):
    with ResultsWriter(folder, settings, fresh) as writer:
        return {trial: scored.scores for trial, scored in writer.kept.items()}


def names(folder):
    return sorted(path.name for path in folder.parent.iterdir() if not path.name.startswith("."))


def test_rows_and_back(rng):
    before = scores(rng)
    rows = to_rows(7, before, MAPS)
    assert rows["map"].tolist() == MAPS * 5
    after = to_scores(rows, MAPS)
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_array_equal(after.values, before.values)
    with pytest.raises(ValueError, match="missing"):
        to_scores(rows.iloc[:-1], MAPS)


def test_what_was_written_is_kept_to_the_last_digit(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    trials = {9: scores(rng), 7: scores(rng, 3)}
    assert write(folder, trials) == []
    assert [e["trial"] for e in json.loads((folder / "trials.json").read_text())] == [7, 9]
    again = kept(folder)
    assert again.keys() == trials.keys()
    for trial, its_scores in trials.items():
        np.testing.assert_array_equal(again[trial].frames, its_scores.frames)
        np.testing.assert_array_equal(again[trial].values, its_scores.values)
    assert pd.read_parquet(folder / "frames.parquet")["nss"].dtype == np.float32
    assert names(folder) == ["aligned-screen"]


def test_other_settings_or_fresh_keep_nothing(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    write(folder, {7: scores(rng)})
    assert kept(folder, SETTINGS | {"env_step": 64}) == {}
    assert kept(folder, fresh=True) == {}
    assert kept(folder).keys() == {7}


def test_former_results_go_only_when_they_are_all_in_the_new_ones(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    first = {7: scores(rng)}
    write(folder, first, complete=False)
    assert write(folder, first | {9: scores(rng)}) == []
    assert names(folder) == ["aligned-screen"]
    assert [path.name for path in write(folder, {9: scores(rng)})] == ["aligned-screen.old-1"]
    assert [path.name for path in write(folder, {9: scores(rng)}, SETTINGS | {"env_step": 64})] == [
        "aligned-screen.old-2"
    ]
    assert [path.name for path in write(folder, {9: scores(rng)}, SETTINGS | {"env_step": 64}, True)] == [
        "aligned-screen.old-3"
    ]
    (folder / "notes.txt").write_text("mine")
    kept_in = write(folder, {9: scores(rng)}, SETTINGS | {"env_step": 64})
    assert (kept_in[0] / "notes.txt").read_text() == "mine"


def test_a_pass_that_died_leaves_whole_trials_that_the_next_one_keeps(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    trials = {7: scores(rng), 9: scores(rng)}

    with ResultsWriter(folder, SETTINGS) as writer:
        for trial, its_scores in trials.items():
            writer.add(entry(trial), its_scores)  # and then nothing more
    assert names(folder) == ["aligned-screen.part"]
    part = folder.with_name("aligned-screen.part")
    with (part / "frames.csv").open("a") as file:  # a trial that was being written
        file.write("11,0,model,1.5e-")
    with ResultsWriter(folder, SETTINGS) as writer:
        assert writer.kept.keys() == {7, 9}
        for trial, scored in writer.kept.items():
            np.testing.assert_array_equal(scored.scores.values, trials[trial].values)
            writer.add(*scored)
        assert writer.publish(SETTINGS) == []
    assert names(folder) == ["aligned-screen"]


def test_what_a_dead_pass_left_under_other_settings_stays(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    writer = ResultsWriter(folder, SETTINGS)
    with writer:
        writer.add(entry(7), scores(rng))
    left = write(folder, {9: scores(rng)}, SETTINGS | {"env_step": 64})
    assert [path.name for path in left] == ["aligned-screen.old-1"]
    assert "7,0,model" in (left[0] / "frames.csv").read_text()


def test_trials_in_former_results_are_kept_until_fresh_supersedes_them(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    first, second = {7: scores(rng)}, {9: scores(rng)}
    write(folder, first)
    assert [path.name for path in write(folder, second)] == ["aligned-screen.old-1"]
    again = kept(folder)
    assert again.keys() == {7, 9}
    np.testing.assert_array_equal(again[7].values, first[7].values)
    assert write(folder, first | second) == []
    assert names(folder) == ["aligned-screen"]  # what lay aside is all in the new ones
    write(folder, {7: scores(rng)}, fresh=True)
    assert kept(folder).keys() == {7}
    assert names(folder) == ["aligned-screen", "aligned-screen.old-1"]
    assert read_scored(folder.with_name("aligned-screen.old-1"), SETTINGS) == {}


def test_fresh_supersedes_nothing_of_other_settings(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    write(folder, {7: scores(rng)})
    write(folder, {9: scores(rng)}, SETTINGS | {"env_step": 64}, fresh=True)
    assert kept(folder).keys() == {7}


def test_a_pass_in_which_every_trial_failed_leaves_nothing(tmp_path):
    folder = tmp_path / "aligned-screen"
    for _ in range(2):
        with ResultsWriter(folder, SETTINGS) as writer:
            writer.add(entry(7, scored=False))
        assert names(folder) == []


def test_damaged_results_keep_nothing_and_are_set_aside(rng, tmp_path):
    folder = tmp_path / "aligned-screen"
    write(folder, {7: scores(rng)})
    (folder / "trials.json").write_text("[{")
    assert kept(folder) == {}
    assert [path.name for path in write(folder, {7: scores(rng)})] == ["aligned-screen.old-1"]


def test_nothing_scored_leaves_nothing(tmp_path):
    folder = tmp_path / "aligned-screen"
    with ResultsWriter(folder, SETTINGS):
        pass
    assert names(folder) == []


def test_two_passes_at_once_are_refused(tmp_path):
    folder = tmp_path / "aligned-screen"
    with ResultsWriter(folder, SETTINGS), pytest.raises(UserError, match="Another gaze pass"), \
            ResultsWriter(folder, SETTINGS):  # fmt: skip
        pass


def test_a_full_disk_is_a_sentence_and_former_results_stand(rng, tmp_path):
    with small_disk(tmp_path, "size=256k") as disk:
        folder = disk / "gaze" / "aligned-screen"
        write(folder, {7: scores(rng)})
        with pytest.raises(UserError, match="cannot be written"):
            write(folder, {7: scores(rng), 9: scores(rng, 4000)})
        assert read_scored(folder, SETTINGS).keys() == {7}
        with pytest.raises(UserError, match="cannot be written"):  # and what failed has let go of the lock
            write(folder, {7: scores(rng)})
