from __future__ import annotations

import hashlib
import socket

import numpy as np
import pytest

from fls_jax.atari_head.zenodo import RemoteFile, Zenodo
from fls_jax.errors import UserError
from tests.atari_head.zenodo_server import serve

RECORD = "123"
DATA = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def fake():
    with serve({"a.zip": DATA, "small file.txt": b"hello, world"}, RECORD) as server:
        yield server


def client(fake) -> Zenodo:
    return Zenodo(fake.url, attempts=3, backoff=0.001, timeout=5.0)


def fetch(fake, path, name="a.zip", advance=lambda there: None):
    server = client(fake)
    (file,) = [file for file in server.list_files(RECORD) if file.name == name]
    server.fetch(file, path, advance)


def test_the_listing_gives_names_sizes_checksums_and_addresses(fake):
    first, second = client(fake).list_files(RECORD)
    assert first == RemoteFile(
        "a.zip", len(DATA), hashlib.md5(DATA).hexdigest(), f"{fake.url}/api/records/123/files/a.zip/content"
    )
    assert (second.name, second.size) == ("small file.txt", 12)


def test_a_file_arrives_whole_with_progress_and_no_part_left(fake, tmp_path):
    seen = []
    fetch(fake, tmp_path / "a.zip", advance=seen.append)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert len(seen) > 5
    fetch(fake, tmp_path / "small file.txt", "small file.txt")
    assert (tmp_path / "small file.txt").read_bytes() == b"hello, world"


def test_a_dropped_connection_is_gone_on_with_where_it_broke(fake, tmp_path):
    fake.drops["a.zip"] = [1_000_000, 500_000, 1, 700_000, 0, 0]
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == [
        None,
        "bytes=1000000-",
        "bytes=1500000-",
        "bytes=1500001-",
        "bytes=2200001-",
        "bytes=2200001-",
        "bytes=2200001-",
    ]


def test_what_has_arrived_is_kept_when_giving_up_and_used_the_next_time(fake, tmp_path):
    fake.drops["a.zip"] = [1_000_000, 0, 0, 0, 0]
    with pytest.raises(
        UserError, match=r"a\.zip: no progress in 3 attempts .*resumes after the 1,000,000 bytes"
    ):
        fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip.part").read_bytes() == DATA[:1_000_000]
    assert not (tmp_path / "a.zip").exists()
    fake.drops.clear()
    fake.requests.clear()
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == ["bytes=1000000-"]


def test_a_server_that_ignores_range_is_started_afresh(fake, tmp_path):
    fake.ignore_range = True
    fake.drops["a.zip"] = [1_000_000, 600_000]
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == [None, "bytes=1000000-", "bytes=600000-"]


def test_a_server_that_sends_another_part_is_not_believed(fake, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    fake.shift_range = 500
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == ["bytes=1000-", None]


def test_a_refused_range_starts_afresh(fake, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    fake.statuses["a.zip"] = [(416, {})]
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == ["bytes=1000-", None]


def test_a_corrupt_file_is_fetched_again_and_refused_if_it_stays_so(fake, tmp_path):
    fake.corrupt["a.zip"] = 2
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    fake.corrupt["a.zip"] = 99
    with pytest.raises(
        UserError, match=r"no progress in 3 attempts .*MD5 sum is [0-9a-f]{32}, the listing says"
    ):
        fetch(fake, tmp_path / "b.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_a_corrupt_part_from_before_is_noticed(fake, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"\0" * 1000)
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert fake.requested("a.zip") == ["bytes=1000-", None]


def test_a_whole_or_too_long_part_is_handled(fake, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA)
    fetch(fake, tmp_path / "a.zip")
    assert fake.requested("a.zip") == []
    (tmp_path / "b.zip.part").write_bytes(DATA + b"more")
    fetch(fake, tmp_path / "b.zip")
    assert fake.requested("a.zip") == [None]
    assert (tmp_path / "b.zip").read_bytes() == DATA


def test_more_bytes_than_promised_are_not_written(fake, tmp_path):
    fake.surplus = b"\0" * 5_000_000
    with pytest.raises(UserError, match="more than the 3,000,000 bytes of the listing"):
        fetch(fake, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_passing_errors_are_waited_out_and_others_reported_at_once(fake, tmp_path):
    fake.statuses[RECORD] = [(503, {}), (429, {"Retry-After": "0"})]
    fake.statuses["a.zip"] = [(500, {}), (502, {})]
    fetch(fake, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    fake.statuses["a.zip"] = [(403, {})]
    with pytest.raises(UserError, match="answers 403"):
        fetch(fake, tmp_path / "b.zip")
    with pytest.raises(UserError, match="answers 404"):
        client(fake).list_files("99")


def test_a_server_that_is_not_there_is_reported():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = Zenodo(f"http://127.0.0.1:{taken.getsockname()[1]}", attempts=2, backoff=0.001)
        with pytest.raises(
            UserError, match=r"the listing http.*: no progress in 2 attempts .*refused.*try later"
        ):
            server.list_files(RECORD)


def test_a_server_that_says_nothing_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Zenodo(
            f"http://127.0.0.1:{silent.getsockname()[1]}", attempts=2, backoff=0.001, timeout=0.05
        )
        with pytest.raises(UserError, match="timed out"):
            server.list_files(RECORD)


@pytest.mark.parametrize(
    "name",
    [
        "../a.zip",
        "/etc/a.zip",
        "a/b.zip",
        "..",
        ".",
        "",
        "a\\b.zip",
        "C:a.zip",
        ".profile",
        "a\n.zip",
        "a\0.zip",
        5,
    ],
)
def test_names_that_are_no_plain_file_names_are_refused(fake, name):
    listing = fake.record_json()
    listing["files"][1]["key"] = name
    fake.listing = listing
    with pytest.raises(UserError, match="not a plain file name: nothing was downloaded"):
        client(fake).list_files(RECORD)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "data:,x"])
def test_other_addresses_than_http_are_refused(fake, url):
    listing = fake.record_json()
    listing["files"][0]["links"] = {"self": url}
    fake.listing = listing
    with pytest.raises(UserError, match="only http and https are followed"):
        client(fake).list_files(RECORD)


def test_invenios_own_form_of_links_is_understood(fake):
    listing = fake.record_json()
    entry = listing["files"][0]
    content = entry["links"]["self"]
    entry["links"] = {"self": content.removesuffix("/content"), "content": content}
    fake.listing = listing
    assert client(fake).list_files(RECORD)[0].url == content


@pytest.mark.parametrize(
    "change",
    [
        {"checksum": "sha256:" + "0" * 64},
        {"checksum": None},
        {"size": -1},
        {"size": "12"},
        {"links": {}},
        {"links": None},
    ],
)
def test_a_listing_without_size_checksum_or_address_is_refused(fake, change):
    listing = fake.record_json()
    listing["files"][0] |= change
    fake.listing = listing
    with pytest.raises(UserError, match="did not answer with the listing of a Zenodo record"):
        client(fake).list_files(RECORD)


def test_a_listing_that_breaks_off_is_fetched_again(fake):
    fake.drops[RECORD] = [100, 0]
    assert len(client(fake).list_files(RECORD)) == 2
    fake.drops[RECORD] = [100] * 3
    with pytest.raises(UserError, match=r"no progress in 3 attempts \(the connection ended"):
        client(fake).list_files(RECORD)


@pytest.mark.parametrize("raw", [b"<html>", b"\xff\xfe", b'{"files": [' + b"[" * 100_000])
def test_an_answer_that_is_no_json_is_refused(fake, raw):
    fake.raw_listing = raw
    with pytest.raises(UserError, match="did not answer with the listing of a Zenodo record"):
        client(fake).list_files(RECORD)


@pytest.mark.parametrize("url", ["zenodo", "file:///etc", "ftp://zenodo.org", ""])
def test_a_base_address_that_is_none_is_named(url):
    with pytest.raises(UserError, match=rf"'{url}/api/records/123' is not an http or https address"):
        Zenodo(url).list_files(RECORD)


@pytest.mark.parametrize("listing", [{}, {"files": None}, {"files": [5]}, [], "text"])
def test_an_answer_that_is_no_listing_is_refused(fake, listing):
    fake.listing = listing
    with pytest.raises(UserError, match="did not answer with the listing of a Zenodo record"):
        client(fake).list_files(RECORD)


def test_a_disk_that_cannot_be_written_is_named(fake, tmp_path):
    with pytest.raises(UserError, match=r"a\.zip\.part cannot be written: No such file or directory"):
        fetch(fake, tmp_path / "none" / "a.zip")
