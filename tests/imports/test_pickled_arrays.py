"""Arrays come out of joblib's files as joblib wrote them; nothing in a file is ever run."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fls_jax.imports.pickled_arrays import UnsafePickleError, load_arrays

ARRAYS = {
    "float32": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "big endian": np.arange(5, dtype=">f4"),
    "int64": np.array([[1, -2]], np.int64),
    "bool": np.array([True, False]),
    "half": np.array(0.5, np.float16),
    "empty": np.zeros((0, 3), np.float32),
    "not contiguous": np.arange(20.0)[::3],
    "scalar": np.float32(0.999),
}


def check(loaded):
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        assert loaded[name].shape == array.shape


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol, tmp_path):
    joblib.dump(ARRAYS, tmp_path / "model.pkl", protocol=protocol)
    check(load_arrays(tmp_path / "model.pkl"))


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_every_compression(compression, tmp_path):
    joblib.dump(ARRAYS, tmp_path / "model.pkl", compress=(compression, 3))
    check(load_arrays(tmp_path / "model.pkl"))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_plain_pickles_under_both_names_of_numpy(core, protocol, tmp_path):
    written = pickle.dumps(ARRAYS, protocol=protocol)
    (tmp_path / "model.pkl").write_bytes(rename_module(written, core))
    check(load_arrays(tmp_path / "model.pkl"))


def rename_module(written: bytes, module: bytes) -> bytes:
    """A pickle with NumPy's module renamed, lengths included."""
    ours = b"numpy._core.multiarray"
    assert ours in written
    short = b"\x8c" + bytes([len(ours)]) + ours
    renamed = written.replace(short, b"\x8c" + bytes([len(module)]) + module)
    if renamed[1] >= 4:  # its frame is as much shorter or longer
        size = struct.unpack("<Q", renamed[3:11])[0] + len(renamed) - len(written)
        renamed = renamed[:3] + struct.pack("<Q", size) + renamed[11:]
    return renamed.replace(b"c" + ours + b"\n", b"c" + module + b"\n")


def old_joblib_dump(arrays: dict[str, np.ndarray]) -> bytes:
    """What joblib 0.13 wrote in 2019: protocol 3, no alignment of the raw arrays, spelt by hand."""

    def text(s: str) -> bytes:
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    out = b"\x80\x03}("
    for name, array in arrays.items():
        shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
        dtype = b"cnumpy\ndtype\n" + text(array.dtype.str[1:]) + b"K\x00K\x01\x87R"
        dtype += b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        out += text(name) + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
        out += text("subclass") + b"cnumpy\nndarray\n" + text("shape") + shape + text("order") + text("C")
        out += text("dtype") + dtype + text("allow_mmap") + b"\x88ub" + array.tobytes()
    return out + b"u."


def test_files_as_old_as_the_models(tmp_path):
    arrays = {"a": np.arange(7, dtype=np.float32), "b": np.arange(6.0).reshape(2, 3)}
    (tmp_path / "model.pkl").write_bytes(old_joblib_dump(arrays))
    theirs = joblib.load(tmp_path / "model.pkl")
    ours = load_arrays(tmp_path / "model.pkl")
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)  # the file is one that joblib knows
        np.testing.assert_array_equal(ours[name], array)


def test_ordered_dicts_and_other_plain_entries(tmp_path):
    content = collections.OrderedDict(a=np.ones(3), names=["x", ("y", 2.5)], steps=10**20, nothing=None)
    joblib.dump(content, tmp_path / "model.pkl")
    loaded = load_arrays(tmp_path / "model.pkl")
    assert list(loaded) == ["a"]
    np.testing.assert_array_equal(loaded["a"], np.ones(3))


class Runs:
    """Pickled, it calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class SetsState:
    """Pickled, it hands `state` to whatever `function` returns."""

    def __init__(self, function, arguments, state):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


def malicious(marker: Path) -> dict[str, bytes]:
    """Pickles of which each, loaded with pickle, would make `marker` or reach what it should not."""
    touch = f"touch {marker}"
    dump = {
        "os.system": Runs(os.system, touch),
        "eval": Runs(eval, f"open({str(marker)!r}, 'w')"),
        "getattr": Runs(getattr, {}, "clear"),
        "import": Runs(__import__, "os"),
        "numpy.load": Runs(np.load, str(marker)),
        "object array": np.array([Runs(os.system, touch)], dtype=object),
        "object array of numbers": np.array([1, "two"], dtype=object),
        "structured array": np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
        "text array": np.array(["text"]),
        "subclass": np.ma.masked_array([1.0], [True]),
        "class": collections.Counter("a"),
        "dtype with fields": SetsState(
            np.dtype, ("f4", False, True), (3, "|", None, ("a",), {"a": (np.dtype("f4"), 0)}, 4, 4, 0)
        ),
    }
    files = {name: joblib_bytes({"ppo2_model/pi/w:0": value}) for name, value in dump.items()}
    files |= {name + " alone": pickle.dumps(value) for name, value in dump.items() if name != "subclass"}
    command = touch.encode()
    files |= {
        "INST": b"(S'" + command + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + command + b"'\no.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0adtype.type\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"P1\n.",
        "call of text": b"\x80\x02X\x01\x00\x00\x00a)R.",
        "call of an array": b"\x80\x02cnumpy\nndarray\n(K\x02tR.",
        "new ndarray": b"\x80\x02cnumpy\nndarray\nK\x02\x85\x81.",
        "state of a name": b"\x80\x02cnumpy\ndtype\n}X\x04\x00\x00\x00nameX\x01\x00\x00\x00asb.",
        "items of a name": b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00aX\x01\x00\x00\x00bs.",
        "list as key": b"\x80\x02}]K\x01s.",
        "encode otherwise": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    }
    return files


def joblib_bytes(content) -> bytes:
    stream = io.BytesIO()
    joblib.dump(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", sorted(malicious(Path("/nowhere"))))
def test_a_malicious_file_is_refused_and_nothing_runs(name, tmp_path):
    marker = tmp_path / "marker"
    for written in (content := malicious(marker)[name], zlib.compress(content)):
        (tmp_path / "model.pkl").write_bytes(written)
        with pytest.raises(UnsafePickleError):
            load_arrays(tmp_path / "model.pkl")
    assert not marker.exists()


def test_the_malicious_files_are_dangerous_to_pickle(tmp_path):
    marker = tmp_path / "marker"
    files = malicious(marker)
    for name in ("os.system", "object array", "INST", "OBJ"):
        marker.unlink(missing_ok=True)
        load = joblib.load if name in ("os.system", "object array") else pickle.load
        load(io.BytesIO(files[name]))
        assert marker.exists(), name


def test_what_was_refused_is_named(tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Runs(os.system, "true")))
    with pytest.raises(UnsafePickleError, match=r"it asks for 'posix.system'"):
        load_arrays(tmp_path / "model.pkl")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": np.array([None])}))
    with pytest.raises(UnsafePickleError, match=r"array of dtype 'O8'; only numbers are read, no objects"):
        load_arrays(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "exhausted"),
        (b"not a pickle", "not a joblib dump"),
        (pickle.dumps([1, 2]), "holds a list, not a dict"),
        (old_joblib_dump({"a": np.ones(9, np.float32)})[:-20], "needs 36 bytes and 18 are left"),
        (old_joblib_dump({"a": np.ones(9)}).replace(b"J\t\0\0\0", b"J\xff\xff\xff\x7f"), "bytes and"),
        (old_joblib_dump({"a": np.ones(9)}).replace(b"J\t\0\0\0", b"J\xff\xff\xff\xff"), "invalid"),
        (zlib.compress(pickle.dumps(ARRAYS))[:-200], "damaged"),
        (b"x\x9cnothing", "cannot be decompressed"),
        (b"\x1f\x8b\x08nothing nothing", "cannot be decompressed"),
        (b"\x04\x22\x4d\x18", "lz4: decompress it first"),
    ],
)
def test_damaged_files(written, message, tmp_path):
    (tmp_path / "model.pkl").write_bytes(written)
    with pytest.raises(ValueError, match=message):
        load_arrays(tmp_path / "model.pkl")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("fls_jax.imports.pickled_arrays.MAX_BYTES", 2**20)
    bomb = zlib.compress(b"\0" * 2**22)
    (tmp_path / "model.pkl").write_bytes(bomb)
    with pytest.raises(ValueError, match="larger than 1 GiB unpacked"):
        load_arrays(tmp_path / "model.pkl")


def test_a_text_that_is_encoded_again_and_again_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("fls_jax.imports.pickled_arrays.MAX_BYTES", 2**20)
    text = b"X" + (2**16).to_bytes(4, "little") + b"a" * 2**16 + b"q\x01"
    prepared = b"\x80\x02c_codecs\nencode\nq\x00" + text + b"X\x06\0\0\0latin1q\x02\x86R"
    for times, outcome in ((10, "holds a list"), (16, "larger than 1 GiB unpacked")):
        written = b"\x80\x02(" + prepared[2:] + times * b"h\x00h\x01h\x02\x86R" + b"l."
        (tmp_path / "model.pkl").write_bytes(written)
        assert pickle.loads(written) == [b"a" * 2**16] * (times + 1)
        with pytest.raises(ValueError, match=outcome):
            load_arrays(tmp_path / "model.pkl")


def test_arrays_of_the_same_bytes_share_them(tmp_path):
    (tmp_path / "model.pkl").write_bytes(joblib_bytes({"a": np.arange(3.0), "b": np.float32(2)}))
    assert not load_arrays(tmp_path / "model.pkl")["a"].flags.owndata


WRITTEN = joblib_bytes({"a": np.arange(3.0), "b": np.float32(2)})


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WRITTEN) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 40)
)
def test_any_damage_is_a_value_error_or_harmless(tmp_path_factory, changes, cut):
    written = bytearray(WRITTEN[: len(WRITTEN) - cut])
    for place, byte in changes:
        if place < len(written):
            written[place] = byte
    file = tmp_path_factory.getbasetemp() / "damaged.pkl"
    file.write_bytes(written)
    with contextlib.suppress(ValueError):
        load_arrays(file)
