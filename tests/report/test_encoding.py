"""What the document packs, decoded by hand as its schema says."""

from __future__ import annotations

import base64
import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fls_jax.report.encoding import (
    BLOCK,
    packed,
    pictures,
    plain,
    quantised,
    ragged,
    screens,
    unpacked,
    unpacked_pictures,
)


def by_hand(record):
    """Pictures as the schema tells it: blocks, and within a block each as XOR with the one before."""
    found = []
    for data in record["data"]:
        block = np.frombuffer(zlib.decompress(base64.b64decode(data)), record["dtype"])
        before = 0
        for picture in block.reshape(-1, *record["shape"][1:]):
            before = picture ^ before
            found.append(before)
    return np.array(found)


@pytest.mark.parametrize("steps", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pictures_come_back_exactly(rng, steps, dtype):
    values = rng.integers(0, np.iinfo(dtype).max + 1, (steps, 5, 3)).astype(dtype)
    record = pictures(values)
    assert record["shape"] == [steps, 5, 3]
    assert len(record["data"]) == math.ceil(steps / record["block"])
    np.testing.assert_array_equal(by_hand(record), values)
    np.testing.assert_array_equal(unpacked_pictures(record), values)


@pytest.mark.parametrize("colours", [1, 2, 256, 257])
def test_screens_lose_nothing(rng, colours):
    palette = rng.permutation(2**24)[:colours]
    palette = np.stack([palette >> 16, palette >> 8 & 255, palette & 255], axis=1).astype(np.uint8)
    chosen = np.resize(rng.permutation(colours), (2, 12, 13))
    clip = palette[chosen]
    record, found = screens(2, lambda t: clip[t])
    values = by_hand(record)
    if colours > 256:
        assert found is None
        np.testing.assert_array_equal(values, clip)
    else:
        assert len(found) == min(colours, 2 * 12 * 13)
        np.testing.assert_array_equal(np.array(found)[values], clip)


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@settings(max_examples=60, deadline=None)
def test_floats_keep_twelve_bits(values):
    record = packed(values)
    raw = np.frombuffer(zlib.decompress(base64.b64decode(record["data"])), "<f4")
    assert record["shape"] == list(raw.shape) == list(values.shape)
    assert (np.abs(raw - values) <= np.abs(values) * 2.0**-12 + 1e-37).all()
    np.testing.assert_array_equal(unpacked(record), raw)


def test_what_is_no_number_survives():
    back = unpacked(packed([np.nan, np.inf, -np.inf, 0.0, -0.0]))
    assert np.isnan(back[0])
    assert list(back[1:]) == [np.inf, -np.inf, 0.0, 0.0]
    assert plain({"a": [np.float32("nan"), math.inf, (1, np.int64(2))], 3: "x"}) == {
        "a": [None, None, [1, 2]],
        "3": "x",
    }


@pytest.mark.parametrize(("side", "levels"), [(7, 65535), (84, 255)])
def test_maps_are_within_half_a_level(rng, side, levels):
    maps = rng.normal(5.4, 0.05, (4, side, side)).astype(np.float32)
    stored, low, high = quantised(maps)
    back = low + (high - low) * stored / levels
    assert np.abs(back - maps).max() <= (high - low) / levels / 2 * 1.01
    assert (low, high) == (maps.min(), maps.max())


def test_a_map_that_never_changes_and_one_that_is_not_finite():
    stored, low, high = quantised(np.full((2, 3, 3), 2.5, np.float32))
    assert (low, high) == (2.5, 2.5)
    assert not stored.any()
    with pytest.raises(ValueError, match="finite"):
        quantised(np.full((1, 2, 2), np.nan))


def test_ragged_points():
    record = ragged([np.zeros((0, 2)), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0]])])
    offsets, points = unpacked(record["offsets"]), unpacked(record["points"])
    assert list(offsets) == [0, 0, 2, 3]
    assert points[offsets[1] : offsets[2]].tolist() == [[1, 2], [3, 4]]
