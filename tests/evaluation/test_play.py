"""One round: which games count, what is recorded, and how actions are chosen."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats

from fls_jax.agent import load_agent
from fls_jax.evaluation.play import Game, make_act, play_round
from fls_jax.evaluation.pools import make_pool
from tests.oracles import networks as oracle
from tests.run_folders import write_run

KEY = jax.random.key(0)


class Script:
    """A pool whose environment i plays games of the lengths lengths[i], with a reward of i + 1 a step.

    Its limit is 9 steps.

    Its observations show how many steps the environment has made.
    """

    num_actions = 4

    def __init__(self, lengths):
        self.lengths = lengths
        self.game, self.step = [0] * len(lengths), [0] * len(lengths)
        self.stepped = []

    def reset(self):
        return np.zeros((len(self.lengths), 4, 84, 84), np.uint8)

    def close(self):
        pass

    def advance(self, actions, ids):
        assert len(actions) == len(ids) == len(set(ids.tolist()))
        self.stepped.append(ids.tolist())
        ended = []
        for action, i in zip(actions, ids, strict=True):
            assert action == i
            self.step[i] += 1
            ended.append(self.step[i] == self.lengths[i][self.game[i]])
            if ended[-1]:
                self.game[i] += 1
                self.step[i] = 0
        observations = np.zeros((len(ids), 4, 84, 84), np.uint8)
        observations[:, 0, 0, 0] = ids
        limit = np.array([self.lengths[i][self.game[i] - 1] >= 9 for i in ids])
        return observations, np.array([i + 1.0 for i in ids]), np.array(ended), np.array(ended) & limit


def play(pool, games, stop=lambda: False):
    """A round in which an environment's action is its number, shown in its observation after the first."""
    heard = []
    first = {"ids": np.arange(len(pool.lengths))}

    def act(observations, key, t):
        assert key is KEY
        return first.pop("ids") if first else observations[:, 0, 0, 0].astype(int)

    return play_round(pool, act, KEY, games, heard.append, stop), heard


def test_exactly_the_first_games_of_every_environment_count():
    pool = Script([[2, 3, 1, 1], [5, 9, 1, 1], [1, 1, 1, 1]])
    games, heard = play(pool, range(6, 8))
    assert heard == games
    found = {(g.environment, g.number): (g.score, g.steps, g.cut) for g in games}
    assert found == {
        (0, 6): (2.0, 2, False),
        (0, 7): (3.0, 3, False),
        (1, 6): (10.0, 5, False),
        (1, 7): (18.0, 9, True),
        (2, 6): (3.0, 1, False),
        (2, 7): (3.0, 1, False),
    }
    # Those that are through idle: 2 after 2 steps, 0 after 5; 1 plays its 14 alone.
    assert [len(ids) for ids in pool.stepped] == [3] * 2 + [2] * 3 + [1] * 9


def test_a_stopped_round_gives_nothing():
    asked = iter([False] * 3 + [True])
    games, heard = play(Script([[2, 2], [2, 2]]), range(2), stop=lambda: next(asked))
    assert games is None
    assert len(heard) == 2


def scores_and_ends(pool):
    """The games of one environment that always does nothing: (steps, whether it was cut) of the first."""
    pool.reset()
    for step in range(1, 2_000):
        _, _, ended, cut = pool.advance(np.zeros(1, np.int32), np.zeros(1, np.int32))
        if ended[0]:
            return step, bool(cut[0])
    raise AssertionError("no game ended")


@pytest.mark.parametrize("game", ["Breakout", "BreakoutInfinite"])
def test_a_game_over_exactly_at_the_limit_is_a_game_over(game):
    infinite = game == "BreakoutInfinite"

    def first_end(limit):
        return scores_and_ends(make_pool("Breakout", infinite, 1, 5, limit, 0.0))

    length, cut = first_end(2_000)
    assert not cut
    assert first_end(length) == (length, False)
    assert first_end(length - 1) == (length - 1, True)
    assert first_end(length + 1) == (length, False)


def test_games_as_json():
    game = Game(environment=3, number=500, score=-21.0, steps=812, seconds=1.23456, cut=False)
    values = game.to_json()
    assert values == {
        "environment": 3,
        "game": 500,
        "return": -21.0,
        "steps": 812,
        "frames": 3248,
        "seconds": 1.235,
        "cut": False,
    }
    assert Game.from_json(values).to_json() == values


@pytest.fixture(scope="module")
def agent_and_parameters(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    parameters = write_run(path, "cnn_sparse_fls_pool", "Breakout")
    return load_agent(path), parameters


def test_actions_are_sampled_from_the_policy(agent_and_parameters, rng):
    agent, parameters = agent_and_parameters
    observation = rng.integers(0, 256, (84, 84, 4), dtype=np.uint8)
    logits = oracle.forward(agent.network, parameters, observation[None])[0][0]
    parameters = parameters | {"policy/kernel": parameters["policy/kernel"] / np.abs(logits).max()}
    agent.params["policy"]["kernel"] = jax.numpy.asarray(parameters["policy/kernel"], jax.numpy.float32)
    expected = scipy.special.softmax(oracle.forward(agent.network, parameters, observation[None])[0][0])
    batch = np.repeat(np.moveaxis(observation, -1, 0)[None], 32, axis=0)
    act = make_act(agent, greedy=False)
    actions = np.concatenate([act(batch, KEY, t) for t in range(100)])
    assert np.array_equal(actions[:32], act(batch, KEY, 0))
    assert not np.array_equal(actions[:32], act(batch, jax.random.key(1), 0))
    counts = np.bincount(actions, minlength=4)
    assert expected.min() > 0.01
    assert scipy.stats.chisquare(counts, expected * counts.sum()).pvalue > 1e-4


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_greedy_actions_are_the_most_probable(batch, agent_and_parameters, rng):
    agent, _ = agent_and_parameters
    observations = rng.integers(0, 256, (batch, 84, 84, 4), dtype=np.uint8)
    expected = agent(observations).logits.argmax(axis=1)
    actions = make_act(agent, greedy=True)(np.moveaxis(observations, -1, 1), KEY, 0)
    np.testing.assert_array_equal(actions, expected)
