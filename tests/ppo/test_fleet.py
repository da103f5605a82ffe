"""Several runs at once: each is what it would be alone; and nothing is sent or fetched unasked."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.environments import group_count
from fls_jax.ppo.fleet import Fleet
from fls_jax.ppo.sharding import Placement
from fls_jax.ppo.trainer import Trainer
from tests.ppo.test_trainer import Quarters

SEEDS = (1, 9, 17)
# Real games; a network that is compiled soon, except where convolutions are the point.
CONFIG = TrainConfig(
    game="Breakout",
    num_envs=4,
    rollout_length=8,
    minibatches=2,
    epochs=2,
    total_steps=32 * 40,
    max_episode_steps=12,
    learning_rate=1e-3,
)
TINY = Quarters()
UPDATES = 3


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], np.float64)


def params_of(fleet):
    return [flat(fleet.checkpoint_of(run)[0]) for run in range(len(fleet.seeds))]


def timeless(row):
    return {name: value for name, value in row.items() if not name.startswith("seconds")}


def train(fleet, updates=UPDATES):
    """Initial and final parameters and the rows of each run."""
    before = params_of(fleet)
    rows = [fleet.advance_all() for _ in range(updates)]
    fleet.close()
    assert fleet.env_step == updates * fleet.config.steps_per_update
    by_run = [[timeless(row) for row in run] for run in zip(*rows, strict=True)]
    return list(zip(before, params_of(fleet), by_run, strict=True))


def train_alone(seed, config=CONFIG, network=TINY, updates=UPDATES):
    (run,) = train(Trainer(dataclasses.replace(config, seed=seed), network), updates)
    return run


def assert_alike(ours, theirs):
    """The same start; the same rows and the same way, to rounding."""
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert np.linalg.norm(ours[1] - theirs[1]) < 0.01 * np.linalg.norm(theirs[1] - theirs[0])
    for row, expected in zip(ours[2], theirs[2], strict=True):
        assert list(row) == list(expected)
        for name, value in expected.items():
            about = value if value is None else pytest.approx(value, rel=0.02, abs=1e-4)
            assert row[name] == about, name


@pytest.fixture(scope="module")
def alone():
    return [train_alone(seed) for seed in SEEDS]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mapped", [False, True])
def test_every_run_of_a_fleet_is_what_it_is_alone(alone, mapped, groups):
    fleet = Fleet(dataclasses.replace(CONFIG, env_groups=groups), SEEDS, TINY, mapped=mapped)
    for ours, theirs in zip(train(fleet), alone, strict=True):
        assert_alike(ours, theirs)
        assert ours[2][-1]["episodes"] == theirs[2][-1]["episodes"] > 0


def test_convolutions_are_mapped_too():
    """Mapped over runs they become grouped convolutions, another program than single ones."""
    small = {"num_envs": 2, "rollout_length": 2, "epochs": 1, "max_episode_steps": 6}
    config = dataclasses.replace(CONFIG, network="cnn_sparse_fls_pool", **small)
    runs = train(Fleet(config, SEEDS[:2], mapped=True), 1)
    assert_alike(runs[1], train_alone(SEEDS[1], config, None, 1))


def test_a_run_leaves_a_fleet_and_goes_on_alone():
    """Its checkpoint resumes a single run, and the runs' checkpoints a fleet; both go on alike."""
    fleet = Fleet(CONFIG, SEEDS, TINY, mapped=True)
    fleet.advance_all()
    checkpoints = [fleet.checkpoint_of(run) for run in range(len(SEEDS))]
    start, own = flat(checkpoints[1][0]), fleet.checkpoint_of(1)  # of its own: an update overwrites it
    fleet.close()
    single = Trainer(dataclasses.replace(CONFIG, seed=SEEDS[1]), TINY)
    single.restore(*own)
    again = Fleet(CONFIG, SEEDS, TINY, mapped=False)
    again.restore_all(checkpoints)
    assert single.env_step == again.env_step == CONFIG.steps_per_update
    row, rows = single.advance(), again.advance_all()
    single.close()
    again.close()
    assert rows[1]["loss"] == pytest.approx(row["loss"], rel=1e-3)
    moved = np.linalg.norm(flat(single.state.params) - start)
    assert np.linalg.norm(params_of(again)[1] - flat(single.state.params)) < 0.01 * moved


def test_runs_of_different_updates_are_no_fleet():
    fleet = Fleet(CONFIG, SEEDS[:2], TINY)
    start = fleet.checkpoint_of(0)
    fleet.advance_all()
    with pytest.raises(ValueError, match="must resume from the same update"):
        fleet.restore_all([start, fleet.checkpoint_of(1)])
    fleet.close()


@pytest.mark.parametrize("seeds", [(1,), (1, 9)])
@pytest.mark.parametrize("on_host", [True, False])
def test_the_loop_runs_where_unasked_transfers_are_refused(monkeypatch, seeds, on_host):
    """As on an accelerator (nothing shared with the host) and as on a CPU; the actor in a thread of its own.

    A CPU refuses what is sent to it unasked, not what is fetched.
    """
    config = dataclasses.replace(CONFIG, env_groups=2, overlap=True)
    fleet = Fleet(config, seeds, TINY, mapped=True)
    monkeypatch.setattr(fleet.placement, "_on_host", on_host)
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        rows = [fleet.advance_all() for _ in range(3)]
    finally:
        jax.config.update("jax_transfer_guard", "allow")
        fleet.close()
    assert rows[-1][-1]["episodes"] > 0
    assert np.isfinite(rows[-1][-1]["loss"])


def test_a_step_fetches_its_actions_and_nothing_else(monkeypatch):
    fetched = []
    fetch = Placement.fetch
    monkeypatch.setattr(Placement, "fetch", lambda self, x: fetched.append(x) or fetch(self, x))
    got = []
    get = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: got.append(tree) or get(tree))
    trainer = Trainer(dataclasses.replace(CONFIG, env_groups=2), TINY)
    got.clear()
    for _ in range(2):
        trainer.advance()
    trainer.close()
    assert len(fetched) == 2 * 2 * CONFIG.rollout_length
    assert {(x.shape, x.dtype.name) for x in fetched} == {((2,), "int32")}
    assert len(got) == 2  # the metrics of an update, at once


def test_what_a_fleet_cannot_do_is_said():
    with pytest.raises(UserError, match=r"--devices is 4, but 3 seeds at once share one device"):
        Fleet(dataclasses.replace(CONFIG, devices=4), SEEDS)
    assert group_count(CONFIG, 1) == 1
    assert group_count(dataclasses.replace(CONFIG, env_groups=2), 2) == 2
    with pytest.raises(UserError, match="2 environments act at once, which do not divide among 4 devices"):
        group_count(dataclasses.replace(CONFIG, env_groups=2), 4)
