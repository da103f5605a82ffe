"""What an evaluation consists of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fls_jax.errors import UserError
from fls_jax.evaluation.settings import EvaluationSettings

PAPER = EvaluationSettings(protocol="paper")


def test_defaults_are_the_papers():
    settings = EvaluationSettings()
    assert (settings.num_envs, settings.games_per_env, settings.total_games) == (16, 512, 8192)
    assert (settings.seed, settings.protocol, settings.mode) == (1000, "aligned", "standard")


def test_limits_in_agent_steps():
    assert EvaluationSettings().max_steps("Breakout") == 27_000
    assert EvaluationSettings().max_steps("MsPacman") == 27_000
    assert PAPER.max_steps("Breakout") == 30_000
    assert PAPER.max_steps("MsPacman") == 100_000


def test_modes():
    assert replace(PAPER, greedy=True).mode == "greedy"
    assert replace(PAPER, infinite_breakout=True).mode == "infinite"
    assert replace(PAPER, infinite_breakout=True, greedy=True).mode == "infinite-greedy"


@pytest.mark.parametrize("games", [1, 2, 127, 128, 129, 300, 512, 1000])
def test_rounds_add_up_and_share_no_seed(games):
    settings = EvaluationSettings(num_envs=3, games_per_env=games)
    shares = [settings.games_in_round(number) for number in range(settings.rounds)]
    assert sum(shares) == games
    assert min(shares) >= 1
    assert len(shares) <= 128
    seeds = [settings.round_seed(number) + i for number in range(settings.rounds) for i in range(3)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": 0}, "--num-envs is 0; it must be at least 1"),
        ({"games_per_env": -1}, "--games-per-env is -1"),
        ({"protocol": "published"}, "--protocol is 'published'"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**31 - 5}, "well below"),
        ({"infinite_breakout": True}, "is for agents of Breakout; this one plays Pong"),
    ],
)
def test_what_cannot_work_is_named(change, message):
    with pytest.raises(UserError, match=message):
        replace(EvaluationSettings(), **change).validated("Pong")
