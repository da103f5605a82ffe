"""The trainer in memory: it learns, and it is a function of its key on any number of devices."""

from __future__ import annotations

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.specs import NetworkSpec
from fls_jax.ppo.environments import atari_pool, environment_seeds
from fls_jax.ppo.episodes import EpisodeStatistics
from fls_jax.ppo.fleet import check_spread
from fls_jax.ppo.trainer import Trainer
from fls_jax.types import EnvStep, NetworkOutput
from tests.processes import forced_devices, run_python

PONG = TrainConfig(
    network="cnn_sparse_fls_pool", num_envs=4, rollout_length=8, minibatches=2, epochs=2, total_steps=32 * 40
)


class SignalPool:
    """One bright quarter of the screen names the action that pays 1; others pay -1; 10 steps a game."""

    num_actions = 4

    def __init__(self, config, seeds):
        self.num_envs = len(seeds)
        self._rng = np.random.default_rng(seeds)

    def reset(self):
        self._clock = np.arange(self.num_envs) % 10
        self._returns = np.zeros(self.num_envs)
        return self._screens()

    def _screens(self):
        self._wanted = self._rng.integers(0, 4, self.num_envs)
        screens = np.zeros((self.num_envs, 4, 84, 84), np.uint8)
        for i, wanted in enumerate(self._wanted):
            row, column = divmod(int(wanted), 2)
            screens[i, :, 42 * row : 42 * row + 42, 42 * column : 42 * column + 42] = 255
        return screens

    def send(self, actions):
        self._actions = actions

    def receive(self):
        actions = self._actions
        rewards = np.where(actions == self._wanted, 1.0, -1.0).astype(np.float32)
        self._returns += rewards
        self._clock = (self._clock + 1) % 10
        ended = self._clock == 0
        returns = self._returns[ended].copy()
        self._returns[ended] = 0.0
        none = np.zeros(self.num_envs, bool)
        return EnvStep(
            self._screens(),
            rewards,
            ended,
            none,
            None,
            returns,
            np.full(len(returns), 10, np.int64),
            np.flatnonzero(ended),
        )

    def close(self):
        pass


class Quarters(nn.Module):
    """A cheap network for SignalPool: the mean of a grid in each quarter, one hidden layer."""

    spec: NetworkSpec | None = None

    @nn.compact
    def __call__(self, observations):
        x = observations[..., ::6, ::6, :].astype(jnp.float32)
        x = x.reshape(-1, 2, 7, 2, 7, 4).mean(axis=(2, 4, 5)) / 255
        x = nn.tanh(nn.Dense(16)(x.reshape(-1, 4)))
        return NetworkOutput(nn.Dense(4)(x), nn.Dense(1)(x)[:, 0], jnp.zeros((x.shape[0], 1, 1)))


def leaves(trainer):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trainer.state)]


def train(config, updates, **options):
    trainer = Trainer(config, **options)
    rows = [trainer.advance() for _ in range(updates)]
    trainer.close()
    return trainer, rows


@pytest.mark.parametrize("overlap", [False, True])
def test_it_learns(overlap):
    """A random policy earns -5 a game, a perfect one 10; learning must come near the latter."""
    config = TrainConfig(
        total_steps=512 * 60, learning_rate=5e-3, num_envs=16, rollout_length=32, overlap=overlap
    )
    _, rows = train(config, 60, network=Quarters(), make_pool=SignalPool)
    assert rows[0]["eprewmean"] < 0
    assert rows[-1]["eprewmean"] > 9
    assert rows[-1]["entropy"] < 0.5 * rows[0]["entropy"]


@pytest.mark.parametrize("overlap", [False, True])
def test_the_same_seed_gives_the_same_parameters_on_real_pong(overlap):
    config = dataclasses.replace(PONG, overlap=overlap)
    first, rows = train(config, 4)
    again, rows_again = train(config, 4)
    for a, b in zip(leaves(first), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    timeless = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]
    assert timeless == [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows_again]
    other, _ = train(dataclasses.replace(config, seed=2), 4)
    assert any(not np.array_equal(a, b) for a, b in zip(leaves(first), leaves(other), strict=True))


def test_the_cost_of_attention_is_recorded_and_lowers_it():
    config = dataclasses.replace(PONG, network="cnn_patch_fls", num_envs=2, minibatches=1)
    _, free = train(config, 3)
    _, costly = train(dataclasses.replace(config, attention_cost=10.0), 3)
    assert "loss_attention" not in free[0]
    assert costly[0]["loss_attention"] == pytest.approx(10 * costly[0]["attention_mean"], rel=1e-4)
    assert costly[-1]["attention_mean"] < costly[0]["attention_mean"]
    assert costly[-1]["attention_mean"] < free[-1]["attention_mean"]


def test_no_two_runs_share_seeds_of_environments():
    """Seeds of runs and of what they resume with: all different, and within EnvPool's 31 bits."""
    config = TrainConfig(num_envs=64)
    seeds = [environment_seeds(config, seed) for seed in range(40)]
    drawn = [each for run in seeds for each in run]
    assert len(set(drawn)) == len(drawn) == 40 * 64
    assert 0 <= min(drawn) <= max(drawn) < 2**31
    assert (
        environment_seeds(TrainConfig(num_envs=8), 3) == seeds[3][:8]
    )  # more environments change nothing of the first


@pytest.mark.parametrize(("way", "same"), [("spread", False), ("consecutive", True)])
def test_environments_are_seeded_as_the_configuration_says(way, same):
    """Consecutive: environment 1 of seed 1 plays the game of environment 0 of seed 2. Spread: it does not."""
    config = TrainConfig(game="Breakout", num_envs=2, environment_seeds=way)
    first = []
    for seed in (1, 2):
        pool = atari_pool(config, environment_seeds(config, seed))
        screens = [pool.reset()]
        screens += [pool.step(np.full(2, action, np.int32)).observations for action in (2, 3, 1, 2)]
        pool.close()
        first.append(np.stack(screens))
    assert np.array_equal(first[0][:, 1], first[1][:, 0]) is same


def test_overlap_acts_with_parameters_one_update_old():
    """Rollout 2 was acted before update 1: its policy at action time is the initial one."""
    config = dataclasses.replace(PONG, overlap=True, learning_rate=1e-2)
    plain, rows = train(dataclasses.replace(config, overlap=False), 2)
    late, late_rows = train(config, 2)
    assert rows[0]["loss"] == late_rows[0]["loss"]
    # On policy, the ratio of the first minibatch is 1; one update late it is not.
    assert late_rows[1]["approx_kl"] > 1.5 * rows[1]["approx_kl"]
    assert plain.updates == late.updates == 2


@pytest.mark.parametrize("network", [None, Quarters()])
def test_only_a_tiny_network_is_computed_on_the_calling_thread(monkeypatch, network):
    """JAX's setting is process-wide and stands for the first trainer only, so it is watched, not read."""
    settings = []
    monkeypatch.setattr(jax.config, "update", lambda *setting: settings.append(setting))
    Trainer(PONG, network=network, make_pool=SignalPool).close()
    inline = ("jax_cpu_enable_async_dispatch", False)
    assert (inline in settings) == (network is not None)


def test_restoring_forgets_the_rollout_that_was_played_ahead():
    config = dataclasses.replace(PONG, overlap=True)
    trainers = [Trainer(config, network=Quarters(), make_pool=SignalPool) for _ in range(2)]
    trainers[0].advance()
    params, learner = jax.device_get(trainers[0].checkpoint())
    trainers[0].advance()
    rows = []
    for trainer in trainers:
        trainer.restore(params, learner)
        rows.append({k: v for k, v in trainer.advance().items() if not k.startswith("seconds")})
        trainer.close()
    assert rows[0] == rows[1]


def test_a_row_has_what_is_promised():
    _, rows = train(PONG, 1)
    promised = (
        "update env_step eprewmean eprewmedian eplenmean episodes loss_policy loss_value entropy approx_kl "
        "clip_fraction explained_variance grad_norm learning_rate attention_mean attention_max "
        "attention_entropy seconds_policy seconds_environment seconds_transfer seconds_update"
    )
    assert set(promised.split()) <= set(rows[0])
    assert rows[0]["env_step"] == 32
    assert rows[0]["eprewmean"] is None
    json.dumps(rows[0], allow_nan=False)
    _, rows = train(dataclasses.replace(PONG, network="cnn"), 1)
    assert not any(name.startswith("attention") for name in rows[0])


def test_first_policy_is_nearly_uniform_and_ratio_starts_at_one():
    _, rows = train(dataclasses.replace(PONG, epochs=1, minibatches=1), 1)
    assert rows[0]["entropy"] == pytest.approx(np.log(6), abs=0.01)
    assert rows[0]["approx_kl"] == pytest.approx(0.0, abs=1e-9)
    assert rows[0]["clip_fraction"] == 0.0
    assert rows[0]["learning_rate"] == pytest.approx(2.5e-4)


def test_statistics_keep_the_last_hundred_whole_games():
    statistics = EpisodeStatistics()
    statistics.add(np.arange(150.0), np.arange(150))
    assert statistics.row() == {"eprewmean": 99.5, "eprewmedian": 99.5, "eplenmean": 99.5, "episodes": 150}
    again = EpisodeStatistics.from_arrays(statistics.to_arrays())
    assert again.row() == statistics.row()
    again.add(np.array([-5.0]), np.array([1]))
    assert min(again.returns) == -5.0
    assert len(again.returns) == 100


FOUR_DEVICES = """
import dataclasses, sys
import jax, numpy as np
from jax.flatten_util import ravel_pytree
from fls_jax.ppo.trainer import Trainer
from tests.ppo.test_trainer import PONG
devices, folder = int(sys.argv[1]), sys.argv[2]
assert len(jax.local_devices()) == 4
for microbatch in (0, 8):
    config = dataclasses.replace(PONG, devices=devices, microbatch=microbatch, learning_rate=1e-3)
    trainer = Trainer(config)
    before = np.array(ravel_pytree(trainer.state.params)[0])
    rows = [trainer.advance() for _ in range(3)]
    trainer.close()
    spread = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(trainer.state)}
    assert spread == {devices}, spread
    after = np.asarray(ravel_pytree(trainer.state.params)[0])
    losses = [row["loss"] for row in rows]
    np.savez(f"{folder}/{devices}-{microbatch}.npz", before=before, after=after, losses=losses)
"""


def test_four_devices_train_as_one(tmp_path):
    """Data parallel over a mesh of four (forced) host devices against one of them, on real Pong."""
    for devices in ("1", "4"):
        run_python(["-c", FOUR_DEVICES, devices, str(tmp_path)], **forced_devices(4))
    for microbatch in (0, 8):
        one, four = (np.load(tmp_path / f"{devices}-{microbatch}.npz") for devices in (1, 4))
        np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(four["before"], one["before"])
        trained = np.linalg.norm(one["after"] - one["before"])
        assert np.linalg.norm(four["after"] - one["after"]) < 0.01 * trained


@pytest.mark.parametrize(
    ("change", "words"),
    [({"minibatches": 16}, "Minibatches of 2 samples"), ({"microbatch": 2}, "Microbatches of 2 samples")],
)
def test_samples_that_do_not_divide_among_the_devices_are_refused(change, words):
    with pytest.raises(UserError, match=f"{words} do not divide among 4 devices"):
        check_spread(dataclasses.replace(PONG, **change), 4)
    check_spread(dataclasses.replace(PONG, **change), 2)


SIX_DEVICES = """
import jax
from fls_jax.ppo.sharding import Placement
jax.default_backend = lambda: "gpu"  # there, 0 devices mean all that divide the work
for batches in ((), (256, 0), (6,)):
    placement = Placement(0, 8, batches=batches)
    print(placement.count, placement.unused, end=" ")
"""


def test_devices_that_do_not_divide_the_work_are_left_out_and_counted():
    run = run_python(["-c", SIX_DEVICES], **forced_devices(6))
    assert run.stdout.split() == ["4", "2", "4", "2", "2", "4"]
