from __future__ import annotations

import numpy as np
import pytest

from fls_jax.atari_head import gaze_file
from fls_jax.atari_head.archives import Source, TrialError
from fls_jax.atari_head.gaze_file import parse_gaze, read_gaze
from tests.atari_head.synthetic import HEADER, make_trial


def parse(*rows: str, header: str = HEADER):
    return parse_gaze([header, *rows], "RZ_1")


def samples(record, number: int) -> list[tuple[float, float]]:
    return [tuple(xy) for xy in record.xy[record.number == number].tolist()]


def test_samples_of_each_frame_come_in_order_of_the_frames_number():
    record = parse("RZ_1_10,0,0,50,0,3,1.5,2.5", "RZ_1_2,null,null,50,0,null,3,4,-5,600.25")
    assert record.number.tolist() == [2, 2, 10]
    assert samples(record, 2) == [(3, 4), (-5, 600.25)]
    assert samples(record, 10) == [(1.5, 2.5)]
    assert record.rows.tolist() == [2, 10]


@pytest.mark.parametrize("gaze", ["null", "", " NULL ", ",", " , "])
def test_a_missing_gaze_is_missing_and_never_a_point(gaze):
    record = parse(f"RZ_1_1,null,null,50,0,0,{gaze}", "RZ_1_2,0,0,50,0,0,7,8")
    assert samples(record, 1) == []
    assert samples(record, 2) == [(7, 8)]
    assert record.rows_without_gaze == 1
    assert record.malformed_samples == 0
    assert record.rows.tolist() == [1, 2]


def test_the_gaze_field_may_be_absent():
    assert parse("RZ_1_1,0,0,50,0,0").rows_without_gaze == 1


def test_the_header_says_how_many_fields_come_before_the_gaze():
    record = parse("RZ_1_1,0,1,2,3,4", header="frame_id,action,gaze_positions")
    assert samples(record, 1) == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("gaze", "left", "malformed"),
    [
        ("1,2,3", [(1, 2)], 1),
        ("null,2,3,4", [(3, 4)], 1),
        ("1,2,x,4,5,6", [(1, 2), (5, 6)], 1),
        ("1,,5,6", [(5, 6)], 1),
        (",2,5,6", [(5, 6)], 1),
        ("nan,2,inf,3,5,6", [(5, 6)], 2),
        ("null,null", [], 1),
        (" 1 , 2 , 3 , 4 ,", [(1, 2), (3, 4)], 0),
        ("1e400,1", [], 1),
    ],
)
def test_malformed_samples_are_left_out_and_counted_without_shifting_the_others(gaze, left, malformed):
    record = parse(f"RZ_1_1,0,0,50,0,0,{gaze}")
    assert samples(record, 1) == left
    assert record.malformed_samples == malformed
    assert record.rows_without_gaze == (not left)


def test_rows_that_do_not_count_are_counted():
    record = parse(
        "RZ_1_1,0,0,50,0,0,1,1",
        "RZ_1_1,0,0,50,0,0,2,2",
        "RZ_2_1,0,0,50,0,0,3,3",
        "null,0,0,50,0,0,4,4",
        "RZ_1_0,0,0,50,0,0,5,5",
        "RZ_1_999999,0,0,50,0,0,5,5",
        "RZ_1_x,0,0,50,0,0,6,6",
        "RZ_1_3,0",
        "",
        ",,,,,,",
    )
    assert samples(record, 1) == [(1, 1)]
    assert (record.repeated_rows, record.foreign_rows, record.malformed_rows) == (1, 1, 5)
    assert record.rows.tolist() == [1]


def test_spaces_and_carriage_returns_do_not_matter():
    record = parse(
        " RZ_1_1 , null , 0 , 50 , 0 , 3 , 1.5 , 2.5 \r\n", header=f" {HEADER.replace(',', ' , ')}\r\n"
    )
    assert samples(record, 1) == [(1.5, 2.5)]


def test_an_endless_row_is_malformed(monkeypatch):
    monkeypatch.setattr(gaze_file, "MAX_SAMPLES", 3)
    record = parse("RZ_1_1,0,0,50,0,0,1,1,2,2,3,3", "RZ_1_2,0,0,50,0,0,1,1,2,2,3,3,4,4")
    assert record.rows.tolist() == [1]
    assert record.malformed_rows == 1


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["RZ_1_1,0,0,50,0,0,1,1"],
        ["frame_id,action", "RZ_1_1,1"],
        ["gaze_positions", "RZ_1_1"],
        [HEADER],
        [HEADER, "RZ_2_1,0,0,50,0,0,1,1"],
    ],
)
def test_a_file_without_header_or_rows_of_the_run_fails_with_a_reason(lines):
    with pytest.raises(TrialError, match=r"not a gaze file|no row of run RZ_1"):
        parse_gaze(lines, "RZ_1")


def test_a_written_trial_is_read_back_exactly(tmp_path):
    trial = make_trial(frames=30)
    path = tmp_path / "gaze.txt"
    path.write_text("\ufeff" + trial.text(), encoding="utf-8")
    record = read_gaze(Source("text", path), trial.run)
    for number, expected in enumerate(trial.gaze, 1):
        assert samples(record, number) == list(expected or [])
    assert record.rows_without_gaze == sum(not expected for expected in trial.gaze)
    assert record.number.dtype == np.int64
    assert record.xy.dtype == np.float64


def test_bytes_that_are_no_text_cost_only_their_rows(tmp_path):
    path = tmp_path / "gaze.txt"
    path.write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe\x00\x01,\n" + b"RZ_1_1,0,0,50,0,0,1,2\n")
    record = read_gaze(Source("text", path), "RZ_1")
    assert samples(record, 1) == [(1, 2)]
    assert record.malformed_rows == 1


def test_a_missing_or_too_large_file_fails_with_its_name(tmp_path, monkeypatch):
    path = tmp_path / "gaze.txt"
    with pytest.raises(TrialError, match=r"gaze\.txt cannot be read: FileNotFoundError"):
        read_gaze(Source("text", path), "RZ_1")
    monkeypatch.setattr(gaze_file, "MAX_GAZE_BYTES", 1000)
    path.write_text(HEADER + "\n" + "RZ_1_1,0,0,50,0,0,1,2\n" * 100)
    with pytest.raises(TrialError, match="larger than"):
        read_gaze(Source("text", path), "RZ_1")


PLAIN = f"{HEADER}\nRZ_1_1,0,0,50,0,3,89.47,152.56,-1.5,2.25\nRZ_1_2,0,0,50,0,0,null\nRZ_1_3,0,0,50,0,0,7,8\n"
LISTS = ("89.47,152.56,-1.5,2.25", "null", "7,8")


def as_lists(left: str, right: str) -> str:
    """The gaze of each row between these marks."""
    rows = PLAIN.splitlines()
    marked = (
        f"{row.removesuffix(gaze)}{left}{gaze}{right}" for row, gaze in zip(rows[1:], LISTS, strict=True)
    )
    return "\n".join([rows[0], *marked])


RESAVED = {
    "quoted": as_lists('"', '"'),
    "in brackets": as_lists("[", "]"),
    "quoted in brackets": as_lists('"[', ']"'),
    "pairs in brackets": PLAIN.replace("89.47,152.56,-1.5,2.25", "[(89.47, 152.56), (-1.5, 2.25)]"),
    "every field quoted": "\n".join(",".join(f'"{x}"' for x in row.split(",")) for row in PLAIN.splitlines()),
    "padded to a rectangle": PLAIN.replace("gaze_positions", "gaze_positions,,,").replace("null", "null,,,"),
    "blank lines before the header": "\r\n,,,\n \n" + PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "semicolons, the gaze with commas": "\n".join(";".join(row.split(",", 6)) for row in PLAIN.splitlines()),
    "tabs": PLAIN.replace(",", "\t"),
}


@pytest.mark.parametrize("text", RESAVED.values(), ids=RESAVED)
def test_what_a_spreadsheet_saved_again_is_read_whole(text):
    record = parse_gaze(text.splitlines(keepends=True), "RZ_1")
    assert samples(record, 1) == [(89.47, 152.56), (-1.5, 2.25)]
    assert samples(record, 2) == []
    assert samples(record, 3) == [(7, 8)]
    assert (record.malformed_samples, record.malformed_rows, record.rows_without_gaze) == (0, 0, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_unicode_encoding_is_read(tmp_path, encoding):
    path = tmp_path / "gaze.txt"
    path.write_bytes(PLAIN.encode(encoding))
    record = read_gaze(Source("text", path), "RZ_1")
    assert samples(record, 1) == [(89.47, 152.56), (-1.5, 2.25)]
    assert record.rows.tolist() == [1, 2, 3]
