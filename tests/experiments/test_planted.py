"""The planted cue: where it is written, that it alone is rewarded, and that who reads it is caught."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.analysis.planted import (
    ACTIONS,
    BLOCK,
    CORNER,
    CuePool,
    corner_scores,
    play,
    read_cues,
    score_methods,
    write_cues,
)
from experiments.commands.planted_cue import Settings, configuration, planted_cue
from fls_jax.atari.pool import AtariPool
from fls_jax.errors import UserError
from fls_jax.saliency import METHODS, compute

CONFIG = configuration(Settings())


class Reader:
    """Looks at the newest frame's corner and at nothing else, and does what is written there."""

    params = jnp.full((ACTIONS,), 0.02)

    @staticmethod
    def apply(params, frames):
        corner = frames[:, :CORNER, :CORNER, -1].astype(jnp.float32)
        blocks = corner.reshape(-1, 2, BLOCK, 2, BLOCK).mean(axis=(2, 4)).reshape(-1, ACTIONS)
        features = jax.nn.relu(blocks - 20)
        return features * params[None], features.sum(axis=1)

    def __call__(self, observations):
        return type("Said", (), {"logits": np.asarray(self.apply(self.params, observations)[0])})

    def saliency(self, observations, method):
        return compute(self.apply, self.params, observations, method, "action", **FEWER.get(method, {}))


FEWER = {"rise": {"samples": 400}, "smoothgrad": {"samples": 4}, "vargrad": {"samples": 4}}


def test_the_cue_is_written_where_it_is_said_and_is_read_there(rng):
    seen = rng.integers(0, 256, (5, 4, 84, 84)).astype(np.uint8)
    cues = rng.integers(0, ACTIONS, (5, 4))
    written = write_cues(seen, cues)
    np.testing.assert_array_equal(read_cues(written), cues[:, -1])
    np.testing.assert_array_equal(written[:, :, CORNER:], seen[:, :, CORNER:])
    np.testing.assert_array_equal(written[:, :, :, CORNER:], seen[:, :, :, CORNER:])
    for game in range(5):
        for frame in range(4):
            white = np.argwhere(written[game, frame, :CORNER, :CORNER] == 255)
            assert len(white) == BLOCK * BLOCK
            assert white.min(axis=0).tolist() == [
                BLOCK * (cues[game, frame] // 2),
                BLOCK * (cues[game, frame] % 2),
            ]


def test_only_the_cue_is_rewarded_and_the_game_goes_on_as_it_does():
    """Against the same games without cues, played with the same actions."""
    pool, plain = CuePool(CONFIG, [5, 6]), AtariPool(CONFIG.game, 2, [5, 6], threads=1)
    observations, _ = pool.reset(), plain.reset()
    random, earned, told = np.random.default_rng(0), np.zeros(2), []
    for _ in range(400):
        before, cues = observations, read_cues(observations)
        obeys = random.random(2) < 0.5
        actions = np.where(obeys, cues, (cues + 1) % ACTIONS).astype(np.int32)
        pool.send(actions)
        played, expected = pool.receive(), plain.step(actions)
        observations = played.observations
        np.testing.assert_array_equal(played.rewards, obeys)
        np.testing.assert_array_equal(observations[:, :, CORNER:], expected.observations[:, :, CORNER:])
        np.testing.assert_array_equal(played.terminated, expected.terminated)
        np.testing.assert_array_equal(observations[:, :3, :CORNER, :CORNER], before[:, 1:, :CORNER, :CORNER])
        earned += obeys
        for game, value in zip(played.finished_environments, played.finished_returns, strict=True):
            told.append((value, earned[game]))
            earned[game] = 0
    pool.close()
    plain.close()
    assert told
    assert all(value == expected for value, expected in told)


def test_a_network_that_reads_the_corner_is_caught_by_every_method():
    """Every method but two: Grad-CAM needs a convolution, VarGrad derivatives that vary; it has neither."""
    pool = CuePool(CONFIG, [7, 8])
    observations, games, followed = play(Reader(), pool, 6)
    pool.close()
    assert followed == 1
    assert observations.shape == (6, 84, 84, 4)
    assert games.tolist() == [0, 1] * 3
    families, without = ("gradient", "perturbation"), ("grad_cam", "vargrad")
    methods = [m for m in METHODS if METHODS[m].family in families and m not in without]
    assert len(methods) >= 9
    table = score_methods({"reader": Reader()}, [*methods, "centre", "uniform"], observations, games)
    values = table.pivot_table(index="method", columns="metric", values="value")
    for method in methods:
        assert values.pointing[method] == 1, method
        assert values.lift[method] > 5, method
    assert values.pointing["centre"] == 0
    assert values.mass["uniform"] == pytest.approx(CORNER**2 / 84**2, rel=1e-3)
    assert (table[table.method != "uniform"].n == 6).all()


def test_scores_of_the_corner(rng):
    maps = rng.random((3, 84, 84)) - 0.2
    maps[1, 3, 3] = 5
    scores = corner_scores(maps, "perturbation")
    positive = np.maximum(maps, 0)
    expected = positive[:, :CORNER, :CORNER].sum(axis=(1, 2)) / positive.sum(axis=(1, 2))
    np.testing.assert_allclose(scores["mass"], expected, rtol=1e-6)
    np.testing.assert_allclose(scores["lift"], expected / (CORNER / 84) ** 2, rtol=1e-6)
    assert scores["pointing"][1] == 1


def test_an_agent_that_did_not_learn_and_a_game_of_other_actions_are_sentences(tmp_path):
    settings = Settings(network="cnn_sparse_fls_pool", total_steps=256, frames=8, out=tmp_path / "record")
    with pytest.raises(UserError, match="of the cues after 256 steps"):
        planted_cue(settings)
    assert not settings.out.exists()
    with pytest.raises(UserError, match="Pong has 6 actions"):
        CuePool(configuration(Settings(game="Pong")), [1])
