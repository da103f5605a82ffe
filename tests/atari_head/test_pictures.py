from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fls_jax.atari_head.pictures import decode_png, preprocess
from tests.atari_head.synthetic import encode_png, play


@pytest.fixture(scope="module")
def frames():
    return play("MsPacman")[0]


def pillow_png(frame: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_pixels_are_those_that_pillow_wrote_and_reads(frames):
    for frame in frames[::20]:
        np.testing.assert_array_equal(decode_png(pillow_png(frame)), frame)
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(encode_png(frame)))), frame)
        palette = Image.fromarray(frame).quantize(256)
        buffer = io.BytesIO()
        palette.save(buffer, "PNG")
        np.testing.assert_array_equal(decode_png(buffer.getvalue()), np.array(palette.convert("RGB")))


def test_a_truncated_picture_is_refused_wherever_it_is_cut(frames):
    png = encode_png(frames[0])
    for cut in (0, 4, 8, 12, 30, len(png) // 2, len(png) - 12, len(png) - 1):
        with pytest.raises(ValueError, match=r"truncated|not a PNG|not 160x210"):
            decode_png(png[:cut])


def test_any_flipped_bit_is_noticed(frames):
    png = encode_png(frames[0])
    rng = np.random.default_rng(0)
    for position in [*range(8, 60), *rng.integers(60, len(png) - 12, 100)]:
        damaged = bytearray(png)
        damaged[position] ^= 1 << rng.integers(8)
        with pytest.raises(ValueError, match=r"truncated|damaged|not 160x210|not a PNG"):
            decode_png(bytes(damaged))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 210, 8, 2, 0, 0, 0))


@pytest.mark.parametrize(("width", "height"), [(84, 84), (210, 160), (50_000, 50_000), (0, 0)])
def test_another_size_is_refused_before_decoding(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=f"^{width}x{height} and not 160x210"):
        decode_png(png)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"IEND", b"")],
        [chunk(b"IHDR", b""), chunk(b"IEND", b"")],
        [HEADER, chunk(b"IEND", b"")],
        [HEADER, chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, 8, 2, 0, 0, 0)), chunk(b"IEND", b"")],
    ],
    ids=["no header", "empty header", "no data", "two headers"],
)
def test_wellformed_chunks_without_a_picture_are_refused(chunks, capfd):
    with pytest.raises(ValueError, match=r"damaged|not a PNG"):
        decode_png(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    capfd.readouterr()


def area_plane(grey: np.ndarray) -> np.ndarray:
    """Area interpolation by its definition: the mean over each target pixel's rectangle, float64 [84, 84]."""

    def weights(size: int) -> np.ndarray:
        edges = np.arange(85) * size / 84
        pixel = np.arange(size)
        return (
            np.clip(np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel), 0, 1)
            * 84
            / size
        )

    return weights(210) @ grey @ weights(160).T


def test_colour_first_takes_the_maximum_before_greying(frames):
    differences = 0
    for first, second in zip(frames[3:-1:8], frames[4::8], strict=True):
        grey = np.maximum(first, second).astype(float) @ (0.299, 0.587, 0.114)
        plane = preprocess([first, second], colour_first=True)
        assert np.abs(plane - area_plane(grey)).max() <= 1
        differences += np.count_nonzero(plane != preprocess([first, second], colour_first=False))
    assert differences > 0


def test_grey_first_takes_the_maximum_of_the_grey_pictures(frames):
    for first, second in zip(frames[3:-1:8], frames[4::8], strict=True):
        grey = np.maximum(
            first.astype(float) @ (0.299, 0.587, 0.114), second.astype(float) @ (0.299, 0.587, 0.114)
        )
        assert np.abs(preprocess([first, second], colour_first=False) - area_plane(grey)).max() <= 1


@pytest.mark.parametrize("game", ["MsPacman", "Seaquest"])
def test_grey_first_gives_envpools_own_observations_exactly(game):
    frames, planes = play(game)
    for k, plane in enumerate(planes):
        pictures = [frames[4 * k - 1], frames[4 * k]] if k else [frames[0]]
        np.testing.assert_array_equal(preprocess(pictures, colour_first=False), plane)
