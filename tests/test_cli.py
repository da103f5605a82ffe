"""The command line: what it understands, what it says, and how it ends."""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fls_jax.__main__
import fls_jax.cli
import fls_jax.config
from fls_jax.atari.pool import games
from fls_jax.cli import Games, Networks, Train, parse
from fls_jax.config import PRESETS, TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.specs import NETWORKS
from tests.networks.counts import COUNTS
from tests.processes import run_fls, run_python


def train(*arguments: str) -> Train:
    command = parse(["train", *arguments])
    assert isinstance(command, Train)
    return command


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """(exit code, all text as one line without the boxes around it) of arguments that end the program."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    written = capsys.readouterr()
    assert "Traceback" not in written.err
    assert isinstance(caught.value.code, int)
    return caught.value.code, plain(written.out + written.err)


def plain(text: str) -> str:
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_every_option_reaches_its_field():
    words = (
        "--game breakout --network cnn --seed 9 --total-steps 4096 --run-dir some/where --fresh "
        "--learning-rate 1e-3 --compute-dtype bfloat16 --overlap --wandb off --wandb-project p "
        "--allocator default --keep-every 5 --gae-lambda 1"
    )
    command = train(*words.split())
    assert command == Train(
        TrainConfig(
            game="breakout",
            network="cnn",
            seed=9,
            total_steps=4096,
            learning_rate=1e-3,
            compute_dtype="bfloat16",
            overlap=True,
            keep_every=5,
            gae_lambda=1.0,
        ),
        run_dir=Path("some/where"),
        fresh=True,
        wandb="off",
        wandb_project="p",
        allocator="default",
    )


def test_without_options_it_is_the_paper():
    assert train() == Train(PRESETS["paper"])
    assert isinstance(parse(["games"]), Games)
    assert isinstance(parse(["networks"]), Networks)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--preset", "smoke", "--seed", "3", "--num-envs", "4"],
        ["--seed", "3", "--num-envs", "4", "--preset", "smoke"],
        ["--seed=3", "--preset=smoke", "--num-envs=4"],
    ],
)
def test_a_preset_is_the_default_of_the_rest_wherever_it_stands(arguments):
    command = train(*arguments)
    assert command.preset == "smoke"
    assert command.config == dataclasses.replace(PRESETS["smoke"], seed=3, num_envs=4)


def test_an_option_beats_the_preset_also_with_the_papers_value():
    assert train("--total-steps", "50000000", "--preset", "smoke").config.total_steps == 50_000_000


def test_help_names_the_commands(capsys):
    code, text = said(capsys, "--help")
    assert code == 0
    for words in ("train Train an agent", "games List all games", "networks List the networks"):
        assert words in text


def _documented(module: object) -> dict[str, str]:
    """Field name -> the docstring below it, for all dataclasses in a module's source."""
    found = {}
    for node in ast.parse(inspect.getsource(module)).body:  # ty: ignore[invalid-argument-type]
        if isinstance(node, ast.ClassDef) and node.name in ("TrainConfig", "Train"):
            for field, below in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    found[ast.unparse(field.target)] = " ".join(ast.literal_eval(below.value).split())
    return found


def test_help_of_train_explains_every_option(capsys):
    code, text = said(capsys, "train", "--help")
    assert code == 0
    documented = _documented(fls_jax.config) | _documented(fls_jax.cli.commands)
    names = {field.name for type_ in (TrainConfig, Train) for field in dataclasses.fields(type_)} - {"config"}
    assert documented.keys() == names
    for name, words in documented.items():
        assert f"--{name.replace('_', '-')} " in text, name
        assert words.replace(" ", "") in text.replace(" ", ""), name  # lines may break anywhere
    for field in dataclasses.fields(TrainConfig):
        assert f"(default: {field.default})" in text, field.name
    assert "MALLOC_*" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing subcommand", "train", "evaluate", "games", "networks"]),
        (["tran"], ["Unrecognized", "tran", "train", "evaluate", "games", "networks"]),
        (["train", "--learning-rat", "1"], ["Unrecognized", "--learning-rat"]),
        (["train", "--seed", "one"], ["--seed", "'one'"]),
        (["train", "--seed", "1.5"], ["--seed", "'1.5'"]),
        (["train", "--gamma"], ["Missing value", "--gamma"]),
        (["train", "--preset", "huge"], ["'huge'", "--preset", "paper", "smoke"]),
        (["train", "--preset"], ["Missing value", "--preset"]),
        (["train", "--compute-dtype", "float16"], ["'float16'", "float32", "bfloat16"]),
        (["train", "--wandb", "on"], ["'on'", "auto", "offline", "off"]),
        (["games", "Pong"], ["Unrecognized", "Pong"]),
    ],
)
def test_what_cannot_be_understood_ends_with_2_and_a_word_on_it(capsys, arguments, words):
    code, text = said(capsys, *arguments)
    assert code == 2
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--game", "Pomg"], "fls: There is no game 'Pomg'; did you mean Pong"),
        (["--network", "resnet"], "fls: There is no network 'resnet'; choose one of: cnn, cnn_daqn,"),
        (["--attention-cost", "-1"], "fls: --attention-cost is -1.0; it must be at least 0"),
        (
            ["--network", "cnn_patch", "--attention-cost", "0.01"],
            "fls: --attention-cost is 0.01, and cnn_patch has no attention: leave it out, or choose another",
        ),
        (["--total-steps", "10"], "fls: --total-steps is 10, less than the 1024 steps of one update"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fls", "train", *arguments, "--allocator", "default"])
    with pytest.raises(SystemExit) as caught:
        fls_jax.__main__.main()
    assert caught.value.code == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(sentence)
    assert written.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_games_lists_them_all():
    ended = run_fls("games")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == list(games())
    assert ended.stderr == ""


def test_networks_lists_them_with_the_published_sizes():
    ended = run_fls("networks")
    assert ended.returncode == 0
    assert ended.stderr == ""
    rows = {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("cnn")}
    assert list(rows) == list(NETWORKS)
    assert {name: rows[name][0] for name in COUNTS} == {name: f"{n:,}" for name, n in COUNTS.items()}
    assert rows["cnn"][1:3] == ["-", "-"]
    assert rows["cnn_sparse_fls"][1:3] == ["7x7", "36/8"]
    assert rows["cnn_sparse_fls_x3"][1:3] == ["20x20", "8/4"]
    assert rows["cnn_dense_fls_norelu"][1:3] == ["84x84", "13/1"]
    assert " ".join(rows["cnn_dense_fls_norelu"][3:]) == "dense, no last relu; 3x3 softplus; pool"
    assert " ".join(rows["cnn_rsppo"][3:]) == "sparse, padded by 1; 1x1 softmax x2; flatten"


def test_help_loads_nothing_heavy():
    heavy = ["jax", "flax", "numpy", "envpool", "wandb", "orbax", "pandas"]
    script = (
        "import sys; from fls_jax.cli import parse\n"
        "try: parse(['train', '--help'])\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    assert run_python(["-c", script]).stderr == "[]\n"


def test_a_reader_that_leaves_is_no_error():
    command = f"{shlex.quote(sys.executable)} -m fls_jax games | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_names_that_are_no_text_are_shown():
    code = "import fls_jax.cli as c, fls_jax.__main__ as m; c.run = lambda _: print('R\\udce9Z'); m.main()"
    strict = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=strict, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"R\\udce9Z\n", b"")


def test_control_c_is_no_traceback(monkeypatch, capsys):
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fls_jax.cli, "run", interrupt)
    with pytest.raises(SystemExit) as caught:
        fls_jax.__main__.main()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_the_version_is_the_packages(capsys):
    fls_jax.cli.run(["--version"])
    assert capsys.readouterr().out == f"fls {importlib.metadata.version('fls-jax')}\n"
    assert fls_jax.__version__ == importlib.metadata.version("fls-jax")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train", "--run-dir", "", "--fresh"], "--run-dir"),
        (["train", "--run-dir=", "--fresh"], "--run-dir"),
        (["evaluate", ""], "evaluate"),
    ],
)
def test_an_empty_value_is_not_the_current_folder(arguments, name):
    """As of `--run-dir "$UNSET"`."""
    with pytest.raises(UserError, match=f"The value of {name} is empty"):
        fls_jax.cli.run(arguments)
