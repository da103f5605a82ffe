"""What a launch finds done, running, failed or missing, and what it would start."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import replace

import pandas as pd
import pytest

from experiments.analysis.runs import Run
from experiments.data.grid import PAPER, PILOT, SMOKE, Cell, Resources
from experiments.launch.attempts import Attempt, add_attempt, attempts_file, is_alive, last_attempt
from experiments.launch.planning import (
    Status,
    chosen,
    make_plan,
    packs,
    resources,
    speeds,
    status_of,
    training_hours,
)
from experiments.launch.slurm import Submissions, sbatch_options
from experiments.launch.stages import STAGES, applies, cell_id, commands, flags, is_done, obstacle
from experiments.launch.sweep import sweep
from fls_jax import cli
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.evaluation.settings import EvaluationSettings
from tests.experiments.launch.grids import (
    BASE,
    LAST,
    PONG,
    cells,
    small_grid,
    write_evaluation,
    write_training,
)

NOBODY = 2**22 + 1  # above Linux's largest process number


def state(grid, stage, cell=PONG, queue=(), queued=()):
    return status_of(grid, cell, stage, frozenset(queue), queued)


def write_attempt(grid, **values):
    path = attempts_file(grid.folder(PONG))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"env_step": LAST} | values) + "\n")


def test_a_new_cell_is_missing_and_a_finished_one_done(tmp_path):
    grid = small_grid(tmp_path)
    assert {state(grid, stage).state for stage in STAGES if stage != "gaze"} == {"missing"}
    write_training(grid, PONG)
    assert state(grid, "train").state == "done"
    assert state(grid, "evaluate").state == "missing"
    write_evaluation(grid, PONG)
    assert state(grid, "evaluate").state == "done"


def test_a_training_before_its_end_is_stopped(tmp_path):
    grid = small_grid(tmp_path)
    write_training(grid, PONG, LAST - 16)
    assert state(grid, "train").state == "stopped"


def test_a_damaged_evaluation_and_one_of_another_step_are_none(tmp_path):
    grid = small_grid(tmp_path)
    write_training(grid, PONG)
    write_evaluation(grid, PONG, step=LAST - 16)
    (grid.folder(PONG).path / "evaluation" / f"{LAST}-standard.json").write_text("{")
    assert not is_done(grid, "evaluate", PONG)


def test_an_agent_of_breakout_also_plays_it_without_end(tmp_path):
    cell = Cell("Breakout", "cnn", 1)
    grid = small_grid(tmp_path, (cell,))
    write_evaluation(grid, cell)
    assert not is_done(grid, "evaluate", cell)
    assert ["--infinite-breakout" in words for words in commands(grid, "evaluate", cell)] == [False, True]
    write_evaluation(grid, cell, "infinite")
    assert is_done(grid, "evaluate", cell)


def test_pong_is_not_in_atari_head(tmp_path):
    assert not applies("gaze", PONG)
    assert applies("gaze", Cell("MsPacman", "cnn", 1))
    assert state(small_grid(tmp_path), "gaze").state == "none"


def test_a_locked_folder_is_running(tmp_path):
    grid = small_grid(tmp_path)
    folder = write_training(grid, PONG, 16)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert state(grid, "train").state == "running"
    assert state(grid, "train").state == "stopped"


def test_what_slurm_has_in_its_queue_is_not_started_again(tmp_path):
    grid = small_grid(tmp_path)
    Submissions(tmp_path).add("7_1", "evaluate", [cell_id(PONG)])
    Submissions(tmp_path).add("8", "saliency", [cell_id(PONG)])
    queued = Submissions(tmp_path).queued(frozenset({"7_1"}))
    assert state(grid, "evaluate", queued=queued).state == "queued"
    assert state(grid, "saliency", queued=queued).state == "missing"


def test_a_job_that_slurm_has_lost_has_failed(tmp_path):
    grid = small_grid(tmp_path)
    write_attempt(grid, stage="train", state="running", job="7_1", host="node3", time="today")
    assert state(grid, "train", queue=("7_1",)).state == "running"
    lost = state(grid, "train", queue=("7_2",))
    assert lost.state == "failed"
    assert "job 7_1 on node3, begun today" in lost.why


def test_a_local_job_whose_process_is_gone_has_failed(tmp_path):
    grid = small_grid(tmp_path)
    write_attempt(grid, stage="saliency", state="running", host=socket.gethostname(), pid=NOBODY)
    assert state(grid, "saliency").state == "failed"
    elsewhere = Attempt("saliency", "running", LAST, host="another", pid=NOBODY)
    assert is_alive(elsewhere, frozenset())
    reused = Attempt("saliency", "running", LAST, host=socket.gethostname(), pid=os.getpid())
    assert not is_alive(reused, frozenset()), "a process of that number that is no job"


def test_a_failure_says_why_until_it_is_tried_again(tmp_path):
    grid = small_grid(tmp_path)
    folder = grid.folder(PONG)
    add_attempt(folder, "saliency", "failed", LAST, "no room")
    assert state(grid, "saliency") == Status("failed", "no room")
    with attempts_file(folder).open("a") as file:
        file.write('{"stage": "saliency", "cut off')
    assert last_attempt(folder, "saliency").why == "no room"
    attempts_file(folder).unlink()
    add_attempt(folder, "saliency", "finished", LAST)
    assert state(grid, "saliency").state == "done"
    add_attempt(folder, "saliency", "finished", LAST - 16)
    assert state(grid, "saliency").state != "done", "that was about an earlier checkpoint"


def test_a_folder_of_another_run_is_left_out_and_said(tmp_path):
    two = cells(seeds=(1, 9))
    grid = small_grid(tmp_path, two)
    write_training(small_grid(tmp_path, two, replace(BASE, learning_rate=1.0)), two[0])
    assert "learning_rate: 1.0 -> 0.00025" in obstacle(grid, two[0])
    plan = make_plan(grid, ("train",), 1, frozenset(), ())
    assert list(plan.left_out) == [two[0]]
    assert [pack.cells for pack in plan.packs] == [(two[1],)]


def test_a_plan_has_only_what_is_left(tmp_path):
    every = cells(("Pong", "MsPacman"), seeds=(1, 9))
    grid = small_grid(tmp_path, every)
    for cell in every[:1]:
        write_training(grid, cell)
        write_evaluation(grid, cell)
    write_training(grid, Cell("Pong", "cnn", 9))
    plan = make_plan(grid, ("train", "evaluate"), 1, frozenset(), ())
    assert {pack.cells[0]: pack.stages for pack in plan.packs} == {
        Cell("MsPacman", "cnn", 1): ("train", "evaluate"),
        Cell("MsPacman", "cnn", 9): ("train", "evaluate"),
        Cell("Pong", "cnn", 9): ("evaluate",),
    }
    packed = make_plan(grid, ("train", "evaluate"), 2, frozenset(), ())
    pong = next(pack for pack in packed.packs if pack.cells[0].game == "Pong")
    assert packed.open_cells(pong, "evaluate") == (Cell("Pong", "cnn", 9),)
    assert pong.stages == ("evaluate",)


def test_packs_are_seeds_of_one_game_and_network():
    grouped = packs(PAPER.cells, 5)
    assert len(grouped) == len(PAPER.cells) / 5
    assert all(len({(c.game, c.network) for c in part}) == 1 and len(part) == 5 for part in grouped)
    assert [part[0] for part in packs(PAPER.cells, 1)] == list(PAPER.cells)
    assert [len(part) for part in packs(cells(seeds=(1, 9, 17)), 2)] == [2, 1]


def test_chosen_axes_are_every_combination():
    assert chosen(PILOT, (), (), ()) is PILOT
    some = chosen(PILOT, ("Seaquest",), (), (7,))
    assert some.cells == tuple(Cell("Seaquest", network, 7) for network in PILOT.networks)
    assert some.total_steps == PILOT.total_steps
    with pytest.raises(UserError, match="no network 'cnm'"):
        chosen(PILOT, (), ("cnm",), ())


@pytest.mark.parametrize("experiment", [PAPER, PILOT, SMOKE], ids=lambda each: each.name)
def test_commands_say_what_the_experiment_says(tmp_path, experiment):
    grid = replace(small_grid(tmp_path), experiment=experiment, threads=3)
    cell = experiment.cells[-1]
    (train,) = commands(grid, "train", cell)
    command = cli.parse(train[3:])
    assert isinstance(command, cli.Train)
    assert command.config == replace(experiment.config(cell), env_threads=3)
    assert (command.run_dir, command.wandb) == (grid.folder(cell).path, "off")
    evaluate = cli.parse(commands(grid, "evaluate", cell)[0][3:])
    assert isinstance(evaluate, cli.Evaluate)
    assert evaluate.settings == experiment.evaluation
    with pytest.raises(UserError, match="--atari-head"):
        commands(grid, "gaze", cell)


def test_flags_are_what_differs():
    assert flags(TrainConfig(), TrainConfig()) == []
    assert flags(TrainConfig(overlap=True, seed=9), TrainConfig()) == ["--seed", "9", "--overlap"]
    assert flags(EvaluationSettings(greedy=True), EvaluationSettings()) == ["--greedy"]


def test_hours_come_from_runs_on_such_a_device(tmp_path):
    def run(network, backend, *sps):
        history = pd.DataFrame({"env_step": range(len(sps)), "sps": sps})
        return Run(tmp_path, TrainConfig(network=network), {"backend": backend}, (), history, (), ())

    found = [
        run("cnn", "cpu", 2.0, 4.0, 6.0),
        run("cnn", "cpu", 8.0),
        run("cnn", "gpu", 100.0),
        run("cnn", "cpu"),
    ]
    assert speeds(found, accelerated=False) == {"cnn": 6.0}
    assert speeds(found, accelerated=True) == {"cnn": 100.0}
    grid = small_grid(tmp_path)
    plan = make_plan(grid, ("train",), 1, frozenset(), ())
    assert training_hours(plan, PONG, {"cnn": 2.0}) == LAST / 2 / 3600
    assert training_hours(plan, PONG, {}) is None
    write_training(grid, PONG, 48)
    assert training_hours(plan, PONG, {"cnn": 2.0}) == 16 / 2 / 3600


def test_what_the_command_line_gives_wins():
    assert resources(PAPER, "train", cores=None, gpus=0) == replace(PAPER.resources["train"], gpus=0)
    assert resources(PILOT, "train", cores=5) == Resources(cores=5)


def test_sbatch_options():
    assert sbatch_options(["--constraint=a100|h100", "mail-type=END"]) == {
        "constraint": "a100|h100",
        "mail-type": "END",
    }
    with pytest.raises(UserError, match="NAME=VALUE"):
        sbatch_options(["requeue"])


def test_a_sweep_trains_the_same_runs():
    content = sweep(PAPER)
    assert len(content["parameters"]["seed"]["values"]) == 5
    assert {name for name in content["parameters"] if "value" in content["parameters"][name]} == set()
    smoke = sweep(SMOKE)
    values = {
        name: each.get("value", each.get("values", [None])[-1]) for name, each in smoke["parameters"].items()
    }
    command = cli.parse(["train", *(f"--{name}={value}" for name, value in values.items())])
    assert isinstance(command, cli.Train)
    assert command.config == SMOKE.config(SMOKE.cells[-1])
    lopsided = PILOT.with_cells(PILOT.cells[:3])
    with pytest.raises(UserError, match="every combination"):
        sweep(lopsided)
