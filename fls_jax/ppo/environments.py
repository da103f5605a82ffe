"""The environments of one or several runs: their seeds, and the groups that take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import numpy as np

from fls_jax.atari.pool import AtariPool
from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.actor import Pool

MakePool = Callable[[TrainConfig, list[int]], Pool]


def environment_seeds(config: TrainConfig, seed: int) -> list[int]:
    """A seed below 2^31 for each of a run's environments, by the rule `config.environment_seeds`.

    `spread`: drawn from (seed, environment), so that no two runs share one; else seed + environment.
    """
    if config.environment_seeds == "consecutive":
        return list(range(seed, seed + config.num_envs))
    sequences = (np.random.SeedSequence([seed, i]) for i in range(config.num_envs))
    return [int(sequence.generate_state(1)[0] >> 1) for sequence in sequences]


def atari_pool(config: TrainConfig, seeds: list[int]) -> AtariPool:
    """Environments with these seeds and the settings of a configuration."""
    return AtariPool(
        config.game,
        len(seeds),
        seeds,
        max_episode_steps=config.max_episode_steps,
        sticky_actions=config.sticky_actions,
        threads=config.env_threads,
    )


def resume_seed(seed: int, updates: int) -> int:
    """The seed of the games of a run that resumes after so many updates."""
    return int(np.random.SeedSequence([seed, updates]).generate_state(1)[0] >> 2)


def group_count(config: TrainConfig, devices: int) -> int:
    """The number of groups of environments. Raises UserError if a group does not divide among devices."""
    if config.env_groups == 0:
        return 2 if jax.default_backend() != "cpu" and config.num_envs % (2 * devices) == 0 else 1
    size = config.num_envs // config.env_groups
    if size % devices:
        raise UserError(
            f"--env-groups is {config.env_groups}, so that {size} environments act at once, which do not "
            f"divide among {devices} devices: choose fewer groups or --devices."
        )
    return config.env_groups


def make_pools(
    make_pool: MakePool,
    config: TrainConfig,
    seeds: Sequence[int],
    groups: int,
    host: int = 0,
    hosts: int = 1,
) -> list[Pool]:
    """One pool per group. Each holds the same environments of every run, run after run.

    seeds: one per run. The pools share the threads of the configuration.
    host, hosts: this process's number and how many there are; each makes its own share of the environments.
    """
    config = replace(config, env_threads=-(-config.env_threads // groups))
    size = config.num_envs // hosts // groups
    first = host * groups * size
    by_run = [environment_seeds(config, seed)[first : first + groups * size] for seed in seeds]
    return [
        make_pool(config, [seed for run in by_run for seed in run[group * size : (group + 1) * size]])
        for group in range(groups)
    ]
