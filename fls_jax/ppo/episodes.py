"""Statistics of a run's finished games."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

SCORE_WINDOW = 100


class EpisodeStatistics:
    """Raw returns and lengths of the last 100 whole games, and the number of all finished games."""

    def __init__(self) -> None:
        self.returns: deque[float] = deque(maxlen=SCORE_WINDOW)
        self.lengths: deque[int] = deque(maxlen=SCORE_WINDOW)
        self.games = 0

    def add(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Add k finished games: float [k], int [k]."""
        self.returns.extend(returns.tolist())
        self.lengths.extend(lengths.tolist())
        self.games += len(returns)

    def row(self) -> dict[str, Any]:
        """eprewmean (Baselines), eprewmedian, eplenmean (agent steps); None before a game has ended."""
        if not self.returns:
            return {"eprewmean": None, "eprewmedian": None, "eplenmean": None, "episodes": self.games}
        return {
            "eprewmean": float(np.mean(self.returns)),
            "eprewmedian": float(np.median(self.returns)),
            "eplenmean": float(np.mean(self.lengths)),
            "episodes": self.games,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint: windows of 100 padded with NaN and 0, and the count."""
        returns, lengths = np.full(SCORE_WINDOW, np.nan), np.zeros(SCORE_WINDOW, np.int64)
        returns[: len(self.returns)] = self.returns
        lengths[: len(self.lengths)] = self.lengths
        return {"returns": returns, "lengths": lengths, "games": np.asarray(self.games, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> EpisodeStatistics:
        """The inverse of to_arrays."""
        statistics = cls()
        window = np.asarray(arrays["returns"])
        present = ~np.isnan(window)
        statistics.add(window[present], np.asarray(arrays["lengths"])[present])
        statistics.games = int(arrays["games"])
        return statistics
