"""A single training run in memory: a fleet of one, or one of a fleet's runs."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from fls_jax.config import TrainConfig
from fls_jax.ppo.environments import MakePool, atari_pool
from fls_jax.ppo.episodes import EpisodeStatistics
from fls_jax.ppo.fleet import Fleet
from fls_jax.ppo.sharding import Placement
from fls_jax.ppo.update import TrainState
from fls_jax.types import Params


class Member:
    """One run of a fleet, with the interface of a trainer, except that it cannot advance alone.

    `restore` stores a checkpoint in `restored` until all runs have theirs (Fleet.restore_all).
    """

    def __init__(self, fleet: Fleet, run: int) -> None:
        self._fleet, self.run = fleet, run
        self.restored: tuple[Params, dict[str, Any]] | None = None

    @property
    def placement(self) -> Placement:
        """The fleet's."""
        return self._fleet.placement

    @property
    def updates(self) -> int:
        """Updates done."""
        return self._fleet.updates

    @property
    def env_step(self) -> int:
        """Agent steps that the run has trained on so far."""
        return self._fleet.env_step

    def advance(self) -> dict[str, Any]:
        """Always raises: a run of a fleet advances only with the others (Fleet.advance_all)."""
        raise TypeError("A run of a fleet cannot advance alone.")

    def checkpoint(self) -> tuple[Any, dict[str, Any]]:
        """(params, learner) of the run."""
        return self._fleet.checkpoint_of(self.run)

    def restore(self, params: Any, learner: dict[str, Any]) -> None:
        """Store the checkpoint from which the run resumes."""
        self.restored = params, learner


class Trainer(Fleet):
    """A training run in memory: a fleet of one. Arguments as Fleet's; the seed is the configuration's."""

    def __init__(
        self, config: TrainConfig, network: nn.Module | None = None, make_pool: MakePool = atari_pool
    ) -> None:
        super().__init__(config, (config.seed,), network, make_pool)

    @property
    def state(self) -> TrainState:
        """The train state."""
        return self.lanes.part(self.states, 0)

    @property
    def statistics(self) -> EpisodeStatistics:
        """Statistics of the run's games."""
        return self.episodes[0]

    def advance(self) -> dict[str, Any]:
        """One rollout and one update. Returns metrics and seconds of the phases as Python numbers."""
        return self.advance_all()[0]

    def checkpoint(self) -> tuple[Any, dict[str, Any]]:
        """(params, learner): copies of everything that a resumed run needs."""
        return self.checkpoint_of(0)

    def restore(self, params: Any, learner: dict[str, Any]) -> None:
        """Resume from the result of `checkpoint`. New games are started, seeded by the update reached."""
        self.restore_all([(params, learner)])
