"""The gaze pass again, frame by frame in float64, from the PNGs and the text of a trial on disk.

Networks, painting and metrics are those of tests/oracles; OpenCV decodes, greys and blurs, scikit-image
resizes, gaze is counted in plain loops. Nothing of the package is used.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from skimage.transform import resize

from benchmarks import gaze_metrics_reference as reference
from tests.oracles import metrics, networks

SHAPES = {"screen": (210, 160), "input": (84, 84)}
SIGMA = {"screen": 5.0, "input": 2.0}
OFFSETS = (0, 1, 4, 5, 8, 9, 12, 13)
SPARSE_GEOMETRY = (36, 8, 0)


class OracleTrial:
    """One trial: a folder of `<run id>_<number>.png` and its text file."""

    def __init__(self, pictures: Path, text: Path, protocol: str, space: str) -> None:
        self.protocol, self.space = protocol, space
        files = {int(path.stem.rpartition("_")[2]): path for path in pictures.glob("*.png")}
        self.n = max(files)
        self.colour = [np.asarray(cv2.imread(str(files[number]))) for number in range(1, self.n + 1)]
        self.gaze = read_gaze(text)
        self.frames = [i for i in range(0, self.n, 4) if i != self.n - 1]

    def plane(self, i: int) -> np.ndarray:
        """What observation i shows, uint8 [84, 84]."""
        pair = [self.colour[j] for j in (i - 1, i) if j >= 0]
        if self.protocol == "paper":
            grey = cv2.cvtColor(np.maximum(pair[0], pair[-1]), cv2.COLOR_BGR2GRAY)
        else:
            grey = np.maximum.reduce([cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pair])
        return cv2.resize(grey, (84, 84), interpolation=cv2.INTER_AREA)

    def stack(self, i: int) -> np.ndarray:
        """Observation i, uint8 [84, 84, 4]."""
        planes = [
            self.plane(j) if j >= 0 else np.zeros((84, 84), np.uint8) for j in (i - 12, i - 8, i - 4, i)
        ]
        return np.stack(planes, axis=-1)

    def stacks(self) -> np.ndarray:
        """All observations, uint8 [n, 84, 84, 4]."""
        return np.stack([self.stack(i) for i in self.frames])

    def fixations(self, i: int) -> np.ndarray:
        """Counts of the samples of the eight frames that observation i shows."""
        counts = np.zeros(SHAPES[self.space], int)
        for j in (i - offset for offset in OFFSETS):
            if j >= 0:
                count(counts, self.gaze.get(j + 1 if self.protocol == "aligned" else j, []), self.space)
        return counts

    def others(self, i: int) -> np.ndarray:
        """The counts of all other observations."""
        return np.sum([self.fixations(j) for j in self.frames if j != i], axis=0)

    def place(self, maps: np.ndarray) -> np.ndarray:
        """Maps [n, 84, 84] in the trial's space."""
        if self.space == "input":
            return maps
        # Rounded, since interpolation otherwise breaks the ties within a plateau at its last digit.
        return np.stack([resize(map_.astype(np.float64), (210, 160)) for map_ in maps]).round(9)

    def network_maps(self, attention: np.ndarray, geometry: tuple[int, int, int]) -> np.ndarray:
        """Attention [n, h, w] painted, placed, and divided by its one maximum."""
        maps = self.place(networks.paint(np.asarray(attention, np.float64), *geometry))
        return maps / maps.max()

    def score(self, saliency: np.ndarray, i: int, others: np.ndarray | None = None) -> dict[str, float]:
        """All metrics of one map of observation i; NaN where undefined, for maps that are not constant."""
        fixations = self.fixations(i)
        names = ("nss", "kl", "kl_smoothed", "sauc", "cc", "sim", "auc_judd", "information_gain")
        if not fixations.any():
            return dict.fromkeys(names, np.nan)
        sigma = SIGMA[self.space]
        prior = metrics.smoothed_density(centre(self.space))
        kl = reference.kl_divergence(saliency, fixations, sigma)
        others = self.others(i) if others is None else others
        return {
            "nss": metrics.nss(saliency, fixations),
            "kl": np.nan if kl is None else kl,
            "kl_smoothed": metrics.smoothed_kl(saliency, fixations, sigma),
            "sauc": metrics.shuffled_auc(saliency, fixations, others),
            "cc": metrics.cc(saliency, fixations, sigma),
            "sim": metrics.sim(saliency, fixations, sigma),
            "auc_judd": metrics.auc_judd(saliency, fixations),
            "information_gain": metrics.information_gain(saliency, fixations, prior),
        }


def read_gaze(text: Path) -> dict[int, list[tuple[float, float]]]:
    """Samples by one-based frame number."""
    gaze = {}
    with text.open(newline="") as file:
        for row in list(csv.reader(file))[1:]:
            numbers = [float(value) for value in row[6:] if value not in ("", "null")]
            gaze[int(row[0].rpartition("_")[2])] = list(zip(numbers[::2], numbers[1::2], strict=True))
    return gaze


def count(counts: np.ndarray, samples: list[tuple[float, float]], space: str) -> None:
    """Add samples to counts [H, W], in place; those off the map are dropped."""
    for x, y in samples:
        if space == "input":
            x, y = x / 160 * 84, y / 210 * 84
        row, column = round(y), round(x)
        if 0 <= row < counts.shape[0] and 0 <= column < counts.shape[1]:
            counts[row, column] += 1


def density_of(texts: list[Path], space: str) -> np.ndarray:
    """All samples of some trials, each once, blurred."""
    counts = np.zeros(SHAPES[space], int)
    for text in texts:
        for samples in read_gaze(text).values():
            count(counts, samples, space)
    return metrics.blur(counts, SIGMA[space])


def centre(space: str) -> np.ndarray:
    """A Gaussian about the centre with std H/4 and W/4."""
    height, width = SHAPES[space]
    y, x = np.mgrid[:height, :width]
    squares = ((y - (height - 1) / 2) / (height / 4)) ** 2 + ((x - (width - 1) / 2) / (width / 4)) ** 2
    return np.exp(-squares / 2)


def uniform(
    trial: OracleTrial, geometry: tuple[int, int, int] = SPARSE_GEOMETRY, size: int = 7
) -> np.ndarray:
    """Attention of one everywhere, painted and placed."""
    return trial.place(networks.paint(np.ones((1, size, size)), *geometry))[0]
