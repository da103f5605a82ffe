"""The settings of an evaluation. This module imports no heavy library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fls_jax.config import MOST_ENVS
from fls_jax.errors import UserError

# The authors' limit for Breakout, where agents can loop; elsewhere the emulator's own 400,000 frames.
_PAPER_BREAKOUT, _PAPER_OTHERS, _ALIGNED = 30_000, 100_000, 27_000
_MOST_ROUNDS = 128


@dataclass(frozen=True)
class EvaluationSettings:
    """An evaluation: number of games and protocol."""

    num_envs: int = 16
    """Environments played in parallel."""
    games_per_env: int = 512
    """How many games of each environment count: always its first ones."""
    protocol: Literal["aligned", "paper"] = "aligned"
    """Longest game: aligned, 27,000 agent steps (108,000 frames); paper, 30,000 agent steps in Breakout and
    100,000 (400,000 frames) elsewhere."""
    seed: int = 1000
    """Seed of games and actions; training must not have used it."""
    greedy: bool = False
    """Take the most probable action instead of sampling from the policy."""
    infinite_breakout: bool = False
    """Play BreakoutInfinite: the wall is always rebuilt (the paper's variant of Breakout)."""

    @property
    def mode(self) -> str:
        """`standard`, `greedy`, `infinite` or `infinite-greedy`: part of the result's file name."""
        return "-".join(["infinite"] * self.infinite_breakout + ["greedy"] * self.greedy) or "standard"

    @property
    def total_games(self) -> int:
        """Number of games that count."""
        return self.num_envs * self.games_per_env

    @property
    def games_per_round(self) -> int:
        """Games of each environment in a round; there are at most 128 rounds."""
        return -(-self.games_per_env // _MOST_ROUNDS)

    @property
    def rounds(self) -> int:
        """Rounds that games_per_env divides into; the last may be shorter."""
        return -(-self.games_per_env // self.games_per_round)

    def games_in_round(self, number: int) -> int:
        """Games of each environment in a round, counted from 0."""
        return min(self.games_per_round, self.games_per_env - number * self.games_per_round)

    def round_seed(self, number: int) -> int:
        """Seed of the first environment of a round; no two environments of an evaluation share a seed."""
        return self.seed + number * self.num_envs

    def max_steps(self, game: str) -> int:
        """Agent steps after which a game is cut."""
        if self.protocol == "aligned":
            return _ALIGNED
        return _PAPER_BREAKOUT if game == "Breakout" else _PAPER_OTHERS

    def validated(self, game: str) -> EvaluationSettings:
        """Return these settings; raise UserError, naming the value, if one is impossible."""
        for name in ("num_envs", "games_per_env"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} is {getattr(self, name)}; it must be at least 1.")
        if self.num_envs > MOST_ENVS:
            raise UserError(f"--num-envs is {self.num_envs}; it must be at most {MOST_ENVS:,}.")
        if self.protocol not in ("aligned", "paper"):
            raise UserError(f"--protocol is {self.protocol!r}; it must be aligned or paper.")
        if not 0 <= self.seed <= 2**31 - 1 - self.num_envs * self.rounds:
            raise UserError(f"--seed is {self.seed}; it must be at least 0 and well below 2^31.")
        if self.infinite_breakout and game != "Breakout":
            raise UserError(f"--infinite-breakout is for agents of Breakout; this one plays {game}.")
        return self

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self)
