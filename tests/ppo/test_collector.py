"""The collector against a pool that is a script: what the pool said is what the trajectory holds."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fls_jax.atari.pool import AtariPool
from fls_jax.config import TrainConfig
from fls_jax.ppo.actor import Collector
from fls_jax.ppo.environments import atari_pool, make_pools
from fls_jax.ppo.sharding import Placement
from fls_jax.types import EnvStep, NetworkOutput

N, T, ACTIONS = 3, 5, 4
SHAPE = (N, 4, 6, 6)
KEYS = [jax.random.key(number)[None] for number in range(4)]
PARAMS = {
    "policy": np.random.default_rng(1).normal(size=(4, ACTIONS)).astype(np.float32),
    "value": np.random.default_rng(2).normal(size=4).astype(np.float32),
}


class ScriptedPool:
    """Two rollouts of random arrays; environments 1 and 2 are cut at step 3, 0 at step 7."""

    num_envs = N
    num_actions = ACTIONS

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.resets = 0
        self.actions: list[np.ndarray] = []
        self.first = self.observe(rng)
        self.steps = [
            EnvStep(
                observations=self.observe(rng),
                rewards=rng.integers(-1, 2, N).astype(np.float32),
                terminated=rng.random(N) < 0.2,
                truncated=np.zeros(N, bool),
                final_observations=None,
                finished_returns=rng.normal(size=t % 3),
                finished_lengths=rng.integers(1, 100, t % 3),
                finished_environments=rng.permutation(N)[: t % 3],
            )
            for t in range(2 * T)
        ]
        for t, cut in ((3, [False, True, True]), (7, [True, False, False])):
            self.steps[t] = self.steps[t]._replace(
                terminated=np.zeros(N, bool), truncated=np.array(cut), final_observations=self.observe(rng)
            )

    @staticmethod
    def observe(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 256, SHAPE, dtype=np.uint8)

    def reset(self) -> np.ndarray:
        self.resets += 1
        return self.first

    def send(self, actions: np.ndarray) -> None:
        self.actions.append(actions.copy())

    def receive(self) -> EnvStep:
        return self.steps[len(self.actions) - 1]

    def close(self) -> None:
        pass


def apply(params: Any, observations: jax.Array) -> NetworkOutput:
    features = observations.astype(jnp.float32).mean(axis=(2, 3)) / 64
    return NetworkOutput(
        features @ params["policy"], features @ params["value"], jnp.zeros((features.shape[0], 1, 1))
    )


def by_hand(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log-probabilities [..., A], values [...]) of `apply`, in NumPy float64."""
    features = observations.astype(np.float64).mean(axis=(-1, -2)) / 64
    logits = features @ PARAMS["policy"]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), features @ PARAMS["value"]


@pytest.fixture
def pool() -> ScriptedPool:
    return ScriptedPool()


def make_collector(pool: Any) -> Collector:
    return Collector([pool], apply, T, Placement(1, N))


def test_two_rollouts_hold_what_the_pool_said(pool):
    collector = make_collector(pool)
    seen = np.stack([pool.first, *(step.observations for step in pool.steps)])
    for number in range(2):
        rollout = collector.collect(PARAMS, KEYS[number])
        steps = pool.steps[number * T : (number + 1) * T]
        at = jax.tree.map(np.asarray, rollout.trajectory)
        now = seen[number * T : (number + 1) * T]
        np.testing.assert_array_equal(at.observations, now)
        assert at.observations.dtype == np.uint8
        np.testing.assert_array_equal(at.actions, np.stack(pool.actions[number * T :]))
        np.testing.assert_array_equal(at.rewards, np.stack([step.rewards for step in steps]))
        np.testing.assert_array_equal(at.terminated, np.stack([step.terminated for step in steps]))
        np.testing.assert_array_equal(at.truncated, np.stack([step.truncated for step in steps]))
        log_probs, values = by_hand(now)
        chosen = np.take_along_axis(log_probs, at.actions[..., None], axis=-1)[..., 0]
        np.testing.assert_allclose(at.log_probs, chosen, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(at.values, values, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(at.last_value, by_hand(seen[(number + 1) * T])[1], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(rollout.returns, np.concatenate([s.finished_returns for s in steps]))
        np.testing.assert_array_equal(rollout.lengths, np.concatenate([s.finished_lengths for s in steps]))
    assert pool.resets == 1


def test_truncated_steps_carry_the_value_of_the_last_real_observation(pool):
    collector = make_collector(pool)
    rollouts = [collector.collect(PARAMS, KEYS[number]) for number in range(2)]
    values = np.concatenate([np.asarray(rollout.trajectory.truncation_values) for rollout in rollouts])
    expected = np.zeros((2 * T, N))
    for t, step in enumerate(pool.steps):
        if step.final_observations is not None:
            expected[t] = np.where(step.truncated, by_hand(step.final_observations)[1], 0.0)
    assert np.count_nonzero(expected) == 3
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_actions_follow_from_the_key():
    def actions(seed: int) -> np.ndarray:
        pool = ScriptedPool()
        make_collector(pool).collect(PARAMS, KEYS[seed])
        return np.stack(pool.actions)

    np.testing.assert_array_equal(actions(0), actions(0))
    assert not np.array_equal(actions(0), actions(1))


class StillPool(ScriptedPool):
    """Shows the same picture for ever in every environment."""

    num_envs = 512

    def reset(self) -> np.ndarray:
        return np.repeat(self.first[:1], self.num_envs, axis=0)

    def receive(self) -> EnvStep:
        no, none, nobody = np.zeros(self.num_envs, bool), np.zeros(0), np.zeros(0, int)
        return EnvStep(
            self.reset(),
            np.zeros(self.num_envs, np.float32),
            no,
            no,
            None,
            none,
            nobody,
            nobody,
        )


def test_actions_are_drawn_from_the_policy_anew_at_every_step():
    pool = StillPool()
    collector = Collector([pool], apply, 16, Placement(1, pool.num_envs))
    actions = np.asarray(collector.collect(PARAMS, KEYS[3]).trajectory.actions)
    probabilities = np.exp(by_hand(pool.first[0])[0])
    count = np.bincount(actions.ravel(), minlength=ACTIONS)
    expected = probabilities * actions.size
    deviation = np.sqrt(expected * (1 - probabilities))
    assert np.all(np.abs(count - expected) < 4 * deviation)
    assert np.all(deviation > 9)
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(actions))


def test_envpools_arrays_stay_as_they_were(monkeypatch):
    """EnvPool owns the memory of its arrays; what went into a trajectory must not change afterwards."""
    pool = AtariPool("Breakout", N, seed=1, threads=1)
    copies: list[np.ndarray] = []
    reset, receive = pool.reset, pool.receive

    def copying_receive() -> EnvStep:
        result = receive()
        copies.append(result.observations.copy())
        return result

    def copying_reset() -> np.ndarray:
        observations = reset()
        copies.append(observations.copy())
        return observations

    monkeypatch.setattr(pool, "reset", copying_reset)
    monkeypatch.setattr(pool, "receive", copying_receive)
    collector = Collector([pool], apply, 60, Placement(1, N))
    trajectories = [collector.collect(PARAMS, KEYS[k]).trajectory for k in range(2)]
    seen = np.concatenate([np.asarray(trajectory.observations) for trajectory in trajectories])
    np.testing.assert_array_equal(seen, np.stack(copies[:-1]))


def decided(params: Any, observations: jax.Array) -> NetworkOutput:
    """A policy that no noise can change: the action is a number read off the screen."""
    brightness = observations[:, -1].astype(jnp.int32).sum(axis=(1, 2))
    logits = 1e6 * jax.nn.one_hot(brightness % ACTIONS, ACTIONS)
    return NetworkOutput(logits, brightness.astype(jnp.float32), jnp.zeros((len(brightness), 1, 1)))


def play(groups: int, rollouts: int = 3) -> list[Any]:
    """Breakout under `decided`, cut after 30 steps a game, eight environments in so many groups."""
    config = TrainConfig("Breakout", num_envs=8, max_episode_steps=30, env_threads=2)
    pools = make_pools(atari_pool, config, [5], groups)
    collector = Collector(pools, decided, 16, Placement(1, 8))
    return [jax.device_get(collector.collect({}, KEYS[k])) for k in range(rollouts)]


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_play_what_one_group_plays(groups):
    """Real games: the same actions, rewards, ends, time limits and finished games in the same order."""
    rollouts = play(1)
    for one, several in zip(rollouts, play(groups), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one._replace(seconds={}), several._replace(seconds={}))
    assert any(rollout.trajectory.truncation_values.any() for rollout in rollouts)
    assert any(len(rollout.returns) for rollout in rollouts)


class Counting(ScriptedPool):
    """Counts how many groups are at play when the next one's step is waited for."""

    at_play, most = 0, 0

    def send(self, actions: np.ndarray) -> None:
        super().send(actions)
        Counting.at_play += 1
        Counting.most = max(Counting.most, Counting.at_play)

    def receive(self) -> EnvStep:
        Counting.at_play -= 1
        return super().receive()


def test_one_group_plays_while_the_device_acts_for_another():
    Collector([Counting(), Counting()], apply, T, Placement(1, 2 * N)).collect(PARAMS, KEYS[0])
    assert (Counting.at_play, Counting.most) == (0, 2)


def test_the_phases_are_timed(pool):
    seconds = make_collector(pool).collect(PARAMS, KEYS[0]).seconds
    assert set(seconds) == {"policy", "environment", "transfer"}
    assert all(value > 0 for value in seconds.values())
