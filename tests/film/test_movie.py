"""Movies are decoded again with PyAV, and their boxes are read from the bytes."""

from __future__ import annotations

import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest

from fls_jax.errors import UserError
from fls_jax.film.movie import Movie
from tests.processes import small_disk

HEIGHT, WIDTH = 48, 64


def frames(count):
    """A bright square wandering over coloured stripes."""
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, :16], stripes[:, 16:32], stripes[:, 32:48] = (200, 30, 40), (20, 180, 60), (230, 220, 40)
    for number in range(count):
        frame = stripes.copy()
        frame[2 * number % 32 :][:16, 48:] = 255
        yield frame


def write(path, pictures, fps=15):
    """A movie of all the pictures; an exception among them is raised."""
    with Movie(path, fps) as movie:
        for picture in pictures:
            if isinstance(picture, BaseException):
                raise picture
            movie.add(picture)


def boxes(data):
    """Names of the outermost boxes of an MP4 file, in order."""
    names, place = [], 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        names.append(name.decode())
        place += size
    return names


def test_a_movie_is_what_browsers_play(tmp_path):
    write(tmp_path / "new" / "movie.mp4", frames(20))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["movie.mp4"]
    names = boxes((tmp_path / "new" / "movie.mp4").read_bytes())
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")
    with av.open(str(tmp_path / "new" / "movie.mp4")) as container:
        assert len(container.streams) == 1
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 15)
        assert (codec.width, codec.height) == (WIDTH, HEIGHT)
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        times, decoded = zip(
            *((f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)), strict=True
        )
    np.testing.assert_allclose(times, np.arange(20) / 15, atol=1e-6)
    for ours, theirs in zip(frames(20), decoded, strict=True):
        assert np.abs(ours.astype(int) - theirs)[:, [8, 24, 40]].max() <= 6
        assert np.abs(ours.astype(int) - theirs).mean() <= 3


@pytest.mark.parametrize("fps", [1, 30])
def test_frames_a_second(fps, tmp_path):
    write(tmp_path / "movie.mp4", frames(3), fps)
    with av.open(str(tmp_path / "movie.mp4")) as container:
        assert container.streams.video[0].average_rate == fps
        assert [round(frame.time * fps, 6) for frame in container.decode(video=0)] == [0, 1, 2]


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("count", [0, 1, 60])
def test_a_movie_that_is_broken_off_leaves_what_was_there(error, count, tmp_path):
    path = tmp_path / "movie.mp4"
    for before in [None, b"an older movie"]:
        if before:
            path.write_bytes(before)
        with pytest.raises(type(error)):
            write(path, [*frames(count), error])
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [before] * bool(before)


def test_a_killed_process_leaves_nothing_under_the_movies_name(tmp_path):
    script = f"""
        import numpy as np
        from pathlib import Path
        from fls_jax.film.movie import Movie
        noise = np.random.default_rng(0).integers(256, size=(240, 320, 3), dtype=np.uint8)
        with Movie(Path({str(tmp_path / "movie.mp4")!r}), 15) as movie:
            for _ in range(40):
                movie.add(noise)
            print("written", flush=True)
            input()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert [p.name for p in tmp_path.iterdir()] == ["movie.mp4.part"]
    assert (tmp_path / "movie.mp4.part").stat().st_size > 0
    write(tmp_path / "movie.mp4", frames(2))
    assert [p.name for p in tmp_path.iterdir()] == ["movie.mp4"]


def test_a_full_disk_is_told_and_left_as_it_was(tmp_path, rng):
    noise = rng.integers(256, size=(240, 320, 3), dtype=np.uint8)
    with small_disk(tmp_path, "size=200k") as disk:
        with pytest.raises(UserError, match=r"movie\.mp4 cannot be written \(No space left.*free some space"):
            write(disk / "movie.mp4", (np.roll(noise, rng.integers(320), axis=1) for _ in range(100)))
        assert list(disk.iterdir()) == []


def test_a_disk_that_is_full_only_for_the_end(tmp_path):
    """So little is written that it all happens when the file is closed."""
    with small_disk(tmp_path, "size=16k") as disk:
        (disk / "filling").write_bytes(b"0" * 16_384)
        with pytest.raises(UserError, match="free some space"):
            write(disk / "movie.mp4", frames(60))
        assert [p.name for p in disk.iterdir()] == ["filling"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for path in [tmp_path / "file" / "movie.mp4", Path("/proc/movie.mp4"), tmp_path / "folder.mp4"]:
        with pytest.raises(UserError, match=r"cannot be written .*choose another file"):
            write(path, [AssertionError("opened")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.mp4"]


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((47, 64, 3), np.uint8),
        np.zeros((48, 63, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
def test_frames_that_no_movie_takes(frame, tmp_path):
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\] with even H and W; this is"):
        write(tmp_path / "movie.mp4", [frame])
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_sizes_and_none_at_all(tmp_path):
    with pytest.raises(ValueError, match="All frames must be 48x64; this is 48x32"):
        write(tmp_path / "movie.mp4", [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)])
    with pytest.raises(ValueError, match="without frames"):
        write(tmp_path / "movie.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_frames_may_be_views(tmp_path):
    picture = next(frames(1))
    write(tmp_path / "movie.mp4", [np.flip(picture, axis=-1)])
    with av.open(str(tmp_path / "movie.mp4")) as container:
        (frame,) = container.decode(video=0)
    assert np.abs(frame.to_ndarray(format="bgr24").astype(int) - picture)[:, [8, 24, 40]].max() <= 6
