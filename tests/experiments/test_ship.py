"""Pretrained agents: the run's own, small, the same every time, with a card that says what the run says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
import scipy

from experiments.commands.ship import HOME, Settings, _frames, main, ship
from experiments.pages.cards import model_card
from fls_jax import load_agent
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.runs.folder import RunFolder
from fls_jax.train.job import Tracking, train
from tests.experiments.agents import STEP, write_agent
from tests.experiments.folders import write_attention, write_evaluation
from tests.run_folders import edit_config, write_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_agent(tmp_path_factory.mktemp("runs") / "seed3", returns=[1, 2, 3, 6])


@pytest.fixture(scope="module")
def pretrained(run, tmp_path_factory):
    return ship(Settings(run, out=tmp_path_factory.mktemp("pretrained")))


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_the_runs_agent_without_its_optimiser(run, pretrained, rng):
    assert pretrained.parts[-2:] == ("Breakout", "cnn_sparse_fls_pool")
    assert {path.name for path in pretrained.iterdir()} == {"config.json", "README.md", "checkpoints"}
    assert [path.name for path in (pretrained / "checkpoints").glob("*/*")] == ["params"]
    assert (run / "checkpoints" / str(STEP) / "learner").is_dir()
    observations = rng.integers(0, 256, (3, 84, 84, 4), np.uint8)
    ours, theirs = load_agent(pretrained), load_agent(run)
    assert (ours.game, ours.step, ours.actions, ours.config) == (
        theirs.game, theirs.step, theirs.actions, theirs.config,
    )  # fmt: skip
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, np.asarray(b).astype(np.float16).astype(np.float32))
    for a, b in zip(ours(observations), theirs(observations), strict=True):
        np.testing.assert_allclose(a, b, atol=2**-8 * np.abs(b).max())


def test_what_was_measured_later_is_added_from_the_record(copy, tmp_path):
    """The weights stay the very same bytes, also where the run has none any more."""
    target = ship(Settings(copy, out=tmp_path / "out"))
    before = files(target)
    shutil.rmtree(copy / "checkpoints")
    assert ship(Settings(copy, out=tmp_path / "out", update=True)) == target
    assert files(target) == before
    write_evaluation(copy, [7, 9], step=STEP, game="Breakout")
    write_attention(copy, env_step=STEP)
    ship(Settings(copy, out=tmp_path / "out", update=True))
    after = files(target)
    assert {name for name in after if after[name] != before[name]} == {"config.json", "README.md"}
    card = after["README.md"].decode()
    assert "| 8.0 ± 1.0 |" in card
    assert "Is attention used?" in card
    edit_config(copy, seed=4)
    with pytest.raises(UserError, match="configurations differ"):
        ship(Settings(copy, out=tmp_path / "out", update=True))


def test_the_card_says_what_rounding_changes(run, pretrained):
    told = json.loads((pretrained / "config.json").read_text())["pretrained"]["rounding"]
    frames = _frames("Breakout", 4)
    assert told["frames"] == len(frames) == 512
    ours, theirs = load_agent(pretrained)(frames).logits, load_agent(run)(frames).logits
    kl = scipy.stats.entropy(
        scipy.special.softmax(theirs.astype(float), 1), scipy.special.softmax(ours, 1), axis=1
    )
    assert told["kl_mean"] == pytest.approx(kl.mean(), rel=0.05, abs=1e-9)
    assert told["same_action"] == np.mean(ours.argmax(1) == theirs.argmax(1))
    assert f"on {told['same_action']:.1%}" in (pretrained / "README.md").read_text()


def test_the_same_agent_from_a_copy_of_the_run(copy, pretrained, tmp_path):
    again = ship(Settings(copy, out=tmp_path / "out"))
    for name in ("config.json", "README.md"):
        assert (again / name).read_bytes() == (pretrained / name).read_bytes()
    chex.assert_trees_all_equal(load_agent(again).params, load_agent(pretrained).params)
    assert [path.name for path in again.parent.iterdir()] == [again.name]
    assert not any(str(tmp_path).encode() in content for content in files(again).values())


def test_git_takes_every_file(pretrained):
    where = HOME.relative_to(ROOT)
    paths = [str(where / "Breakout" / pretrained.name / name) for name in files(pretrained)]
    paths += ["experiments/results/README.md", "experiments/results/pilot/Pong/cnn/seed1/metrics.jsonl.gz"]
    paths += ["experiments/results/figures/pilot/curves.svg", "docs/moving_picture.webp"]
    done = subprocess.run(
        ["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_the_card_says_what_the_run_says(pretrained):
    card = (pretrained / "README.md").read_text()
    summary = json.loads((pretrained / "config.json").read_text())["pretrained"]["evaluations"][0]["summary"]
    low, high = summary["interval_95"]["mean"]
    assert (summary["mean"], summary["games"]) == (3.0, 4)
    assert f"| Breakout | sampled | aligned | 4 | 3.0 ± 1.9 | {low:.1f} to {high:.1f} | 2.5 |" in card
    for fact in (
        "| agent steps | 2,048 of 2,048 |",
        "| seed | 3 |",
        "| last 100 games of training, mean return | 2.5 |",
        "| time | 2.3 hours |",  # 2048 steps at a quarter a second
        "| machine | Abacus 1, 2 cores |",
        "| versions | python 3.11.9, jax 0.10.2 |",
        "| commit | 0123456789abcdef0123456789abcdef01234567 |",
        "| actions | NOOP, FIRE, RIGHT, LEFT |",
        "| parameters | 263,846 |",
        "| `learning_rate` | 0.00025 |  |",
        "Only 4 games were evaluated.",
        "One training, seed 3.",
        "the paper's agents had 50M",
        "MIT",
    ):
        assert fact in card
    assert "not finished" not in card
    assert "checkpoint_every" not in card


def test_the_card_of_an_older_version_names_every_session(pretrained):
    """Its sessions are called `sittings`."""
    config = json.loads((pretrained / "config.json").read_text())
    facts = config["pretrained"]
    facts["sittings"] = [
        row | {"machine": {"cpu": f"Abacus {i}", "cores": 2}}
        for i, row in enumerate(facts.pop("sessions") * 2)
    ]
    assert "Abacus 0, 2 cores; Abacus 1, 2 cores" in model_card(config)


def test_the_cards_example_runs(pretrained, rng):
    (block,) = re.findall(r"^```python\n(.*?)^```", (pretrained / "README.md").read_text(), re.DOTALL | re.M)
    assert "experiments/pretrained/Breakout/cnn_sparse_fls_pool" in block
    names = {"observations": rng.integers(0, 256, (2, 84, 84, 4), np.uint8)}
    exec(block.replace("experiments/pretrained/Breakout/cnn_sparse_fls_pool", str(pretrained)), names)
    assert names["maps"].shape == (2, 84, 84)


@pytest.mark.parametrize(("mean", "dead"), [(1e-9, True), (1e-3, False), (None, False)])
def test_the_card_tells_of_attention_that_has_died(pretrained, mean, dead):
    config = json.loads((pretrained / "config.json").read_text())
    config["pretrained"]["attention_mean"] = mean
    assert ("Its attention has died (mean 1.0e-09 " in model_card(config)) == dead


def test_a_network_without_attention_a_changed_setting_and_cut_games(tmp_path):
    run = write_agent(tmp_path / "run", "cnn")
    edit_config(run, gamma=0.9)
    file = run / "evaluation" / f"{STEP}-standard.json"
    content = json.loads(file.read_text())
    content["summary"]["games_cut"], content["max_episode_steps"] = 1, 27_000
    file.write_text(json.dumps(content))
    write_evaluation(run, [5, 7], STEP, "infinite")
    card = (ship(Settings(run, out=tmp_path / "out")) / "README.md").read_text()
    assert "It has no attention; other saliency methods explain it" in card
    assert "| `gamma` | 0.9 | 0.99 |" in card
    assert "1 of 2 games were cut after 27,000 agent steps" in card
    assert card.index("| Breakout | sampled") < card.index("| BreakoutInfinite | sampled | aligned | 2 | 6.0")


def test_an_unfinished_run_only_if_the_card_may_say_so(tmp_path):
    run = write_agent(tmp_path / "run")
    edit_config(run, total_steps=4 * STEP)
    with pytest.raises(UserError, match="is at step 2,048 of 8,192: train it to its end, or give --unfin"):
        ship(Settings(run, out=tmp_path / "out"))
    card = (ship(Settings(run, out=tmp_path / "out", unfinished=True)) / "README.md").read_text()
    assert "**Its training was not finished.**" in card
    assert "Training was not finished: 2,048 of 8,192 steps" in card


def test_an_earlier_checkpoint_is_another_agent(copy, tmp_path):
    write_run(tmp_path / "other", "cnn_sparse_fls_pool", "Breakout", seed=8, step=1024)
    (tmp_path / "other" / "checkpoints" / "1024").rename(copy / "checkpoints" / "1024")
    options = {"out": tmp_path / "out", "step": 1024, "unfinished": True}
    with pytest.raises(UserError, match=r"no evaluation of step 1,024 .* --step 1024` first"):
        ship(Settings(copy, **options))
    write_evaluation(copy, [9], 1024, game="Breakout")
    target = ship(Settings(copy, **options))
    assert load_agent(target).step == 1024
    assert "| last 100 games of training, mean return | 1.2 |" in (target / "README.md").read_text()


@pytest.mark.parametrize("left", ["nothing", "greedy", "another step"])
def test_without_an_evaluation_of_what_is_shipped(copy, left, tmp_path):
    shutil.rmtree(copy / "evaluation")
    if left == "greedy":
        write_evaluation(copy, [1], STEP, "greedy", "Breakout")
        edit = copy / "evaluation" / f"{STEP}-greedy.json"
        edit.write_text(json.dumps(json.loads(edit.read_text()) | {"greedy": True}))
    if left == "another step":
        write_evaluation(copy, [1], STEP - 1024, game="Breakout")
    with pytest.raises(
        UserError, match="has no evaluation of step 2,048 with sampled actions: run `fls eval"
    ):
        ship(Settings(copy, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["imported", "pretrained"])
def test_only_what_was_trained_here(copy, kind, tmp_path):
    edit_config(copy, **{kind: {"from": "elsewhere"}})
    with pytest.raises(UserError, match=f"holds an agent that was {kind}, not trained here"):
        ship(Settings(copy, out=tmp_path / "out"))


def test_what_is_there_is_replaced_only_if_asked_to(copy, tmp_path):
    out = tmp_path / "out"
    target = ship(Settings(copy, out=out))
    (target / "note").write_text("mine")
    before = files(target)
    write_evaluation(copy, [8, 9], STEP, game="Breakout")
    with pytest.raises(UserError, match="exists: give --replace"):
        ship(Settings(copy, out=out))
    assert files(target) == before
    ship(Settings(copy, out=out, replace=True))
    assert "8.5 ± 0.5" in (target / "README.md").read_text()
    assert not (target / "note").exists()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_it_is_not_trained_on(pretrained):
    config = TrainConfig.from_json(RunFolder(pretrained).read_config())
    before = files(pretrained)
    with pytest.raises(UserError, match="holds a pretrained model, which cannot be trained on"):
        train(config, pretrained, tracking=Tracking("off"))
    assert {**files(pretrained), ".lock": b""} == {**before, ".lock": b""}
    (pretrained / ".lock").unlink()


def test_the_command_line(copy, tmp_path, monkeypatch, capsys):
    arguments = ["pretrained", str(copy), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 0
    assert re.fullmatch(r"\S+/out/Breakout/cnn_sparse_fls_pool: \d\.\d MB\n", capsys.readouterr().out)
    assert main() == 2
    assert re.fullmatch(r"ship: .* exists: give --replace .*\n", capsys.readouterr().err)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(sys, "argv", [*arguments[:-1], str(tmp_path / "file")])
    assert main() == 2
    assert "cannot be read or written" in capsys.readouterr().err
