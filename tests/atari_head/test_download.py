from __future__ import annotations

import io
import shutil
from collections import namedtuple

import pytest
from rich.console import Console

from fls_jax.atari_head.dataset import open_dataset
from fls_jax.atari_head.download import RECORDS, download
from fls_jax.atari_head.zenodo import Zenodo
from fls_jax.errors import UserError
from tests.atari_head.synthetic import make_trial, write_v1, write_v4
from tests.atari_head.zenodo_server import serve


@pytest.fixture(scope="module")
def trials():
    return [
        make_trial(52, frames=6),
        make_trial(118, frames=6, highscore=True),
        make_trial(7, frames=6, game="SpaceInvaders"),
    ]


@pytest.fixture(params=["v1", "v4"])
def release(request):
    return request.param


@pytest.fixture
def fake(tmp_path, trials, release):
    root = (write_v1 if release == "v1" else write_v4)(tmp_path / "record", trials)
    with serve({path.name: path.read_bytes() for path in root.iterdir()}, RECORDS[release]) as server:
        yield server


def run(fake, folder, release, game="ms_pacman"):
    out = io.StringIO()
    paths = download(
        game,
        folder,
        release=release,
        server=Zenodo(fake.url, attempts=2, backoff=0.001, timeout=5.0),
        console=Console(file=out, width=80),
    )
    return paths, out.getvalue()


def test_one_games_files_arrive_and_are_a_dataset(fake, tmp_path, release):
    paths, text = run(fake, tmp_path / "new" / "folder", release)
    names = sorted(path.name for path in paths)
    stems = ("52_RZ_4300052_Aug-29-10-53-33", "118_RZ_4300118_Aug-29-10-53-33")
    pairs = [stem + suffix for stem in stems for suffix in (".tar.bz2", ".txt")]
    assert names == sorted(["meta_data.csv", *(pairs if release == "v1" else ["ms_pacman.zip"])])
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == names
    for path in paths:
        assert path.read_bytes() == fake.files[path.name]
        assert f"{path}: {len(fake.files[path.name]):,} bytes, checksum right" in text
    dataset = open_dataset(tmp_path / "new" / "folder")
    assert (dataset.layout, dataset.games()) == (release, {"MsPacman": 2})


def test_licence_and_citation_are_named(fake, tmp_path, release):
    _, text = run(fake, tmp_path / "new", release)
    assert "CC-BY-4.0" in text
    assert "Zhang" in text
    assert "1903.06754" in text
    assert f"10.5281/zenodo.{RECORDS[release]}" in text


def test_dropped_and_corrupt_files_arrive_all_the_same(fake, tmp_path, release):
    for name, data in fake.files.items():
        fake.drops[name] = [len(data) // 2, len(data) // 4]
    fake.corrupt["meta_data.csv"] = 1
    paths, _ = run(fake, tmp_path / "new", release)
    assert all(path.read_bytes() == fake.files[path.name] for path in paths)


def test_files_that_are_there_are_kept(fake, tmp_path, release):
    run(fake, tmp_path / "new", release)
    fake.requests.clear()
    paths, _ = run(fake, tmp_path / "new", release)
    assert fake.requests == [(RECORDS[release], None)]
    paths[-1].unlink()
    run(fake, tmp_path / "new", release)
    assert [name for name, _ in fake.requests[2:]] == [paths[-1].name]


def test_another_file_in_the_way_is_never_overwritten(fake, tmp_path, release):
    (tmp_path / "meta_data.csv").write_text("mine")
    with pytest.raises(UserError, match=r"meta_data\.csv exists, but is not the record's file"):
        run(fake, tmp_path, release)
    assert (tmp_path / "meta_data.csv").read_text() == "mine"
    assert [name for name, _ in fake.requests] == [RECORDS[release]]


def test_nothing_starts_without_disk_space(fake, tmp_path, release, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = 1 << 26
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, free))
    with pytest.raises(UserError, match=r"has 0\.07 GB free, but 0\.00 GB are to be downloaded"):
        run(fake, tmp_path / "new", release)
    assert list((tmp_path / "new").iterdir()) == []
    assert [name for name, _ in fake.requests] == [RECORDS[release]]
    free = (1 << 26) + sum(map(len, fake.files.values()))
    run(fake, tmp_path / "new", release)


def test_what_has_arrived_needs_no_space_again(fake, tmp_path, release, monkeypatch):
    usage = namedtuple("usage", "total used free")
    paths, _ = run(fake, tmp_path / "new", release)
    for path in paths:
        path.with_name(f"{path.name}.part").write_bytes(path.read_bytes()[:-1])
        path.unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, (1 << 26) + len(paths)))
    run(fake, tmp_path / "new", release)


def test_games_that_are_not_there_list_those_that_are(fake, tmp_path, release):
    with pytest.raises(UserError, match="no files of Breakout; it has MsPacman, SpaceInvaders"):
        run(fake, tmp_path / "new", release, "breakout")
    with pytest.raises(UserError, match=r"Atari-HEAD has no game 'Pong'; it has Alien, .*Venture"):
        run(fake, tmp_path / "new", release, "Pong")
    with pytest.raises(UserError, match=r"no release 'v9' of Atari-HEAD: choose one of v1, v4"):
        run(fake, tmp_path / "new", "v9")


def test_a_folder_that_cannot_be_made_is_named(fake, tmp_path, release):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made a folder"):
        run(fake, tmp_path / "file", release)


def test_a_hostile_listing_writes_nothing(fake, tmp_path, release):
    listing = fake.record_json()
    listing["files"].append(listing["files"][0] | {"key": "../../escaped.zip"})
    fake.listing = listing
    with pytest.raises(UserError, match="not a plain file name"):
        run(fake, tmp_path / "new", release)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_first_release_needs_its_metadata(tmp_path, trials):
    with (
        serve({}, RECORDS["v1"]) as fake,
        pytest.raises(UserError, match=r"meta_data\.csv, which assigns trials"),
    ):
        run(fake, tmp_path / "new", "v1")
