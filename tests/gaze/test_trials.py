"""Which trials a pass scores, and what it says about those that it cannot score in full."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.commands.gaze_table import gaze_table
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.atari_head.trial import AVERAGED
from fls_jax.errors import UserError
from fls_jax.gaze.game_gaze import GameGaze
from fls_jax.gaze.scoring import METRICS
from fls_jax.gaze.tables import DEAD_ATTENTION, print_summary
from tests.atari_head.synthetic import make_trial, write_v1, write_v4
from tests.gaze.passes import NETWORK, NO_OTHERS, read, score
from tests.oracles import networks
from tests.run_folders import add_checkpoint, write_run


def test_one_trial_has_no_other_trials(home, run, tmp_path):
    summary = score(run, write_v1(tmp_path / "one", [home.trials[0]]))
    assert summary["notes"] == NO_OTHERS
    rows = read(run).frames.query("map == 'other_trials' or map == 'other_humans'")
    assert rows[list(METRICS)].isna().all(axis=None)


def test_two_trials_of_one_player_have_no_other_humans(home, run, tmp_path, capsys):
    trials = [home.trials[0], make_trial(9, 62)]
    summary = score(run, write_v1(tmp_path / "one", trials), trials=(7,))
    assert summary["notes"] == {"other_humans": "no other player"}
    assert summary["scores"]["other_trials"]["nss"]["coverage"] > 0
    print_summary(summary)
    assert "no other player" in capsys.readouterr().out


def test_the_gaze_of_other_players_leaves_out_all_trials_of_the_own(tmp_path):
    """Three players: each of the others counts the same, however many trials and samples are theirs."""
    trials = [
        make_trial(1, 20), make_trial(2, 30, subject="KM"), make_trial(3, 45, subject="KM"),
        make_trial(4, 10, subject="AJ"),
    ]  # fmt: skip
    found = GameGaze(open_dataset(write_v1(tmp_path, trials)).select("MsPacman"), "input")
    assert found.players == {1: "RZ", 2: "KM", 3: "KM", 4: "AJ"}
    for trial in trials:
        shares = []
        for player in {"RZ", "KM", "AJ"} - {trial.subject}:
            counts = np.zeros((84, 84))
            for other in trials:
                for x, y in (xy for samples in other.gaze for xy in samples or [] if other.subject == player):
                    row, column = round(y / 210 * 84), round(x / 160 * 84)
                    if 0 <= row < 84 and 0 <= column < 84:
                        counts[row, column] += 1
            shares.append(counts / counts.sum())
        np.testing.assert_allclose(found.of_other_players(trial.id), np.mean(shares, axis=0), atol=1e-12)
    assert found.of_other_players(5) is None


def test_other_trials_count_whether_they_are_scored_or_not(home, run):
    score(home.run, home.data)
    score(run, home.data, trials=(9,))
    expected = read(home.run).frames.query("trial == 9").reset_index(drop=True)
    pd.testing.assert_frame_equal(read(run).frames, expected)


def test_a_trial_that_cannot_be_read_fails_alone(home, run, tmp_path, capsys):
    trials = [make_trial(5, 30), make_trial(7, 45), make_trial(9, 62)]
    data = write_v1(tmp_path / "data", trials)
    broken = data / f"{trials[0].stem}.tar.bz2"
    broken.write_bytes(broken.read_bytes()[:2000])
    (data / f"{trials[1].stem}.txt").unlink()
    summary = score(run, data)
    assert summary["trials"]["scored"] == [9]
    failed = read(run).summary["trials"]["failed"]
    assert "cannot be read" in failed["5"]
    assert "has no gaze file" in failed["7"]
    assert read(run).frames["trial"].unique().tolist() == [9]
    assert [(entry["trial"], entry["scored"]) for entry in read(run).trials] == [
        (5, False), (7, False), (9, True),
    ]  # fmt: skip
    assert "Trial 5 failed: " in capsys.readouterr().out


def test_no_trial_that_can_be_read_is_an_error_with_the_reasons(home, run, tmp_path):
    trial = make_trial(7, 45)
    trial.pngs = [b"no picture"] * 45
    reason = r"none of its 11 observations has all its pictures \(the first .* is picture 1: not a PNG\)"
    with pytest.raises(UserError, match=f"trial 7: {reason}"):
        score(run, write_v1(tmp_path / "data", [trial]))


def test_what_is_left_out_is_counted(home, run, tmp_path):
    trial = make_trial(7, 45)
    trial.pngs[20] = trial.pngs[20][:100]
    score(run, write_v1(tmp_path / "data", [trial]))
    entry = read(run).trials[0]
    assert entry["observations"] == 11 - 4
    assert entry["report"]["frames_undecodable"] == 1
    assert "1 pictures that do not decode" in entry["problems"]
    assert "the first that does not decode is picture 21: truncated" in entry["problems"]
    assert not set(read(run).frames["frame"]) & {20, 24, 28, 32}


def test_averaged_pictures_are_told_in_report_summary_and_table(run, tmp_path, capsys):
    """`frame_averaging`: two consecutive frames averaged, on which no agent was trained."""
    trials = [make_trial(7, 45, averaged=True, load_trial=5), make_trial(9, 45)]
    summary = score(run, write_v4(tmp_path / "data", trials), controls=False)
    averaged, plain = read(run).trials
    assert AVERAGED in averaged["problems"]
    assert AVERAGED not in plain["problems"]
    how = ("frame_averaging", "load_trial", "avg_error", "max_error", "low_sample_rate")
    assert [averaged["report"][name] for name in how] == [True, 5, 0.34, 0.73, 0.012]
    assert [plain["report"][name] for name in how] == [False, 0, 0.34, 0.73, 0.012]
    assert summary["trials"]["averaged"] == [7]
    capsys.readouterr()
    print_summary(summary)
    assert f"Trial 7: {AVERAGED}\n" in capsys.readouterr().out


def test_attention_that_has_died_is_told(run, tmp_path, capsys):
    step = 64
    parameters = networks.random_parameters(NETWORK, 9, np.random.default_rng(0))
    parameters["attention3/score/bias"] = np.full(1, -1e4)
    add_checkpoint(run, step, parameters)
    data = write_v1(tmp_path / "data", [make_trial(7, 45)])
    summary = score(run, data, controls=False, step=step)
    assert summary["dead_attention"] is True
    assert read(run).trials[0]["largest_saliency"] < 1e-6
    capsys.readouterr()
    print_summary(summary)
    assert f"{NETWORK}: {DEAD_ATTENTION}\n" in capsys.readouterr().out
    assert any(DEAD_ATTENTION in note for note in gaze_table(summary).notes)
    assert score(run, data, controls=False, step=32)["dead_attention"] is False


def test_a_game_that_is_not_there_lists_the_games_that_are(home, tmp_path):
    write_run(tmp_path / "pong", NETWORK, "Pong")
    with pytest.raises(UserError, match=r"no Atari-HEAD trials of Pong .*MsPacman \(2\)"):
        score(tmp_path / "pong", home.data)
