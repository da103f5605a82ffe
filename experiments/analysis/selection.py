"""Assigns runs to the cells of an experiment, and finds what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from experiments.analysis.comparison import Sample
from experiments.analysis.runs import Problem, Run, Runs
from experiments.data.grid import EXPERIMENTS, OWN, Cell, Experiment, cell_of, differences, own_experiment
from fls_jax.runs.contents import Evaluation

State = Literal["not run", "unfinished", "not evaluated", "evaluated"]


@dataclass
class Selection:
    """The runs of an experiment, by cell; all other runs, and why they are left out.

    protocol: of the final evaluations that count. Scores under different protocols are not combined.
    """

    experiment: Experiment
    runs: dict[Cell, Run] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    protocol: str = "aligned"

    def final_evaluation(self, cell: Cell, environment: str | None = None) -> Evaluation | None:
        """The evaluation with a cell's score. environment: by default the game itself."""
        run = self.runs.get(cell)
        for evaluation in run.final_evaluations if run else ():
            found = (evaluation.environment, evaluation.protocol)
            if found == (environment or cell.game, self.protocol):
                return evaluation
        return None

    def state(self, cell: Cell, environment: str | None = None) -> State:
        """The state of a cell. environment: of the evaluation, by default the game itself."""
        run = self.runs.get(cell)
        if run is None:
            return "not run"
        if not run.finished:
            return "unfinished"
        return "evaluated" if self.final_evaluation(cell, environment) else "not evaluated"

    def why_empty(self, game: str, network: str, environment: str | None = None) -> str:
        """Why there is no final score of a network in a game, in a few words."""
        cells = [Cell(game, network, seed) for seed in self.experiment.seeds(game, network)]
        states = [self.state(cell, environment) for cell in cells]
        if "not evaluated" in states:
            return "not evaluated"
        if "unfinished" in states:
            done = max(self.runs[cell].env_step for cell in cells if cell in self.runs)
            return f"unfinished: {done / 1e6:.2f}M of {self.experiment.total_steps / 1e6:g}M steps"
        return "not run" if cells else "not planned"

    def sample(self, game: str, network: str, environment: str | None = None) -> Sample | None:
        """Returns of the final evaluations of all seeds; None without evaluations."""
        returns = []
        for seed in self.experiment.seeds(game, network):
            evaluation = self.final_evaluation(Cell(game, network, seed), environment)
            if evaluation is not None:
                returns.append(np.asarray(evaluation.returns, float))
        return Sample(tuple(returns)) if returns else None

    def of(self, game: str, network: str) -> list[Run]:
        """The runs of a network in a game in any state, by seed."""
        cells = [Cell(game, network, seed) for seed in self.experiment.seeds(game, network)]
        return [self.runs[cell] for cell in cells if cell in self.runs]


def select_named(found: Runs, name: str) -> Selection:
    """The runs of an experiment by its name. Raises UserError for OWN without runs."""
    return select(
        found, own_experiment(run.config for run in found.runs) if name == OWN else EXPERIMENTS[name]
    )


def select(found: Runs, experiment: Experiment) -> Selection:
    """The runs that are cells of an experiment: its game, network, seed and every hyper-parameter.

    Of two runs of one cell, the one with more steps is used, then the one with more results. Evaluations
    count under the protocol `aligned`, unless there are only others.
    """
    selection = Selection(experiment, problems=list(found.problems))
    cells = set(experiment.cells)
    for run in sorted(found.runs, key=lambda run: (-run.env_step, -len(run.evaluations), -len(run.gaze))):
        cell = cell_of(run.config)
        if cell not in cells:
            reason = f"{cell.game}, {cell.network}, seed {cell.seed} is not a cell of the experiment"
        elif others := differences(experiment.config(cell), run.config):
            reason = f"other settings than the experiment's ({'; '.join(others)})"
        elif cell in selection.runs:
            taken = selection.runs[cell]
            further = "was trained further" if taken.env_step > run.env_step else "is as far"
            reason = f"the same cell as {taken.path}, which {further}"
        else:
            selection.runs[cell] = run
            continue
        selection.problems.append(Problem(run.path, reason))
    finals = [each for run in selection.runs.values() for each in run.final_evaluations]
    protocols = sorted({each.protocol for each in finals}, key=lambda name: (name != "aligned", name))
    selection.protocol = protocols[0] if protocols else "aligned"
    for each in finals:
        if each.protocol != selection.protocol:
            reason = f"protocol {each.protocol}, the scores are of protocol {selection.protocol}"
            selection.problems.append(Problem(each.path, reason))
    return selection
