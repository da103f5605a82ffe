from __future__ import annotations

import bz2
import contextlib
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fls_jax.atari_head import archives
from fls_jax.atari_head.archives import Source, TrialError, read_frames
from tests.atari_head.synthetic import make_trial, tar_bz2


def tar_source(path, data: bytes) -> Source:
    path.write_bytes(data)
    return Source("tar", path)


@pytest.fixture
def trial():
    return make_trial(frames=25)


def expected(trial) -> dict[int, bytes]:
    return dict(enumerate(trial.pngs, 1))


def test_members_are_read_by_number_not_by_text(tmp_path, trial):
    names = list(trial.members())
    assert names != sorted(names, key=lambda name: int(name.split("_")[-1][:-4]))
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", tar_bz2(trial.members())))
    assert frames.numbers.tolist() == list(range(1, 26))
    assert frames.png == expected(trial)
    assert (frames.run, frames.length, frames.repeated, frames.ignored) == (trial.run, 25, 0, 0)


def test_only_wanted_pictures_are_held_but_all_are_noted(tmp_path, trial):
    source = tar_source(tmp_path / "t.tar.bz2", tar_bz2(trial.members()))
    frames = read_frames(source, wanted=lambda number: number % 4 == 1)
    assert sorted(frames.png) == [1, 5, 9, 13, 17, 21, 25]
    assert len(frames.numbers) == 25


def test_folder_and_zip_give_the_same_as_the_archive(tmp_path, trial):
    for name, data in trial.members("folder").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, data in trial.members("a/b").items():
            archive.writestr(name, data)
        archive.writestr("inner.tar.bz2", tar_bz2(trial.members()))
    for source in (
        Source("folder", tmp_path / "folder"),
        Source("folder", tmp_path / "t.zip", "a/b"),
        Source("tar", tmp_path / "t.zip", "inner.tar.bz2"),
    ):
        frames = read_frames(source)
        assert frames.png == expected(trial)
        assert frames.numbers.tolist() == list(range(1, 26))


def test_missing_and_repeated_frames_and_other_members_are_counted(tmp_path, trial):
    members = trial.members()
    del members[f"{trial.stem}/{trial.run}_4.png"]
    members |= {
        f"again/{trial.run}_5.png": b"the second picture of a number does not count",
        f"again/{trial.run}_05.png": b"nor does another spelling",
        "other/JAW_1_4.png": b"another run",
        f"x/{trial.run}_0.png": b"zero",
        f"x/{trial.run}_999999999.png": b"far beyond any trial",
        f"x/{trial.run}_.png": b"",
        f"x/._{trial.run}_4.png": b"a resource fork",
        "README.txt": b"",
        f"x/{trial.run}_4.jpg": b"",
        f"x/{trial.run}_٤.png": b"an Arabic four",
    }
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", tar_bz2(members)))
    assert frames.numbers.tolist() == [n for n in range(1, 26) if n != 4]
    assert frames.png == {n: png for n, png in expected(trial).items() if n != 4}
    assert (frames.repeated, frames.ignored) == (2, 8)


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_tar_format_and_long_names(tmp_path, trial, tar_format):
    folder = "/".join(["d" * 60] * 2) if tar_format == tarfile.USTAR_FORMAT else "d" * 300 + "/é"
    source = tmp_path / "t.tar.bz2"
    with tarfile.open(source, "w:bz2", format=tar_format, pax_headers={"comment": "global"}) as archive:
        for name, data in trial.members(folder).items():
            path = tmp_path / "picture"
            path.write_bytes(data)
            archive.add(path, name)
    assert read_frames(Source("tar", source)).png == expected(trial)


def hostile_headers(run: str) -> list[tarfile.TarInfo]:
    def header(name, kind, linkname=""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, linkname
        return info

    return [
        header(f"x/{run}_1.png", tarfile.SYMTYPE, "/etc/passwd"),
        header(f"x/{run}_2.png", tarfile.LNKTYPE, "../../etc/passwd"),
        header(f"x/{run}_3.png", tarfile.CHRTYPE),
        header(f"x/{run}_4.png", tarfile.BLKTYPE),
        header(f"x/{run}_5.png", tarfile.FIFOTYPE),
        header("../folder", tarfile.DIRTYPE),
        header("/", tarfile.DIRTYPE),
    ]


def test_names_links_and_devices_do_no_harm(tmp_path, trial):
    inside = tmp_path / "inside"
    inside.mkdir()
    numbered = list(trial.members().values())
    members = {}
    for number, (name, data) in enumerate(trial.members().items()):
        picture = name.rpartition("/")[2]
        members[
            (f"../../{picture}", f"/{picture}", f"{inside}/{picture}", f"x/../../{picture}")[number % 4]
        ] = data
    source = tar_source(inside / "t.tar.bz2", tar_bz2(members, hostile_headers(trial.run)))
    before = sorted(path for path in tmp_path.rglob("*"))
    frames = read_frames(source)
    assert sorted(frames.png.values()) == sorted(numbered)
    assert frames.png == expected(trial)
    assert frames.ignored == 5
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_links_and_pipes_in_a_folder_do_no_harm(tmp_path, trial):
    folder = tmp_path / "folder"
    folder.mkdir()
    outside = tmp_path / "outside.png"
    outside.write_bytes(trial.pngs[1])
    (folder / f"{trial.run}_1.png").write_bytes(trial.pngs[0])
    (folder / f"{trial.run}_2.png").symlink_to(outside)
    (folder / f"{trial.run}_3.png").symlink_to("/dev/zero")
    (folder / f"{trial.run}_4.png").symlink_to("nowhere")
    (folder / f"{trial.run}_6.png").mkdir()
    os.mkfifo(folder / f"{trial.run}_5.png")
    frames = read_frames(Source("folder", folder))
    assert frames.png == {1: trial.pngs[0], 2: trial.pngs[1]}
    assert frames.ignored == 3


def test_an_oversized_picture_is_present_but_not_held(tmp_path, trial):
    members = trial.members() | {f"x/{trial.run}_26.png": b"\0" * (archives.MAX_PNG_BYTES + 1)}
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", tar_bz2(members)))
    assert frames.length == 26
    assert frames.png == expected(trial) | {26: b""}


def test_decompression_is_bounded(tmp_path, trial, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TRIAL_BYTES", 1 << 20)
    data = tar_bz2(trial.members() | {"bomb": b"\0" * (1 << 22)})
    assert len(data) < 1 << 16
    with pytest.raises(TrialError, match="larger than 1 MiB"):
        read_frames(tar_source(tmp_path / "t.tar.bz2", data))


def test_the_sum_of_held_pictures_is_bounded_in_folders_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TRIAL_BYTES", 1000)
    for number in range(1, 4):
        (tmp_path / f"r_{number}.png").write_bytes(b"\0" * 500)
    with pytest.raises(TrialError, match="of pictures"):
        read_frames(Source("folder", tmp_path))


def test_an_endless_row_of_empty_streams_is_bounded(tmp_path):
    """Empty bz2 streams unpack to nothing, so what goes in is bounded as well."""
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.tar.bz2", bz2.compress(b"") * 10_000)
    source = Source("tar", path, "t.tar.bz2")
    with (
        source.open(limit=100_000) as stream,
        bz2.BZ2File(stream) as unpacked,
        pytest.raises(TrialError, match="larger than"),
    ):
        unpacked.read()


def raw_header(kind: bytes, size: bytes, name: str = "x") -> bytes:
    """A tar header with any size field, checksum right."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[156:157], header[148:156] = size, kind, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "tar",
    [
        raw_header(b"0", b"\xff" * 12),
        raw_header(b"0", b"\x80" + b"\x7f" * 11),
        raw_header(b"x", b"77777777777\0"),
        raw_header(b"L", b"77777777777\0"),
        raw_header(b"S", b"77777777777\0"),
        b"\x01" * 512,
        b"RZ" * 100,
    ],
    ids=["negative", "enormous", "pax", "longname", "sparse", "no header", "short"],
)
def test_hostile_headers_fail_with_a_reason(tmp_path, trial, tar):
    good = bz2.decompress(tar_bz2(trial.members())).rstrip(b"\0")
    good += b"\0" * (-len(good) % 512)
    for data in (tar, good + tar):
        with pytest.raises(TrialError, match=r"cannot be read|damaged"):
            read_frames(tar_source(tmp_path / "t.tar.bz2", bz2.compress(data)))


def test_a_long_chain_of_extension_headers_neither_recurses_nor_hides_frames(tmp_path, trial):
    pax = raw_header(b"x", b"%011o\0" % 13) + b"13 comment=x\n".ljust(512, b"\0")
    good = bz2.decompress(tar_bz2(trial.members()))
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", bz2.compress(pax * 5000 + good)))
    assert frames.png == expected(trial)


def test_a_pax_path_names_the_next_member_alone(tmp_path, trial):
    record = f" path=deep/{trial.run}_9.png\n".encode()
    record = b"%d" % (len(record) + 2) + record
    pax = raw_header(b"x", b"%011o\0" % len(record)) + record.ljust(512, b"\0")
    data = pax + raw_header(b"0", b"%011o\0" % 3) + b"abc".ljust(512, b"\0")
    data += raw_header(b"0", b"%011o\0" % 2, f"{trial.run}_8.png") + b"de".ljust(512, b"\0") + b"\0" * 1024
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", bz2.compress(data)))
    assert frames.png == {9: b"abc", 8: b"de"}


@pytest.mark.parametrize(
    "data",
    [b"", b"not an archive", bz2.compress(b""), bz2.compress(b"\0" * 10240), tar_bz2({"notes.txt": b"none"})],
    ids=["empty", "text", "empty stream", "empty tar", "no pictures"],
)
def test_archives_without_pictures_fail_with_a_reason(tmp_path, data):
    with pytest.raises(TrialError, match=r"t\.tar\.bz2 (cannot be read|holds no pictures)"):
        read_frames(tar_source(tmp_path / "t.tar.bz2", data))


def test_a_truncated_archive_fails_wherever_it_is_cut(tmp_path, trial):
    data = tar_bz2(trial.members())
    for cut in (1, len(data) // 2, len(data) - 10):
        with pytest.raises(TrialError, match="cannot be read"):
            read_frames(tar_source(tmp_path / "t.tar.bz2", data[:cut]))
    tar = bz2.decompress(data).rstrip(b"\0")
    with pytest.raises(TrialError, match="ends in the middle of a member"):
        read_frames(tar_source(tmp_path / "t.tar.bz2", bz2.compress(tar[:-700])))


def test_random_damage_never_raises_anything_else(tmp_path, trial):
    rng = np.random.default_rng(0)
    tar = bytearray(bz2.decompress(tar_bz2(dict(list(trial.members().items())[:4]))))
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        damaged = bytearray(tar)
        for position in rng.integers(len(tar), size=rng.integers(1, 60)):
            damaged[position] = rng.integers(256)
        data = bytearray(bz2.compress(bytes(damaged), 1))
        if rng.random() < 0.3:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            frames = read_frames(tar_source(tmp_path / "t.tar.bz2", bytes(data)))
            assert len(frames.png) == len(frames.numbers)
            outcomes[True] += 1
        except TrialError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 5


def test_missing_files_and_encrypted_members_fail_with_a_reason(tmp_path, trial):
    with pytest.raises(TrialError, match="cannot be read: FileNotFoundError"):
        read_frames(Source("tar", tmp_path / "none.tar.bz2"))
    with pytest.raises(TrialError, match="cannot be read: FileNotFoundError"):
        read_frames(Source("folder", tmp_path / "none"))
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.tar.bz2", tar_bz2(trial.members()))
    with pytest.raises(TrialError, match="cannot be read: KeyError"):
        read_frames(Source("tar", path, "other.tar.bz2"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the directory
    data[6] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(TrialError, match=r"cannot be read: RuntimeError.*encrypted"):
        read_frames(Source("tar", path, "t.tar.bz2"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_zipfile_unpacks_without_bound_are_refused(tmp_path, trial, method):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in trial.members("pictures").items():
            archive.writestr(name, data)
        archive.writestr("t.tar.bz2", tar_bz2(trial.members()))
    for source in (Source("folder", path, "pictures"), Source("tar", path, "t.tar.bz2")):
        with pytest.raises(TrialError, match=f"compressed with method {method}: only stored and deflated"):
            read_frames(source)


def test_the_size_that_a_zip_claims_is_not_believed(tmp_path, trial):
    path = tmp_path / "t.zip"
    name = f"pictures/{trial.run}_1.png"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(64 << 20))
    data = bytearray(path.read_bytes())
    size = data.index(b"PK\x01\x02") + 24  # unpacked, in the directory
    data[size : size + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    tracemalloc.start()
    try:
        with contextlib.suppress(TrialError):
            read_frames(Source("folder", path, "pictures"))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_hidden_pictures_are_of_no_run(tmp_path, trial):
    members = {f"x/._{Path(name).name}": b"a resource fork" for name in trial.members()} | trial.members()
    frames = read_frames(tar_source(tmp_path / "t.tar.bz2", tar_bz2(members)))
    assert (frames.run, frames.png, frames.ignored) == (trial.run, expected(trial), 25)


def test_a_pipe_in_place_of_an_archive_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "t.tar.bz2")
    with pytest.raises(TrialError, match="not a regular file"):
        read_frames(Source("tar", tmp_path / "t.tar.bz2"))
