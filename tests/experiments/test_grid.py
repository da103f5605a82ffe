from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from experiments.data.grid import (
    ABLATIONS,
    BASELINE,
    MAIN_NETWORKS,
    OWN,
    PAPER,
    PAPER_GAMES,
    PILOT,
    Cell,
    cell_of,
    differences,
    own_experiment,
)
from experiments.data.style import STYLES, style
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.networks.specs import NETWORKS, PUBLISHED
from fls_jax.networks.summary import parameter_count
from fls_jax.statistics import paper


def test_the_pilot():
    assert PILOT.cells[:3] == (
        Cell("Pong", "cnn_sparse_fls", 1),
        Cell("Pong", "cnn", 1),
        Cell("MsPacman", "cnn_sparse_fls", 1),
    )
    assert Counter(PILOT.cells) == Counter(
        Cell(game, network, seed)
        for game in ("Pong", "MsPacman", "Breakout")
        for network in ("cnn", "cnn_sparse_fls")
        for seed in (1, 9)
    ) + Counter(
        [
            Cell("Breakout", "cnn_patch_fls", 1),
            Cell("Pong", "cnn_patch_fls", 1),
            Cell("MsPacman", "cnn_patch_fls", 1),
            Cell("Breakout", "cnn_patch", 1),
            Cell("Breakout", "cnn_patch_fls-cost0.001", 1),
            Cell("Breakout", "cnn_patch_fls", 9),
            Cell("Pong", "cnn_patch_fls", 9),
        ]
    )
    assert PILOT.config(PILOT.cells[1]) == TrainConfig(
        game="Pong",
        network="cnn",
        seed=1,
        total_steps=2_000_000,
        matmul_precision="default",
    )


def test_the_papers_grid():
    assert len(PAPER.cells) == len(set(PAPER.cells)) == 15 * 6 * 5
    assert PAPER.games == PAPER_GAMES
    assert set(PAPER.networks) == set(PUBLISHED)
    assert PAPER.seeds("Enduro", "cnn_dense_fls_norelu") == (1, 9, 17, 25, 33)
    assert set(MAIN_NETWORKS) | set(ABLATIONS) == set(PUBLISHED)
    assert PAPER.config(PAPER.cells[0]).total_steps == paper.STEPS == 50_000_000


@pytest.mark.parametrize("experiment", [PILOT, PAPER], ids=lambda each: each.name)
def test_configurations_are_valid_and_the_papers(experiment):
    for cell in experiment.cells:
        config = experiment.config(cell).validated()
        # Runs begun before there was a choice; on a CPU, where they ran, both are float32.
        assert (config.matmul_precision == "default") == (experiment is PILOT)
        changed = differences(replace(TrainConfig(), matmul_precision=config.matmul_precision), config)
        cost = {"attention_cost"} if cell.network.endswith("-cost0.001") else set()
        assert {text.split(":")[0] for text in changed} - cost <= {"game", "network", "seed", "total_steps"}
    assert all(BASELINE in {c.network for c in experiment.cells if c.game == g} for g in experiment.games)


def test_own_runs_are_those_with_the_settings_of_most():
    def config(game, network, seed, **more):
        return replace(TrainConfig(), game=game, network=network, seed=seed, **more)

    quick = [
        config("Alien", name, seed, total_steps=10**6) for name in ("cnn", "cnn_daqn") for seed in (9, 1)
    ]
    others = [config("Pong", "cnn", 1), config("Pong", "cnn", 2, total_steps=10**6, gamma=0.5)]
    own = own_experiment([others[0], *quick, others[1], quick[0]])
    assert own.cells == tuple(Cell("Alien", name, seed) for name in ("cnn", "cnn_daqn") for seed in (1, 9))
    assert (own.total_steps, own.name) == (10**6, OWN)
    assert own_experiment(others).cells == (Cell("Pong", "cnn", 1),)  # of as many the longest
    assert own_experiment(others[1:]).config(Cell("Pong", "cnn", 3)).gamma == 0.5
    with pytest.raises(UserError, match="no runs"):
        own_experiment([])


def test_the_paper_has_scores_of_its_whole_grid():
    assert all(paper.score(game, network) for game in PAPER_GAMES for network in PUBLISHED)
    assert paper.score("SpaceInvaders", "cnn_sparse_fls") == (9359, 13230)
    assert paper.score("BreakoutInfinite", "cnn_sparse_fls_h1") == (689, 291)
    assert paper.score("BreakoutInfinite", "cnn_sparse_fls_sp2") is None
    assert paper.score("Pong", "cnn") is None


def test_parameter_counts_are_the_papers():
    counts = {name: parameter_count(NETWORKS[name], 4) for name in paper.PARAMETERS}
    assert counts == paper.PARAMETERS


def test_no_two_networks_look_alike():
    assert set(STYLES) == set(NETWORKS)
    patches = tuple(name for name in NETWORKS if name not in PUBLISHED)
    groups = (MAIN_NETWORKS, (BASELINE, "cnn_sparse_fls", *ABLATIONS), (BASELINE, "cnn_sparse_fls", *patches))
    for shown in groups:
        assert len({(STYLES[name].colour, str(STYLES[name].dashes)) for name in shown}) == len(shown)
        # On grey paper marker and dashes must do.
        assert len({(STYLES[name].marker, str(STYLES[name].dashes)) for name in shown}) == len(shown)
    assert len({style.label for style in STYLES.values()}) == len(STYLES)


def test_runs_with_a_cost_on_attention_have_cells_of_their_own():
    free = TrainConfig(game="Breakout", network="cnn_patch_fls", total_steps=10**6)
    costly = [replace(free, attention_cost=cost) for cost in (0.01, 0.001)]
    own = own_experiment([costly[0], free, costly[1], replace(free, network="cnn_dense_fls")])
    names = ("cnn_patch_fls", "cnn_patch_fls-cost0.001", "cnn_patch_fls-cost0.01")
    assert own.networks == ("cnn_dense_fls", *names)
    assert [own.config(Cell("Breakout", name, 1)) for name in names] == [free, *costly[::-1]]
    assert len({cell_of(config) for config in (free, *costly)}) == 3
    looks = [style(name) for name in names]
    assert looks[2].label == f"{looks[0].label}, cost 0.01"
    assert looks[2].colour == looks[0].colour
    assert looks[2].dashes != looks[0].dashes


def test_runs_from_before_the_spread_seeds_still_fill_their_cells():
    old = replace(TrainConfig(), environment_seeds="consecutive")
    assert differences(TrainConfig(), old) == differences(old, TrainConfig()) == []
    assert differences(TrainConfig(), replace(old, gamma=0.5)) == ["gamma: 0.99 -> 0.5"]
    assert own_experiment([old, replace(TrainConfig(), seed=9)]).seeds("Pong", "cnn_sparse_fls") == (1, 9)
