"""Checkpoints on a real disk: bit-exact, bounded in number, and sentences where they are damaged."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import shutil
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import SingleDeviceSharding

from fls_jax.errors import UserError
from fls_jax.runs.checkpoints import CheckpointStore, checkpoint_steps, load_params
from tests.processes import forced_devices, run_python, small_disk

HERE = SingleDeviceSharding(jax.local_devices()[0])


def make_items(seed, size=5_000):
    """Parameters, and a learner with everything that a learner may hold: an optax state, counters, a key."""
    rng = np.random.default_rng(seed)
    params = {
        "conv": {"kernel": jnp.asarray(rng.normal(size=(3, size)), jnp.float32)},
        "bias": jnp.asarray(rng.normal(size=7), jnp.float32),
    }
    learner = {
        "optimiser": optax.adam(1e-3).init(params),
        "update": jnp.asarray(seed, jnp.int32),
        "key": jax.random.key_data(jax.random.key(seed)),
        "statistics": {"returns": rng.normal(size=100) * 1e9, "games": np.asarray(2**40 + seed)},
    }
    return params, learner


def assert_identical(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of seeds 1, 2, 3 at steps 10, 20, 30; returns (run folder, directory)."""
    directory = tmp_path / "checkpoints"
    store = CheckpointStore(directory)
    for seed in (1, 2, 3):
        store.save(10 * seed, *make_items(seed))
    store.close()
    return directory


def restore(directory):
    store = CheckpointStore(directory)
    try:
        return store.restore_latest(*make_items(0), HERE)
    finally:
        store.close()


def biggest_file(checkpoint, item):
    return max((p for p in (checkpoint / item).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_restored_is_what_was_saved_bit_for_bit(saved):
    restored = restore(saved)
    params, learner = make_items(3)
    assert restored.step == 30
    assert restored.damaged == {}
    assert_identical(restored.params, params)
    assert_identical(restored.learner, learner)
    assert isinstance(restored.learner["statistics"]["returns"], np.ndarray)


def test_params_load_alone_without_the_learner(saved):
    shutil.rmtree(saved / "20" / "learner")
    step, params = load_params(saved, 20)
    assert step == 20
    assert_identical(params, jax.tree.map(np.asarray, make_items(2)[0]))
    assert load_params(saved)[0] == 30


def test_loading_leaves_the_folder_of_a_running_training_alone(saved):
    """Also what a save under way has written so far."""
    unfinished = saved / "40.orbax-checkpoint-tmp"
    unfinished.mkdir()
    assert checkpoint_steps(saved) == [10, 20, 30]
    assert load_params(saved)[0] == 30
    assert unfinished.exists()
    assert restore(saved).step == 30
    assert not unfinished.exists()


def test_loading_changes_no_logging_and_no_hooks(saved):
    def settings():
        loggers = [logging.getLogger(name) for name in (None, "absl", "asyncio", "orbax", "jax")]
        return [(log.level, list(log.filters), list(log.handlers)) for log in loggers], sys.unraisablehook

    before = settings()
    load_params(saved)
    assert settings() == before
    DAMAGES["data cut short"](saved / "30")
    with pytest.raises(UserError):
        load_params(saved, 30)
    assert settings() == before
    store = CheckpointStore(saved)
    assert settings() != before
    store.close()
    assert settings() == before


def test_the_latest_is_read_while_a_training_replaces_it(tmp_path):
    """One checkpoint is kept, and a new one is saved all the time."""
    ended = threading.Event()

    def save():
        store = CheckpointStore(tmp_path, keep=1)
        step = 0
        while not ended.is_set():
            step += 1
            store.save(step, {"w": jnp.full(100, step, jnp.float32)}, {"update": jnp.zeros(())})
        store.close()

    training = threading.Thread(target=save)
    training.start()
    try:
        while not checkpoint_steps(tmp_path):
            time.sleep(0.01)
        read, deadline = [], time.monotonic() + 120  # a machine that does other things saves slowly
        while len(read) < 60 or (len({step for step, _ in read}) <= 10 and time.monotonic() < deadline):
            read.append(load_params(tmp_path))
    finally:
        ended.set()
        training.join()
    assert len({step for step, _ in read}) > 10
    for step, params in read:
        np.testing.assert_array_equal(params["w"], np.full(100, step))


def test_no_checkpoint_and_wrong_steps_are_sentences(saved, tmp_path):
    assert checkpoint_steps(tmp_path / "none") == []
    with pytest.raises(UserError, match=r"no checkpoint in .*none"):
        load_params(tmp_path / "none")
    with pytest.raises(UserError, match=r"no checkpoint at step 15 .*10, 20, 30"):
        load_params(saved, 15)
    assert restore(tmp_path / "empty") is None


def test_the_latest_are_kept_and_the_first_of_every_interval(tmp_path):
    """Checkpoints every 30 steps, the first at or after 100, 200, ... kept, also over a restart."""
    for first in (30, 330):
        store = CheckpointStore(tmp_path, keep=2, keep_every=100)
        for step in range(first, first + 300, 30):
            store.save(step, *make_items(step))
        store.close()
    # 600 and 570 are the latest two.
    assert checkpoint_steps(tmp_path) == [120, 210, 300, 420, 510, 570, 600]


def test_arrays_may_be_donated_as_soon_as_save_returns(tmp_path):
    """The write goes on in the background while the next update overwrites the buffers it was given."""
    spoil = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=4_000_000), jnp.float32)}
    expected = np.array(params["w"])
    store = CheckpointStore(tmp_path)
    store.save(1, params, {"update": jnp.zeros(())})
    for _ in range(3):
        params = {"w": spoil(params["w"])}
    jax.block_until_ready(params)
    store.close()
    assert load_params(tmp_path)[1]["w"].tobytes() == expected.tobytes()


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "data cut short": lambda c: cut_in_half(biggest_file(c, "params")),
    "learner cut short": lambda c: cut_in_half(biggest_file(c, "learner")),
    "manifest cut short": lambda c: cut_in_half(c / "params" / "manifest.ocdbt"),
    "manifest empty": lambda c: (c / "params" / "manifest.ocdbt").write_bytes(b""),
    "tree metadata cut short": lambda c: cut_in_half(c / "params" / "_METADATA"),
    "tree metadata gone": lambda c: (c / "learner" / "_METADATA").unlink(),
    "checkpoint metadata cut short": lambda c: cut_in_half(c / "_CHECKPOINT_METADATA"),
    "params gone": lambda c: shutil.rmtree(c / "params"),
    "learner gone": lambda c: shutil.rmtree(c / "learner"),
    "everything gone": lambda c: [shutil.rmtree(c), c.mkdir()],
    "data overwritten": lambda c: biggest_file(c, "params").write_bytes(
        b"\x7f" * biggest_file(c, "params").stat().st_size
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_falls_back_to_the_one_before(saved, damage):
    """Or, where the damage can be read around, gives the latest unharmed. Never anything else."""
    DAMAGES[damage](saved / "30")
    restored = restore(saved)
    if restored.step == 30:
        assert damage in {"checkpoint metadata cut short"}
    else:
        assert restored.step == 20
        assert list(restored.damaged) == [30]
        assert restored.damaged[30]
        assert "\n" not in restored.damaged[30]
        assert (saved.parent / "damaged-checkpoints" / "30-1").is_dir()
        assert checkpoint_steps(saved) == [10, 20]
    params, learner = make_items(restored.step // 10)
    assert_identical(restored.params, params)
    assert_identical(restored.learner, learner)


def test_after_a_fall_back_the_same_step_is_saved_again(saved):
    DAMAGES["data cut short"](saved / "30")
    store = CheckpointStore(saved)
    store.restore_latest(*make_items(0), HERE)
    store.save(30, *make_items(5))
    store.close()
    assert_identical(load_params(saved, 30)[1], jax.tree.map(np.asarray, make_items(5)[0]))


def test_where_all_are_damaged_nothing_is_moved_and_every_start_says_so(saved):
    for step in (10, 20, 30):
        DAMAGES["data cut short"](saved / str(step))
    for _ in range(2):
        with pytest.raises(UserError, match="None of the checkpoints"):
            restore(saved)
    assert checkpoint_steps(saved) == [10, 20, 30]
    with pytest.raises(UserError, match="cannot be read"):
        load_params(saved)


def test_parameters_of_another_network_are_refused(saved):
    params, learner = make_items(0, size=6_000)
    store = CheckpointStore(saved)
    with pytest.raises(UserError, match="None of the checkpoints"):
        store.restore_latest(params, learner, HERE)
    store.close()
    assert checkpoint_steps(saved) == [10, 20, 30]


@pytest.mark.parametrize("limit", ["size=1500k", "size=10m,nr_inodes=4", "size=10m,nr_inodes=40"])
def test_a_full_disk_is_a_sentence_and_the_checkpoints_before_it_stand(tmp_path, limit, capfd):
    """Real small disks: full of bytes, or of files when the folder or the files of a save are made."""
    with small_disk(tmp_path, limit) as disk:
        params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=100_000), jnp.float32)}
        store = CheckpointStore(disk / "checkpoints", keep=10)
        with pytest.raises(UserError, match="the disk is full"):  # noqa: PT012
            for step in range(1, 20):
                store.save(step, params, {"update": np.asarray(step)})
                store.wait()
        store.close()
        assert checkpoint_steps(disk / "checkpoints") == list(range(1, step))
        for good in range(1, step):
            assert load_params(disk / "checkpoints", good)[1]["w"].tobytes() == params["w"].tobytes()
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("place", ["ocdbt.process_0/d/0058", "params.kernel"])
def test_writes_beside_a_failed_one_print_nothing(saved, place, caplog):
    """Of several writes that fail, Orbax raises one; the others end unseen in tasks that its frames hold."""

    def fail(*_, **__):
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            failed = loop.create_future()
        failed.set_exception(ValueError(f'Error writing "{place}" in TensorStore: No space left on device'))
        raise OSError(errno.ENOSPC, "No space left on device")

    store = CheckpointStore(saved)
    store._manager.save = fail
    with pytest.raises(UserError, match="disk is full") as raised, contextlib.closing(store):
        store.save(40, *make_items(4))
    assert raised.value.__cause__ is not None  # whoever handles the error holds its frames
    del raised
    gc.collect()
    assert caplog.text == ""


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be saved"):
        CheckpointStore(tmp_path / "file" / "checkpoints")


SAVE_ON_FOUR = """
import sys
from pathlib import Path
import jax
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.ppo.sharding import Placement
from tests.runs.test_checkpoints import make_items
placement = Placement(4, 8)
params, learner = make_items(4)
replicated = placement.replicate(params)
assert len(replicated["bias"].sharding.device_set) == 4
store = CheckpointStore(Path(sys.argv[1]))
store.save(40, replicated, learner | {"optimiser": placement.replicate(learner["optimiser"])})
store.close()
"""


def test_what_four_devices_saved_one_device_restores(tmp_path):
    run_python(["-c", SAVE_ON_FOUR, str(tmp_path)], **forced_devices(4))
    params, learner = make_items(4)
    assert_identical(load_params(tmp_path)[1], jax.tree.map(np.asarray, params))
    restored = restore(tmp_path)
    assert_identical(restored.params, params)
    assert_identical(restored.learner, learner)
    assert restored.params["bias"].sharding.device_set == {jax.local_devices()[0]}


def test_checkpoints_are_plain_to_other_tools(saved):
    """The layout that the documentation promises: one folder an env_step, the two items inside."""
    assert {p.name for p in (saved / "30").iterdir()} >= {"params", "learner"}
    assert "learner" in json.loads((saved / "30" / "_CHECKPOINT_METADATA").read_text())["item_handlers"]
