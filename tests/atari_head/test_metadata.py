from __future__ import annotations

import envpool
import pytest

from fls_jax.atari_head.metadata import (
    GAMES,
    NOTHING_KNOWN,
    Recording,
    TrialFilter,
    canonical_game,
    parse_metadata,
)
from tests.atari_head.synthetic import v4_name


def test_the_games_are_envpools():
    assert {f"{game}-v5" for game in GAMES} <= set(envpool.list_all_envs())
    assert len(GAMES) == 20


@pytest.mark.parametrize("game", GAMES)
def test_every_spelling_of_a_game_is_found(game):
    spellings = (game, game.capitalize(), v4_name(game), f"{v4_name(game)}_highscore", f" {game.upper()} ")
    assert {canonical_game(spelling) for spelling in spellings} == {game}


def test_games_that_atari_head_lacks_have_no_canonical_name():
    assert canonical_game("Pong") is None
    assert canonical_game("BeamRider") is None
    assert canonical_game("highscore") is None


def test_v1_metadata_with_blank_rows_spaces_and_a_byte_order_mark():
    metadata = parse_metadata(
        "\ufeffTrialNumber, Game ,Subject,NumberOfFrames\r\n"
        "52, Mspacman,RZ,17814\r\n"
        ",,,\r\n"
        "\r\n"
        ' 61 ,Enduro , ,"12,345"\r\n'
        "62,Seaquest,,null\r\n"
    )
    assert metadata.release == "v1"
    assert {row.trial: (row.game, row.frames) for row in metadata.rows.values()} == {
        52: ("MsPacman", 17814),
        61: ("Enduro", 12345),
        62: ("Seaquest", None),
    }
    assert metadata.problems == ()


def test_v4_metadata_knows_the_highscore_part():
    metadata = parse_metadata(
        "GameName,trial_id,subject_id,load_trial,highest_score,total_frame\n"
        "ms_pacman,52, R,0,1,100\nms_pacman_highscore,118,R,89,66480,17814\n"
    )
    assert metadata.release == "v4"
    assert [(row.game, row.highscore) for row in metadata.rows.values()] == [
        ("MsPacman", False),
        ("MsPacman", True),
    ]


def test_unreadable_and_repeated_rows_become_problems():
    metadata = parse_metadata(
        "TrialNumber,Game,NumberOfFrames\nx,Enduro,5\n5,,5\n6,Enduro,1\n6,Seaquest,2\n7\n"
    )
    assert {row.trial: row.game for row in metadata.rows.values()} == {6: "Enduro"}
    assert [problem.split(":")[0] for problem in metadata.problems] == [
        f"meta_data.csv, line {line}" for line in (2, 3, 5, 6)
    ]


def test_a_game_of_unknown_name_keeps_it():
    metadata = parse_metadata("TrialNumber,Game,NumberOfFrames\n1,Skiing,5\n")
    assert metadata.rows[1].game == "Skiing"


@pytest.mark.parametrize("text", ["", "\n", "a,b,c\n1,2,3\n", "TrialNumber,Game\n1,Enduro\n", "\0\0", '"'])
def test_other_tables_are_refused_with_the_columns_that_are_expected(text):
    with pytest.raises(ValueError, match=r"trialnumber, game, numberofframes nor trial_id|not a CSV"):
        parse_metadata(text)


V4 = (
    "GameName,trial_id,subject_id,load_trial,highest_score,total_frame,max_error,avg_error,low_sample_rate,"
    "frame_averaging,fps\n"
    "ms_pacman_highscore,118,R,89,66480,17814,0.73,0.34,1.20%,TRUE,20\n"
    "breakout,198,R,0,425,13938,0.86,x,0.011,FALSE,20\n"
)


def recordings(text: str) -> dict[int, Recording]:
    return {row.trial: row.recording for row in parse_metadata(text).rows.values()}


def test_how_a_trial_was_recorded_is_read():
    assert recordings(V4) == {
        118: Recording(True, 89, 0.34, 0.73, 0.012),
        198: Recording(False, 0, None, 0.86, 0.011),
    }
    assert recordings("TrialNumber,Game,NumberOfFrames\n1,Enduro,5\n") == {1: NOTHING_KNOWN}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_blank_lines_before_the_header(separator):
    text = "\ufeff\n\n" + V4.replace(",", separator).replace(".", ",")
    assert recordings(text) == recordings(V4)
    broken = text + separator.join(["alien", "x"]) + "\n"
    assert parse_metadata(broken).problems == ("meta_data.csv, line 6: no trial number or no game, left out",)


@pytest.mark.parametrize(
    ("rule", "reasons"),
    [
        (TrialFilter(), [None, None, None]),
        (TrialFilter(no_averaged=True), ["averaged frames", None, "frame_averaging unknown"]),
        (TrialFilter(no_continued=True), ["continues trial 89", None, "load_trial unknown"]),
        (TrialFilter(avg_error=0.5), [None, "avg_error unknown", "avg_error unknown"]),
        (TrialFilter(max_error=0.8), [None, "max_error 0.86", "max_error unknown"]),
        (TrialFilter(low_sample_rate=0.011), ["low_sample_rate 0.012", None, "low_sample_rate unknown"]),
    ],
)
def test_trials_are_left_out_by_how_they_were_recorded(rule, reasons):
    assert [rule.reason(how) for how in (*recordings(V4).values(), NOTHING_KNOWN)] == reasons
