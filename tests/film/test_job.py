"""Films of agents: what was played, what is drawn, and where the file goes."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from skimage.transform import resize

import fls_jax
from fls_jax import cli
from fls_jax.agent import Agent, AgentOutput
from fls_jax.atari.pool import AtariPool
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.film.clip import Clip
from fls_jax.film.drawing import AgentTile, overlay
from fls_jax.film.job import film
from fls_jax.film.methods import with_method
from fls_jax.film.playing import entropy, play
from fls_jax.film.views import draw, views
from fls_jax.networks.specs import network_spec
from tests.oracles import networks as oracle
from tests.processes import small_disk
from tests.run_folders import add_checkpoint, edit_config, write_run

STEPS, SEED = 90, 1
SCREEN_AT, INPUT_AT = (slice(44, 464), slice(16, 336)), (slice(44, 464), slice(352, 772))


@pytest.fixture(scope="module")
def breakout(tmp_path_factory):
    """A run whose whole games are cut after 40 steps and whose policy is undecided; at step 64."""
    path = tmp_path_factory.mktemp("breakout")
    parameters = write_run(path, "cnn_sparse_fls_pool", "Breakout", seed=3)
    add_checkpoint(path, 64, parameters | {"policy/kernel": 0.02 * parameters["policy/kernel"]})
    edit_config(path, max_episode_steps=40)
    return path


@pytest.fixture(scope="module")
def agent(breakout):
    return fls_jax.load_agent(breakout)


@pytest.fixture(scope="module")
def clip(agent):
    return play(agent, STEPS, seed=SEED)


def decode(path):
    """The frames of a movie, uint8 [T, H, W, 3], and its stream's frames a second."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), container.streams.video[0].average_rate


def replay(agent, clip, seed, limit):
    """(observations, screens, raw reward, whether the game ended) of a clip's actions in new environments."""
    pool = AtariPool(
        agent.game, 1, seed, max_episode_steps=limit, clip_rewards=False, threads=1, screens=True
    )
    observations = pool.reset()
    for action in clip.actions:
        seen, screens = np.moveaxis(observations, 1, -1), pool.screens
        step = pool.step(np.array([action], np.int32))
        observations = step.observations
        yield seen[0], screens[0], float(step.rewards[0]), len(step.finished_returns) > 0


def enlarged(saliency):
    """[84, 84] on the screen [210, 160]."""
    return resize(saliency.astype(np.float64), (210, 160), order=1, mode="reflect", anti_aliasing=False)


def test_a_clip_is_the_agents_own_play(agent, clip):
    played = list(replay(agent, clip, SEED, 40))
    output = agent(np.stack([seen for seen, *_ in played]))
    np.testing.assert_allclose(clip.values, output.value, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(clip.attention, output.attention, rtol=1e-4, atol=1e-4)
    probabilities = softmax(output.logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(clip.entropies, scipy_entropy(probabilities, axis=1), atol=1e-4)
    total, game = 0.0, 1
    for t, (_, _, reward, ended) in enumerate(played):
        assert (clip.returns[t], clip.games[t]) == (total, game)
        total, game = (0.0, game + 1) if ended else (total + reward, game)
    assert list(clip.games) == [1] * 40 + [2] * 40 + [3] * 10
    assert clip.returns.max() == 1
    assert set(clip.actions) == {0, 1, 2, 3}


def test_the_film_shows_the_clip(agent, clip, breakout, tmp_path):
    """Every number drawn by the tile, both pictures with saliency by oracles, up to the codec's loss."""
    path = film([breakout], tmp_path / "clip.mp4", steps=STEPS, seed=SEED)
    frames, fps = decode(path)
    assert (frames.shape, fps) == ((STEPS, AgentTile.HEIGHT, AgentTile.WIDTH, 3), 15)
    maps = oracle.paint(clip.attention, *oracle.GEOMETRY["cnn_sparse_fls_pool"])
    maps = maps / maps.max()
    for t, (seen, screen, *_) in enumerate(replay(agent, clip, SEED, 40)):
        if t % 6:
            continue
        left = overlay(screen, enlarged(maps[t])).repeat(2, axis=0).repeat(2, axis=1)
        right = overlay(seen[..., -1], maps[t]).repeat(5, axis=0).repeat(5, axis=1)
        assert np.abs(frames[t][SCREEN_AT].astype(int) - left).mean() < 3
        assert np.abs(frames[t][INPUT_AT].astype(int) - right).mean() < 3
        if t % 30 == 0:
            grey = np.abs(frames[t][INPUT_AT].astype(int) - seen[..., -1:].repeat(5, 0).repeat(5, 1))
            assert grey.mean() > 6, "without saliency it would look otherwise"


def test_a_seed_fixes_the_film(agent, clip):
    again, other = play(agent, 30, seed=SEED), play(agent, 30, seed=SEED + 1)
    assert again.screens == clip.screens[:30]
    np.testing.assert_array_equal(again.actions, clip.actions[:30])
    assert not np.array_equal(other.actions, again.actions)


class ConstantAgent(Agent):
    """An agent of Breakout with the same policy whatever it sees."""

    def __init__(self, probabilities):
        self.game, self.actions, self.config = "Breakout", ("NOOP", "FIRE", "RIGHT", "LEFT"), TrainConfig()
        logits = np.log(np.asarray([probabilities], np.float32)) + 3
        self._output = AgentOutput(logits, np.zeros(1, np.float32), np.zeros((1, 7, 7), np.float32))

    def __call__(self, observations):
        return self._output


def test_actions_are_sampled_from_the_policy_unless_greedy():
    probabilities = np.array([0.05, 0.15, 0.3, 0.5])
    agent = ConstantAgent(probabilities)
    clip = play(agent, 600, seed=0)
    counts = np.bincount(clip.actions, minlength=4)
    deviation = (counts - 600 * probabilities) / np.sqrt(600 * probabilities * (1 - probabilities))
    assert np.abs(deviation).max() < 4
    np.testing.assert_allclose(clip.entropies, scipy_entropy(probabilities), rtol=1e-6)
    assert set(play(agent, 40, seed=0, greedy=True).actions) == {3}


@pytest.mark.parametrize("logits", [[0.0, 0.0], [1000.0, 0.0, -1000.0], [1e-9, 3.0, 2.0, -700.0]])
def test_entropy(logits):
    assert entropy(np.array(logits)) == pytest.approx(scipy_entropy(softmax(logits)), abs=1e-12)


def blank_clip(attention):
    """A clip of black screens with this attention [T, h, w]."""
    steps = len(attention)
    zeros = np.zeros(steps)
    black = [zlib.compress(bytes(size)) for size in (210 * 160 * 3, 4 * 84 * 84)]
    whole, never = zeros.astype(int), zeros.astype(bool)
    numbers = (
        zeros[:, None],
        zeros,
        zeros,
        whole,
        zeros,
        whole + 1,
        zeros,
        never,
        np.zeros((steps, 128), np.uint8),
    )
    return Clip(*([b] * steps for b in black), attention, *numbers)


def drawn(network, attention, protocol="aligned"):
    """(screen, input) as drawn, uint8 [T, 210, 160, 3] and [T, 84, 84, 3], one pixel of each square."""
    config = TrainConfig(game="Pong", network=network)
    agent = object.__new__(Agent)  # with no parameters: nothing is played
    vars(agent).update(
        network=network, spec=network_spec(network), game="Pong", config=config, step=0, actions=("NOOP",),
        attention="trained",
    )  # fmt: skip
    frames = np.stack(list(draw(agent, blank_clip(attention.astype(np.float32)), protocol)))
    screens, inputs = frames[:, *SCREEN_AT], frames[:, *INPUT_AT]
    np.testing.assert_array_equal(screens, screens[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_array_equal(inputs, inputs[:, ::5, ::5].repeat(5, axis=1).repeat(5, axis=2))
    return screens[:, ::2, ::2], inputs[:, ::5, ::5]


@pytest.mark.parametrize(
    ("network", "size", "protocol", "field", "stride", "offset"),
    [
        ("cnn_sparse_fls", 7, "aligned", 36, 8, 0),
        ("cnn_sparse_fls_h1", 20, "paper", 8, 4, 0),
        ("cnn_dense_fls", 84, "aligned", 13, 1, 6),
        ("cnn_rsppo", 7, "aligned", 36, 8, 1),
        ("cnn_rsppo", 7, "paper", 36, 8, 0),
    ],
)
def test_a_hot_cell_colours_exactly_its_receptive_field(network, size, protocol, field, stride, offset):
    cells = [(0, 0), (size // 2, size - 1), (size - 1, 2)]
    attention = np.zeros((len(cells), size, size))
    for t, cell in enumerate(cells):
        attention[t, *cell] = 1
    screens, inputs = drawn(network, attention, protocol)
    for t, cell in enumerate(cells):
        hot = np.zeros((84, 84), bool)
        rows, columns = (slice(max(0, n * stride - offset), n * stride - offset + field) for n in cell)
        hot[rows, columns] = True
        np.testing.assert_array_equal(inputs[t].any(axis=-1), hot)
        np.testing.assert_array_equal(np.unique(inputs[t][hot], axis=0), overlay_of_black(1.0))
        on_screen = enlarged(hot)
        coloured = screens[t].any(axis=-1)
        assert not coloured[on_screen == 0].any()
        assert coloured[on_screen > 0.1].all()


def overlay_of_black(saliency):
    return overlay(np.zeros((1, 1), np.uint8), np.full((1, 1), saliency))[0]


def test_one_scale_for_the_whole_clip():
    attention = np.zeros((130, 7, 7))  # the largest value lies beyond the first two blocks
    attention[:, 3, 3], attention[129, 3, 3] = 0.2, 0.8
    _, inputs = drawn("cnn_sparse_fls", attention)
    np.testing.assert_array_equal(inputs[129, 40, 40], overlay_of_black(1.0)[0])
    for t in (0, 64, 128):
        np.testing.assert_array_equal(inputs[t, 40, 40], overlay_of_black(0.25)[0])
    assert not drawn("cnn_sparse_fls", np.zeros((2, 7, 7)))[1].any()


def test_without_attention_nothing_is_laid_over_the_game(tmp_path):
    write_run(tmp_path, "cnn", "Breakout")
    agent = fls_jax.load_agent(tmp_path)
    clip = play(agent, 3, seed=1)
    (seen, screen, *_), *_ = replay(agent, clip, 1, 27_000)
    texts = (
        f"{clip.values[0]:.2f}",
        f"{clip.entropies[0]:.2f}",
        agent.actions[clip.actions[0]],
        "0",
        "1",
        "0",
    )
    tile = AgentTile("cnn", ("Breakout", "seed 0", "32 steps"), None)
    grey = np.stack([seen[..., -1]] * 3, axis=-1)
    np.testing.assert_array_equal(next(draw(agent, clip)), tile.draw(screen, grey, texts))


@pytest.mark.parametrize("largest", [1e-7, 1e-3])
def test_attention_that_has_died_is_drawn_empty_and_said(agent, clip, largest, capsys):
    faint = dataclasses.replace(clip, attention=clip.attention / clip.attention.max() * largest / 10)
    dark = dataclasses.replace(clip, attention=np.zeros_like(clip.attention))
    pictures = [next(iter(draw(agent, each))) for each in (faint, dark)]
    same = [np.array_equal(*(picture[at] for picture in pictures)) for at in (SCREEN_AT, INPUT_AT)]
    assert same == [largest < 1e-6] * 2
    told = capsys.readouterr().out.count("has died; its saliency is below 1e-06 and is not drawn.")
    assert told == 1 + (largest < 1e-6)


def test_agents_of_one_game_are_tiled_and_play_as_they_would_alone(breakout, tmp_path):
    write_run(tmp_path / "other", "cnn_rsppo_nopad", "Breakout", seed=8, step=96)
    both, _ = decode(film([breakout, tmp_path / "other"], steps=12, seed=SEED))
    first, _ = decode(film([breakout], tmp_path / "first.mp4", steps=12, seed=SEED))
    second, _ = decode(film([tmp_path / "other"], steps=12, seed=SEED))
    assert both.shape == (12, AgentTile.HEIGHT, 2 * AgentTile.WIDTH, 3)
    for alone, there in [(first, both[:, :, : AgentTile.WIDTH]), (second, both[:, :, AgentTile.WIDTH :])]:
        assert np.abs(alone.astype(int) - there).mean() < 0.7
    assert np.abs(first.astype(int) - second).mean() > 1.5
    assert (tmp_path / "other/video/96.mp4").exists()
    assert (breakout / "video/64-2-agents.mp4").exists()


def test_the_command_line_names_every_option_and_the_film_lies_in_the_run(breakout, capsys):
    command = cli.parse(["video", str(breakout), "--steps", "4", "--fps", "30", "--greedy"])
    assert set(vars(command)) == set(inspect.signature(film).parameters)
    for name, parameter in list(inspect.signature(film).parameters.items())[1:]:
        field = next(f for f in dataclasses.fields(command) if f.name == name)
        assert field.default == parameter.default
    cli.run(["video", str(breakout), "--steps", "4", "--fps", "30", "--greedy", "--protocol", "paper"])
    path = breakout / "video/64-paper-greedy.mp4"
    assert f"{path}: 4 frames" in capsys.readouterr().out
    frames, fps = decode(path)
    assert (len(frames), fps) == (4, 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "--steps is 0; it must be at least 1"),
        ({"seed": -1}, "--seed is -1; it must lie between 0 and 2,147,483,647"),
        ({"fps": 0}, "--fps is 0; it must lie between 1 and 240"),
        ({"step": 33}, "no checkpoint at step 33"),
        ({"runs": []}, "0 runs were given; a film shows 1 to 16"),
        ({"runs": [Path("x")] * 17}, "17 runs were given"),
        ({"runs": [Path("nowhere")]}, "There is no run folder nowhere"),
        ({"method": ["lime"]}, "--method: There is no saliency method 'lime'"),
        ({"method": []}, "--method needs at least one name"),
        ({"method": ["gradient"], "relative": "mean"}, "--relative is for attention"),
        ({"method": ["gradient"] * 17}, "17 tiles; a film shows at most 16"),
    ],
)
def test_what_cannot_be_filmed(options, message, breakout):
    before = sorted(breakout.rglob("*"))
    with pytest.raises(UserError, match=re.escape(message)):
        film(**{"runs": [breakout], "steps": 2} | options)
    assert sorted(breakout.rglob("*")) == before


def test_methods_side_by_side(breakout, agent, tmp_path):
    """A tile for each; what is drawn is the method's map as a share of its maximum in the clip."""
    clip = play(agent, 5, seed=SEED)
    seen = np.moveaxis(clip.observations(), 1, -1)
    drawn = with_method(agent, clip, "gradient_x_input")
    expected = np.abs(agent.saliency(seen, "gradient_x_input"))  # derivatives are drawn by their size
    expected = expected / expected.max()
    for view, one, frame in zip(views(agent, drawn, maximum=1.0), expected, seen, strict=True):
        np.testing.assert_allclose(view.saliency, one, atol=1e-4)
        np.testing.assert_array_equal(view.seen, frame[..., -1])
    path = film(
        [breakout], tmp_path / "two.mp4", steps=5, seed=SEED, method=["attention", "gradient_x_input"]
    )
    both, _ = decode(path)
    alone, _ = decode(film([breakout], tmp_path / "one.mp4", steps=5, seed=SEED, method=["gradient_x_input"]))
    width = alone.shape[2]
    assert both.shape == (5, alone.shape[1], 2 * width, 3)
    assert np.abs(both[:, :, width:].astype(int) - alone).mean() < 2
    assert np.abs(both[:, :, :width].astype(int) - alone).mean() > 2


def test_films_that_are_no_mp4_or_of_two_games(breakout, tmp_path):
    with pytest.raises(UserError, match=r"clip\.avi; the film is an MP4 file"):
        film([breakout], tmp_path / "clip.avi")
    write_run(tmp_path / "pong", "cnn", "Pong")
    with pytest.raises(UserError, match=r"plays Breakout and .*pong plays Pong; a film shows agents of one"):
        film([breakout, tmp_path / "pong"])
    edit_config(tmp_path / "pong", game="Breakout")
    with pytest.raises(UserError, match="has 6 actions and the game has 4"):
        film([tmp_path / "pong"], tmp_path / "film.mp4", steps=2)
    assert not (tmp_path / "film.mp4").exists()


def test_a_run_that_cannot_be_written_is_filmed_with_out(breakout, tmp_path):
    with small_disk(tmp_path, "size=10m") as disk:
        run = shutil.copytree(breakout, disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match="cannot be written"):
            film([run], steps=2)
        assert film([run], tmp_path / "film.mp4", steps=2).stat().st_size > 1_000


def test_an_agent_that_has_diverged(tmp_path):
    parameters = write_run(tmp_path, "cnn", "Breakout")
    add_checkpoint(tmp_path, 64, parameters | {"value/bias": np.array([np.nan])})
    with pytest.raises(UserError, match="at step 64> is not finite at step 0 of the clip"):
        film([tmp_path], steps=2)
    assert list((tmp_path / "video").iterdir()) == []


# A shell's background job ignores SIGINT, and so would everything that it starts.
AT_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from fls_jax.__main__ import main
main()
"""


def test_an_interruption_leaves_no_half_film(breakout, tmp_path):
    command = [sys.executable, "-c", AT_A_TERMINAL, "video", str(breakout), "--steps", "100000"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "film.mp4")],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert "playing" in process.stdout.readline()
        assert [p.name for p in tmp_path.iterdir()] == ["film.mp4.part"]
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
