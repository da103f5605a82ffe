"""The emulated games against EnvPool, and BreakoutInfinite against the rule that defines it."""

from __future__ import annotations

import numpy as np
import pytest

from fls_jax.atari.emulator import EmulatedGame, InfiniteBreakout, InfiniteBreakoutPool
from fls_jax.atari.pool import games
from fls_jax.evaluation.pools import EnvPoolGames

HUNDREDS, TENS = 76, 77
BRICKS = range(36)
BALL_X, BALL_Y, PADDLE_X = 99, 101, 72


@pytest.mark.parametrize(
    ("game", "limit", "steps"),
    [("Breakout", 27_000, 700), ("Breakout", 150, 400), ("MsPacman", 300, 450), ("Seaquest", 200, 450)],
)
def test_the_same_seed_and_actions_give_envpools_observations(game, limit, steps, rng):
    pool = EnvPoolGames(game, 2, seed=1000, max_episode_steps=limit)
    ours = [EmulatedGame(games()[game], 1000 + i, limit) for i in range(2)]
    ids = np.arange(2)
    for one in ours:
        one.start()
    np.testing.assert_array_equal(pool.reset(), [one.observation() for one in ours])
    lives_ended = games_ended = 0
    for _ in range(steps):
        actions = rng.integers(0, pool.num_actions, 2)
        observations, rewards, ended, _ = pool.advance(actions, ids)
        for i, one in enumerate(ours):
            reward, life_ended, game_ended = one.act(int(actions[i]))
            if life_ended:
                game_ended |= one.start()
            lives_ended += life_ended
            games_ended += game_ended
            assert (reward, game_ended) == (rewards[i], ended[i])
            np.testing.assert_array_equal(observations[i], one.observation())
    assert lives_ended > games_ended > 0


class Player:
    """Keeps the ball in play by looking at the emulator's memory."""

    def __init__(self, game: EmulatedGame) -> None:
        self.game, self.emulator = game, game._ale
        self.random = np.random.default_rng(0)
        game.start()

    def write_score(self, hundreds: int, tens: int) -> None:
        self.emulator.setRAM(HUNDREDS, hundreds)
        self.emulator.setRAM(TENS, tens)

    def score(self) -> str:
        ram = self.emulator.getRAM()
        return f"{ram[HUNDREDS]:02x}{ram[TENS]:02x}"

    def remove_wall(self) -> None:
        for place in BRICKS:
            self.emulator.setRAM(place, 0)

    def bricks(self) -> int:
        return sum(int(byte).bit_count() for byte in self.emulator.getRAM()[: len(BRICKS)])

    def step(self) -> float:
        ram = self.emulator.getRAM().astype(int)
        noop, fire, right, left = range(4)
        # Never straight under the ball, or it can fly in a loop that hits nothing.
        distance = ram[BALL_X] - ram[PADDLE_X] - 8 + self.random.integers(-4, 5)
        move = right if distance > 4 else left if distance < -4 else noop
        reward, life_ended, _ = self.game.act(fire if ram[BALL_Y] == 0 else move)
        if life_ended:
            self.game.start()
        return reward

    def reach_864(self) -> float:
        """Play at 863 points until a brick of one point falls; the reward of that step."""
        self.write_score(0x08, 0x63)
        assert self.step() == 863  # the emulator pays for what was written
        for _ in range(200):
            reward = self.step()
            if reward:
                return reward
        raise AssertionError("no brick was hit")


def test_breakout_without_end():
    player = Player(InfiniteBreakout(seed=3))
    assert player.reach_864() == 1.0
    assert player.score() == "0432"
    player.remove_wall()
    rewards = [player.step() for _ in range(150)]
    assert player.bricks() > 200  # the game has laid a new wall
    points = sum(rewards)
    assert points > 0
    assert min(rewards) == 0.0  # nothing is taken back for the score that was overwritten
    assert int(player.score()) == 432 + points


def test_breakout_itself_ends_at_864():
    player = Player(EmulatedGame("breakout", seed=3))
    assert player.reach_864() == 1.0
    assert player.score() == "0864"
    player.remove_wall()
    assert [player.step() for _ in range(150)] == [0.0] * 150
    assert player.bricks() == 0


def test_below_864_infinite_breakout_is_breakout(rng):
    breakout = EnvPoolGames("Breakout", 2, seed=5, max_episode_steps=200)
    infinite = InfiniteBreakoutPool(2, seed=5, max_episode_steps=200)
    assert infinite.num_actions == 4
    np.testing.assert_array_equal(breakout.reset(), infinite.reset())
    ends = 0
    for _ in range(300):
        ids = np.flatnonzero(rng.random(2) < 0.8)
        actions = rng.integers(0, 4, len(ids))
        if len(ids):
            theirs, ours = breakout.advance(actions, ids), infinite.advance(actions, ids)
            for one, other in zip(theirs, ours, strict=True):
                np.testing.assert_array_equal(one, other)
            ends += ours[2].sum()
    assert ends > 0
