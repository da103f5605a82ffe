"""The rule for judging the pilot's networks on patches, written before the first of their trainings ended.

The claim: on a game, cnn_patch_fls reaches the score of cnn, draws a sharp map, and uses it. This module
states what refutes each part on that game. The result is reported in either case. One seed per game decides
nothing about other seeds.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A part of the claim and the result that refutes it."""

    part: str
    refuted: str


SCORE_MARGIN = 0.10
"""Share of (cnn's mean return - random play's) by which the score may be lower."""
FLAT_AREA = 0.90
"""exp(entropy) / positions above which a map is flat."""
STILL_CORRELATION = 0.995
"""Mean correlation with the map's own time mean above which it is a still picture."""
USE_MARGIN = 0.10
"""Share of (trained - random play) that replacing the map must cost at least."""

RULES = (
    Rule(
        "score of cnn",
        "The 95% interval of the difference of mean returns, cnn_patch_fls less cnn (96 whole games each), "
        f"lies wholly below -{SCORE_MARGIN:.0%} of cnn's mean return above random play.",
    ),
    Rule(
        "sharp",
        f"Over the frames of its own games the map's effective area, exp(entropy) / positions, is above "
        f"{FLAT_AREA:.0%}, or its mean correlation with its own time mean is above {STILL_CORRELATION}.",
    ),
    Rule(
        "used",
        "With the map replaced by its time mean, or by that of another moment, the agent loses less than "
        f"{USE_MARGIN:.0%} of its mean return above random play, or the 95% interval of the loss includes 0.",
    ),
)
