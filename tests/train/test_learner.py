"""What a checkpoint holds while training goes on, and what a resumed trainer makes of it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.trainer import Trainer
from fls_jax.process.interruption import StopFlag
from fls_jax.runs.checkpoints import CheckpointStore
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.runs.folder import RunFolder
from fls_jax.train.job import Job, Tracking
from tests.ppo.test_trainer import Quarters, SignalPool
from tests.processes import read_rows

# cnn has the most parameters, so that a save is still under way when the next update begins.
CONFIG = TrainConfig(
    network="cnn",
    num_envs=2,
    rollout_length=8,
    minibatches=1,
    epochs=2,
    total_steps=160,
    max_episode_steps=12,
    learning_rate=1e-2,
)


def snapshot(trainer):
    """The parameters, the optimiser and the counters, copied to the host."""
    return jax.tree.map(np.array, trainer.state)


def statistics(trainer):
    s = trainer.statistics
    return list(s.returns), list(s.lengths), s.games


def assert_identical(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def restored(directory, config):
    """A new trainer, resumed from the latest checkpoint, and the store it came from."""
    trainer = Trainer(config)
    store = CheckpointStore(directory, keep=10)
    checkpoint = store.restore_latest(*trainer.checkpoint(), trainer.placement.replicated)
    assert checkpoint is not None
    trainer.restore(checkpoint.params, checkpoint.learner)
    return trainer, store, checkpoint.step


def test_checkpoints_are_the_learner_at_their_step_and_resume_exactly(tmp_path):
    """Saved after each of five updates while the next ones overwrite the buffers; then resumed from.

    A trainer resumed from disk and one resumed from memory go on to the same bits.
    """
    trainer = Trainer(CONFIG)
    store = CheckpointStore(tmp_path, keep=10)
    expected, games = {}, {}
    for _ in range(5):
        trainer.advance()
        store.save(trainer.env_step, *trainer.checkpoint())
        expected[trainer.env_step], games[trainer.env_step] = snapshot(trainer), statistics(trainer)
    memory = trainer.checkpoint()
    trainer.advance()
    store.close()
    assert checkpoint_steps(tmp_path) == list(expected) == [16, 32, 48, 64, 80]
    first, last = expected[16].params, expected[80].params
    assert not np.array_equal(first["policy"]["kernel"], last["policy"]["kernel"])
    assert games[80][2] > games[16][2]

    again, store, step = restored(tmp_path, CONFIG)
    assert step == again.env_step == 80
    assert_identical(snapshot(again), expected[80])
    assert statistics(again) == games[80]
    for step in (64, 48, 32, 16):
        # Without the later ones the store finds each of the others.
        store.close()
        (tmp_path / str(step + 16)).rename(tmp_path / f"later-{step + 16}")
        store = CheckpointStore(tmp_path, keep=10)
        checkpoint = store.restore_latest(*again.checkpoint(), again.placement.replicated)
        assert checkpoint is not None
        state = expected[step]
        assert_identical(jax.tree.map(np.asarray, checkpoint.params), state.params)
        assert_identical(jax.tree.map(np.asarray, checkpoint.learner["optimiser"]), state.optimiser)
    store.close()

    trainer.restore(*memory)
    for _ in range(2):
        from_memory, from_disk = trainer.advance(), again.advance()
        assert from_memory["loss"] == from_disk["loss"]
        assert from_memory["learning_rate"] == from_disk["learning_rate"]
    assert_identical(snapshot(again), snapshot(trainer))
    assert statistics(again) == statistics(trainer)
    again.close()
    trainer.close()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_parameters_that_one_update_spoils_are_never_saved(tmp_path):
    """A rate beyond float32: the update's own loss and gradient are still finite, its result is not."""
    config = TrainConfig(
        num_envs=4,
        rollout_length=8,
        total_steps=320,
        epochs=1,
        minibatches=1,
        learning_rate=1e39,
        checkpoint_every=1,
    )
    make_pool: Any = SignalPool
    trainer = Trainer(config, network=Quarters(), make_pool=make_pool)
    job = Job(config, RunFolder(tmp_path), trainer, StopFlag(), Tracking("off"))
    with pytest.raises(
        UserError, match=r"parameters not finite at update 1 \(step 32\); there is no checkpoint"
    ):
        job.run()
    assert list((tmp_path / "checkpoints").iterdir()) == []
    (row,) = read_rows(tmp_path)
    assert np.isfinite(row["loss"])
    assert np.isfinite(row["grad_norm"])
