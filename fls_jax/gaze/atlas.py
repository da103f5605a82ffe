"""A data set together with the gaze of its games."""

from __future__ import annotations

from fls_jax.atari_head.dataset import Dataset
from fls_jax.gaze.game_gaze import GameGaze
from fls_jax.gaze.observations import Space
from fls_jax.process.display import ProgressDisplay


class Atlas:
    """A data set and the gaze of its games. Each game is read once for all runs."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._gaze: dict[tuple[str, Space], GameGaze] = {}

    def gaze(self, game: str, space: Space) -> GameGaze:
        """The gaze of all trials of a game."""
        if (game, space) not in self._gaze:
            trials = self.dataset.select(game)
            with ProgressDisplay(f"Gaze of {game}", len(trials), "reading ...") as progress:
                gaze = GameGaze(trials, space, lambda done: progress.count(done, "trials"))
                for problem in gaze.problems:
                    progress.message(f"Note: {problem}")
            self._gaze[game, space] = gaze
        return self._gaze[game, space]
