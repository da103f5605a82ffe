"""Progress of an evaluation in the terminal."""

from __future__ import annotations

import time

from fls_jax.process.display import ProgressDisplay, format_seconds


class EvaluationProgress(ProgressDisplay):
    """Shows finished games, their mean return and the time left.

    Args:
        title: the name of the evaluation.
        total: number of all games.
        done: games that earlier sessions finished; score: the sum of their returns.
    """

    def __init__(self, title: str, total: int, done: int = 0, score: float = 0.0) -> None:
        super().__init__(title, total)
        self._before, self._done, self._score = done, done, score

    def add(self, score: float) -> None:
        """Count a finished game with this return."""
        self._done += 1
        self._score += score
        if self._due(self._done):
            pace = (time.monotonic() - self._began) / (self._done - self._before)
            self._show(
                self._done,
                f"{100 * self._done / self._total:3.0f}%  {self._done:,}/{self._total:,} games  "
                f"mean return {self._score / self._done:.2f}  "
                f"{format_seconds(pace * (self._total - self._done))} left",
            )
