from __future__ import annotations

import envpool
import pytest

from fls_jax.atari_head.metadata import GAMES, canonical_game, parse_metadata
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
