"""AtariPool against the emulator itself: every transition live, and nothing lost between them."""

from __future__ import annotations

import gc
import os
import zlib
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

import fls_jax.atari.pool
from fls_jax.atari.emulator import action_names
from fls_jax.atari.pool import AtariPool, games, resolve_game
from fls_jax.errors import UserError
from fls_jax.types import EnvStep
from tests.oracles.atari import ReferenceGame
from tests.processes import run_python


class Call(NamedTuple):
    """One call of EnvPool: the environments, and the RAM that it left in them."""

    ids: np.ndarray
    ram: np.ndarray


class Recorder:
    """EnvPool with a list of the calls made to it."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.action_space = pool.action_space
        self.calls: list[Call] = []

    def reset(self, ids: np.ndarray | None = None) -> Any:
        result = self._pool.reset(ids)
        self.calls.append(Call(result[-1]["env_id"].copy(), result[-1]["ram"].copy()))
        return result

    def step(self, actions: np.ndarray, ids: np.ndarray | None = None) -> Any:
        self.send(actions, ids)
        return self.receive()

    def send(self, actions: np.ndarray, ids: np.ndarray | None = None) -> None:
        self._pool.send(actions, ids)

    def receive(self) -> Any:
        result = self._pool.receive()
        self.calls.append(Call(result[-1]["env_id"].copy(), result[-1]["ram"].copy()))
        return result


@pytest.fixture
def recorders(monkeypatch) -> list[Recorder]:
    """Every pool that a test makes, recorded."""
    made: list[Recorder] = []
    make = fls_jax.atari.pool._emulators

    def make_recorded(*args: Any, **kwargs: Any) -> Recorder:
        made.append(Recorder(make(*args, **kwargs)))
        return made[-1]

    monkeypatch.setattr(fls_jax.atari.pool, "_emulators", make_recorded)
    return made


class Comparison:
    """A pool and one reference game for each of its environments, stepped together and compared.

    limit: agent steps after which a whole game is cut.
    """

    def __init__(self, game: str, recorders: list[Recorder], num_envs: int, seed: int, limit: int = 27_000):
        self.pool = AtariPool(game, num_envs, seed, max_episode_steps=limit, threads=1)
        self.recorder, self.limit = recorders[-1], limit
        names = action_names(games()[game])
        assert len(names) == self.pool.num_actions
        self.references = [ReferenceGame(games()[game], names, seed + i) for i in range(num_envs)]
        self.returns, self.lengths = [0.0] * num_envs, [0] * num_envs
        self.lives_lost = self.games_over = self.games_cut = 0
        observations = self.pool.reset()
        call = self.recorder.calls.pop()
        for i, reference in enumerate(self.references):
            assert same(observations[i], reference.start_game(call.ram[i]))

    def step(self, actions: np.ndarray) -> EnvStep:
        """One step of all, and every claim of EnvStep checked."""
        step = self.pool.step(actions)
        acted, *begun = self.recorder.calls
        self.recorder.calls.clear()
        assert same(acted.ids, np.arange(len(actions)))
        finals = step.final_observations
        assert (finals is not None) == step.truncated.any()
        ended, finished = [], []
        for i, reference in enumerate(self.references):
            outcome = reference.act(actions[i])
            assert same(acted.ram[i], reference.ram), "the action was not executed"
            self.returns[i] += outcome.reward
            self.lengths[i] += 1
            at_limit = self.lengths[i] >= self.limit
            assert step.rewards[i] == np.sign(outcome.reward)
            assert step.terminated[i] == outcome.ended
            assert step.truncated[i] == (at_limit and not outcome.ended)
            assert finals is None or outcome.game_over or same(finals[i], outcome.stack)
            expected = outcome.stack
            if outcome.ended or at_limit:
                ended.append(i)
                ram = begun[0].ram[list(begun[0].ids).index(i)]
                new_game = outcome.game_over or at_limit
                expected = reference.start_game(ram) if new_game else reference.start_life(ram)
                self.lives_lost += not new_game
                self.games_over += outcome.game_over
                self.games_cut += bool(step.truncated[i])
                if new_game:
                    finished.append((self.returns[i], self.lengths[i], i))
                    self.returns[i], self.lengths[i] = 0.0, 0
            assert same(step.observations[i], expected)
        assert [list(call.ids) for call in begun] == ([ended] if ended else [])
        told = (step.finished_returns, step.finished_lengths, step.finished_environments)
        assert list(zip(*told, strict=True)) == finished
        return step


@pytest.fixture
def rng(request):
    """Actions by a test's name alone, wherever its file lies: the bounds on ended lives count on them."""
    return np.random.default_rng(zlib.crc32(f"tests/test_envs.py::{request.node.name}".encode()))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype.kind == other.dtype.kind and np.array_equal(one, other)


@pytest.mark.parametrize(
    ("game", "steps", "least_lives", "least_games"),
    [("Breakout", 800, 80, 12), ("MsPacman", 200, 1, 0), ("Seaquest", 200, 1, 0)],
)
def test_every_transition_is_live_and_executed(game, steps, least_lives, least_games, recorders, rng):
    comparison = Comparison(game, recorders, num_envs=4, seed=3)
    for _ in range(steps):
        comparison.step(rng.integers(comparison.pool.num_actions, size=4, dtype=np.int32))
    assert comparison.lives_lost >= least_lives
    assert comparison.games_over >= least_games
    assert comparison.games_cut == 0


def test_the_time_limit_cuts_whole_games(recorders, rng):
    comparison = Comparison("Breakout", recorders, num_envs=4, seed=3, limit=60)
    for _ in range(250):
        comparison.step(rng.integers(4, size=4, dtype=np.int32))
    assert comparison.games_cut >= 10
    assert comparison.lives_lost >= 10


def _first(event: str, actions: np.ndarray, recorders: list[Recorder]) -> int:
    """Steps of Breakout, seed 5, until the first life is lost or the first game is over."""
    comparison = Comparison("Breakout", recorders, num_envs=1, seed=5)
    for number, action in enumerate(actions, start=1):
        comparison.step(action)
        if getattr(comparison, event):
            return number
    raise AssertionError(f"{event}: never")


@pytest.mark.parametrize("event", ["lives_lost", "games_over"])
def test_an_end_at_the_very_limit_terminates(event, recorders, rng):
    actions = rng.integers(4, size=(600, 1), dtype=np.int32)
    end = _first(event, actions, recorders)
    for limit, truncated in ((end, False), (end - 1, True)):
        comparison = Comparison("Breakout", recorders, num_envs=1, seed=5, limit=limit)
        *earlier, last = [comparison.step(action) for action in actions[:limit]]
        assert not any(len(step.finished_lengths) for step in earlier)
        assert last.finished_lengths == [limit]
        assert last.truncated[0] == truncated
        assert last.terminated[0] != truncated


def test_a_game_without_lives_is_cut_with_its_score(recorders, rng):
    comparison = Comparison("Pong", recorders, num_envs=2, seed=1, limit=150)
    for _ in range(300):
        comparison.step(rng.integers(6, size=2, dtype=np.int32))
    assert comparison.games_cut == 4
    assert comparison.games_over == comparison.lives_lost == 0


def test_clipped_rewards_are_the_signs_of_raw_ones(rng):
    clipped = AtariPool("Seaquest", 2, 2, max_episode_steps=150, threads=1)
    raw = AtariPool("Seaquest", 2, 2, max_episode_steps=150, clip_rewards=False, threads=1)
    np.testing.assert_array_equal(clipped.reset(), raw.reset())
    rewards, finished = [], []
    for _ in range(300):
        actions = rng.integers(clipped.num_actions, size=2, dtype=np.int32)
        one, other = clipped.step(actions), raw.step(actions)
        assert same(one.rewards, np.sign(other.rewards))
        assert same(one.observations, other.observations)
        np.testing.assert_array_equal(one.finished_returns, other.finished_returns)
        rewards.append(other.rewards)
        finished.extend(other.finished_returns)
    assert np.max(rewards) > 1
    assert len(finished) == 4
    assert np.sum(rewards) == np.sum(finished)


class LyingAboutLives(Recorder):
    """EnvPool whose no-ops end the game unseen after the first life loss, as far as `lives` can tell."""

    told = False

    def step(self, actions: np.ndarray, ids: np.ndarray | None = None) -> Any:
        result = super().step(actions, ids)
        if ids is not None and not self.told:
            self.told = True
            result[-1]["lives"][:] = 9
        return result


def test_a_game_that_ends_inside_the_noops_starts_properly(monkeypatch, rng):
    """No game is known to do this with random actions, so EnvPool's word is bent; the restart is real."""
    make = fls_jax.atari.pool._emulators
    monkeypatch.setattr(fls_jax.atari.pool, "_emulators", lambda *a, **k: LyingAboutLives(make(*a, **k)))
    pool = AtariPool("Breakout", 2, 4, threads=1)
    twin = AtariPool("Breakout", 2, 4, threads=1)
    twin._pool.told = True
    np.testing.assert_array_equal(pool.reset(), twin.reset())
    count = 0
    while not pool._pool.told:
        actions = rng.integers(4, size=2, dtype=np.int32)
        step, other = pool.step(actions), twin.step(actions)
        count += 1
    (ended,) = np.flatnonzero(step.terminated)
    np.testing.assert_array_equal(step.terminated, other.terminated)
    assert not len(other.finished_returns)
    assert list(step.finished_lengths) == [count]
    assert pool._pool.calls[-1].ids == [ended]
    assert not step.truncated.any()
    # Breakout has five lives; the restarted game has them all, the twin's goes on with four.
    assert [p._pool.calls[-1].ram[-1][57] for p in (pool, twin)] == [5, 4]
    assert all(np.array_equal(frame, step.observations[ended][0]) for frame in step.observations[ended])
    np.testing.assert_array_equal(step.observations[1 - ended], other.observations[1 - ended])
    lengths = []
    while len(lengths) < 2:
        lengths.extend(pool.step(rng.integers(4, size=2, dtype=np.int32)).finished_lengths)
    assert max(lengths) > 5


def _play(seed: int, steps: int = 150, num_envs: int = 2, **options: Any) -> np.ndarray:
    """Newest frames [steps, N, 84, 84] of Breakout under actions that are always the same."""
    pool = AtariPool("Breakout", num_envs, seed, threads=1, **options)
    actions = np.random.default_rng(0).integers(4, size=(steps, 1))
    pool.reset()
    return np.stack([pool.step(np.repeat(a, num_envs)).observations[:, -1] for a in actions])


def test_a_seed_fixes_the_games():
    frames = _play(seed=1)
    np.testing.assert_array_equal(frames, _play(seed=1))
    np.testing.assert_array_equal(frames[:, 1], _play(seed=2)[:, 0])
    assert not np.array_equal(frames[:, 0], frames[:, 1])


def test_sticky_actions_change_the_game_and_stay_reproducible():
    plain, sticky = _play(seed=1), _play(seed=1, sticky_actions=0.25)
    assert not np.array_equal(plain, sticky)
    np.testing.assert_array_equal(sticky, _play(seed=1, sticky_actions=0.25))


THREADS = """
import os
from fls_jax.atari.pool import AtariPool
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def started(threads):
    before = len(os.listdir("/proc/self/task"))
    pools.append(AtariPool("Pong", 4, 1, threads=threads))
    return len(os.listdir("/proc/self/task")) - before
pools = []
assert started(0) == started(1) < started(3)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_there_are_as_many_threads_as_cores_that_the_process_may_use():
    run_python(["-c", THREADS])


def test_threads_end_with_the_pool():
    gc.collect()
    before = len(os.listdir("/proc/self/task"))
    pool = AtariPool("Pong", 3, 1, threads=3)
    assert len(os.listdir("/proc/self/task")) >= before + 3
    pool.close()
    assert len(os.listdir("/proc/self/task")) == before
    pool.close()


@pytest.mark.parametrize("game", ["Breakout", "MsPacman", "Pong", "Seaquest", "Atlantis2", "TicTacToe3d"])
def test_action_names_are_the_pools_actions(game):
    names = action_names(games()[game])
    pool = AtariPool(game, 1, 0, threads=1)
    assert len(names) == pool.num_actions
    assert names[0] == "NOOP"
    assert len(set(names)) == len(names)


def test_every_game_is_understood_in_every_spelling():
    assert len(games()) >= 100
    for game, rom in games().items():
        for name in (
            game,
            game.lower(),
            game.upper(),
            rom,
            rom.replace("_", "-"),
            rom.replace("_", " ").title(),
            f" {game} ",
            f"{game}-v5",
            f"ALE/{game}-v5",
            f"{game}NoFrameskip-v4",
            f"{game.lower()}noframeskip-v4",
            f"{game}Deterministic-v0",
            f"{game}-ramNoFrameskip-v4",
        ):
            assert resolve_game(name) == game, name


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("Pomg", "did you mean Pong"),
        ("brakout", "did you mean Breakout"),
        ("mrs_pacman", "MsPacman"),
        ("SpaceInvader-v5", "SpaceInvaders"),
        ("CartPole-v1", "fls games"),
        ("", "fls games"),
        ("../../etc/passwd", "There is no game '../../etc/passwd'"),
    ],
)
def test_an_unknown_game_gets_the_nearest_matches(name, match):
    with pytest.raises(UserError, match=match):
        resolve_game(name)


def _grey_and_small(screen: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(screen, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("game", "apart"), [("Breakout", 0), ("SpaceInvaders", 0), ("MsPacman", 42)])
def test_colour_screens_are_the_observations_in_colour(game, apart, rng):
    """Through lost lives and new games. Grey after the maximum is never darker than grey before it."""
    pool = AtariPool(game, 2, 7, max_episode_steps=60, threads=1, screens=True)
    plain = AtariPool(game, 2, 7, max_episode_steps=60, threads=1)
    observations, ended = pool.reset(), 0
    assert same(observations, plain.reset())
    differences = []
    for _ in range(200):
        screens = pool.screens
        assert screens.shape == (2, 210, 160, 3)
        for screen, newest in zip(screens, observations[:, -1], strict=True):
            differences.append(_grey_and_small(screen).astype(int) - newest)
        actions = rng.integers(pool.num_actions, size=2, dtype=np.int32)
        step, other = pool.step(actions), plain.step(actions)
        assert same(step.observations, other.observations)
        observations = step.observations
        ended += step.terminated.sum() + step.truncated.sum()
    assert ended >= 6
    assert np.min(differences) >= -1  # rounding
    assert np.max(differences) <= apart
    assert np.mean(differences) < 0.1
    assert len(np.unique(screens.reshape(-1, 3), axis=0)) > 5
    assert (screens[..., 0] != screens[..., 2]).any()


def test_colour_screens_keep_step_with_sticky_actions(rng):
    pool = AtariPool("Seaquest", 2, 7, sticky_actions=0.25, threads=1, screens=True)
    pool.reset()
    for _ in range(150):
        pool.step(rng.integers(pool.num_actions, size=2, dtype=np.int32))


def test_colour_screens_of_another_game_are_noticed(rng):
    pool = AtariPool("Breakout", 1, 7, threads=1, screens=True)
    pool.reset()
    pool._pool._twin.step(np.array([1]))
    with pytest.raises(RuntimeError, match="show another game"):
        pool.step(np.array([1]))
    with pytest.raises(ValueError, match="screens=True"):
        AtariPool("Breakout", 1, 7, threads=1).screens  # noqa: B018
