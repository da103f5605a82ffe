"""Experiments as data: the runs and their settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.evaluation.settings import EvaluationSettings
from fls_jax.networks.specs import NETWORKS, PUBLISHED
from fls_jax.statistics.paper import PAPER_GAMES

BASELINE = "cnn"
MAIN_NETWORKS = (
    "cnn",
    "cnn_daqn",
    "cnn_rsppo",
    "cnn_sparse_fls",
    "cnn_sparse_fls_pool",
    "cnn_dense_fls",
)
"""The paper's comparison: baseline, earlier attention agents, the paper's own."""
ABLATIONS = tuple(name for name in PUBLISHED if name not in MAIN_NETWORKS)
"""Ablations: variants of those, each with one change."""
PAPER_SEEDS = (1, 9, 17, 25, 33)


@dataclass(frozen=True)
class Cell:
    """One training run. network: its name, with `-cost<L>` if attention costs (TrainConfig.variant)."""

    game: str
    network: str
    seed: int


@dataclass(frozen=True)
class Resources:
    """Resources of a run in one stage: CPU cores, GPUs (for all runs of a job together), memory, time limit.

    memory_gb: 0: the cluster's default. A job that reaches its time limit stops, is requeued and resumes.
    """

    cores: int = 2
    gpus: int = 0
    memory_gb: int = 0
    hours: float = 4.0


@dataclass(frozen=True)
class SaliencySettings:
    """Options of `fls saliency`: frames of a run's games, of them those that are scored for faithfulness."""

    frames: int = 500
    faithful: int = 100
    methods: tuple[str, ...] = ("all",)


@dataclass(frozen=True)
class Experiment:
    """Runs that belong together; they differ only in game, network and seed.

    cells: in the preferred order of running. title: for headings. base: all other settings. evaluation,
    saliency: of every run. resources: by stage (experiments/launch). pack: number of runs that share a job.
    together: these runs train in one process (`fls train --seeds`).
    """

    name: str
    title: str
    total_steps: int
    cells: tuple[Cell, ...]
    base: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    resources: Mapping[str, Resources] = field(default_factory=dict)
    pack: int = 1
    together: bool = False
    saliency: SaliencySettings = field(default_factory=SaliencySettings)

    @property
    def games(self) -> tuple[str, ...]:
        """The games in the cells' order, without repetitions."""
        return tuple(dict.fromkeys(cell.game for cell in self.cells))

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks in the order of `NETWORKS`, each followed by its variants with attention cost."""
        return tuple(sorted({cell.network for cell in self.cells}, key=_place))

    def seeds(self, game: str, network: str) -> tuple[int, ...]:
        """The seeds planned for a game and network."""
        return tuple(cell.seed for cell in self.cells if (cell.game, cell.network) == (game, network))

    def with_cells(self, cells: Iterable[Cell]) -> Experiment:
        """The same experiment with other cells, without repetitions."""
        return replace(self, cells=tuple(dict.fromkeys(cells)))

    def config(self, cell: Cell) -> TrainConfig:
        """The configuration of a cell's run."""
        return replace(
            self.base,
            game=cell.game,
            seed=cell.seed,
            total_steps=self.total_steps,
            **settings_of(cell.network),
        )


def cell_of(config: TrainConfig) -> Cell:
    """The cell that a run of this configuration fills."""
    return Cell(config.game, config.variant, config.seed)


def settings_of(variant: str) -> dict[str, Any]:
    """Network and attention cost of a TrainConfig.variant."""
    network, _, cost = variant.partition("-cost")
    return {"network": network, "attention_cost": float(cost or 0)}


def _place(variant: str) -> tuple[int, float]:
    network, cost = settings_of(variant).values()
    return list(NETWORKS).index(network), cost


def differences(expected: TrainConfig, run: TrainConfig) -> list[str]:
    """The settings in which a run differs.

    Older runs with other environment seeds are accepted, and float32 products where a device's own precision
    is expected, as in the pilot, whose CPUs compute in float32.
    """
    expected = replace(expected, environment_seeds=run.environment_seeds)
    if (expected.matmul_precision, run.matmul_precision) == ("default", "highest"):
        expected = replace(expected, matmul_precision="highest")
    return expected.differences(run)


def product(games: Iterable[str], networks: Iterable[str], seeds: Iterable[int]) -> Iterator[Cell]:
    """Every combination, seed by seed, so that an interrupted experiment has complete rounds."""
    games, networks = tuple(games), tuple(networks)
    for seed in seeds:
        for game in games:
            for network in networks:
                yield Cell(game, network, seed)


PAPER = Experiment(
    "paper",
    "The paper's grid",
    50_000_000,
    (*product(PAPER_GAMES, MAIN_NETWORKS, PAPER_SEEDS), *product(PAPER_GAMES, ABLATIONS, PAPER_SEEDS)),
    resources={
        "train": Resources(cores=3, gpus=1, memory_gb=12, hours=24.0),
        "evaluate": Resources(cores=3, gpus=1, memory_gb=8, hours=12.0),
        "gaze": Resources(cores=2, gpus=1, memory_gb=12, hours=12.0),
        "saliency": Resources(cores=2, gpus=1, memory_gb=12, hours=12.0),
    },
    pack=len(PAPER_SEEDS),
    together=True,
)
_PILOT_FIRST = (
    Cell("Pong", "cnn_sparse_fls", 1),
    Cell("Pong", "cnn", 1),
    Cell("MsPacman", "cnn_sparse_fls", 1),
    Cell("Breakout", "cnn", 1),
    # Is a gate on patches as good as cnn, sharp, and used? experiments/data/rule.py
    Cell("Breakout", "cnn_patch_fls", 1),
    Cell("Pong", "cnn_patch_fls", 1),
    Cell("Breakout", "cnn_patch", 1),
    Cell("MsPacman", "cnn_patch_fls", 1),
    Cell("Breakout", "cnn_patch_fls-cost0.001", 1),
    Cell("MsPacman", "cnn", 1),
    Cell("Breakout", "cnn_sparse_fls", 1),
    *product(("Breakout", "Pong"), ("cnn_patch_fls", "cnn"), (9,)),
)
PILOT = Experiment(
    "pilot",
    "Pilot",
    2_000_000,
    tuple(
        dict.fromkeys(
            (*_PILOT_FIRST, *product(("Pong", "MsPacman", "Breakout"), ("cnn_sparse_fls", "cnn"), (9,)))
        )
    ),
    # Begun before this option existed; on a CPU all its values are the same.
    TrainConfig(matmul_precision="default"),
    EvaluationSettings(num_envs=16, games_per_env=6),
)
"""The paper's network and gates on patches against cnn; experiments/data/rule.py judges them."""
SMOKE = Experiment(
    "smoke",
    "Smoke",
    768,
    tuple(product(("Pong", "Qbert"), ("cnn", "cnn_sparse_fls_pool"), (1, 9))),
    TrainConfig(num_envs=4, rollout_length=16, minibatches=1, epochs=1, checkpoint_every=4),
    EvaluationSettings(num_envs=2, games_per_env=1),
    resources=dict.fromkeys(("train", "evaluate", "gaze", "saliency"), Resources(cores=1, hours=0.5)),
    together=True,
    saliency=SaliencySettings(frames=8, faithful=1, methods=("gradient",)),
)
"""Runs every part of the grid in minutes, without learning anything. Both games have six actions, so
that they share their compiled programs."""

OWN = "own"
"""The experiment that consists of the runs at hand."""
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (PILOT, PAPER, SMOKE)}


def own_experiment(configs: Iterable[TrainConfig]) -> Experiment:
    """The largest set of runs that differ only in game, network and seed; among equal sets, the longest.

    configs: of the runs at hand. Raises UserError if there are none.
    """
    groups: list[list[TrainConfig]] = []
    for config in configs:
        for group in groups:
            cell = {"game": config.game, "seed": config.seed, **settings_of(config.variant)}
            if not differences(replace(group[0], **cell), config):
                group.append(config)
                break
        else:
            groups.append([config])
    if not groups:
        raise UserError(
            "There are no runs: train one first, or name the folders that hold them with --roots."
        )
    group = max(groups, key=lambda group: (len(group), group[0].total_steps))
    cells = sorted({cell_of(config) for config in group}, key=lambda c: (c.game, c.network, c.seed))
    return Experiment(OWN, "Own runs", group[0].total_steps, tuple(cells), group[0])
