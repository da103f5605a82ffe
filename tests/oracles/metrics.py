"""The gaze metrics of one frame in float64, from libraries that define the same thing.

OpenCV blurs, SciPy gives relative entropies, scikit-learn weighted areas under the ROC curve, pysaliency the
area of one positive, CC and SIM. NSS and the published KL rule are in `benchmarks.gaze_metrics_reference`.
All take [H, W] arrays and are for frames where the metric is defined.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import cv2
import numpy as np
import scipy.stats
from sklearn.metrics import roc_auc_score


def pysaliency_module(name: str) -> ModuleType:
    """A module of pysaliency by itself: its package needs pkg_resources, which setuptools no longer has."""
    package = importlib.util.find_spec("pysaliency")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = f"{package.submodule_search_locations[0]}/{name}.py"
    spec = importlib.util.spec_from_file_location(f"pysaliency_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_metrics = pysaliency_module("metrics")
# Without numba, which would compile for a second.
_auc_for_one_positive = pysaliency_module("numba_utils")._auc_for_one_positive.py_func


def blur(fixations: np.ndarray, sigma: float) -> np.ndarray:
    """OpenCV's blur with its own kernel size and border."""
    return cv2.GaussianBlur(np.asarray(fixations, np.float64), (0, 0), sigma)


def smoothed_density(saliency: np.ndarray) -> np.ndarray:
    """0.99 of the map's density, 0.01 of the uniform one."""
    saliency = np.asarray(saliency, np.float64)
    density = saliency / saliency.sum() if saliency.any() else np.full(saliency.shape, 1 / saliency.size)
    return 0.99 * density + 0.01 / saliency.size


def smoothed_kl(saliency: np.ndarray, fixations: np.ndarray, sigma: float) -> float:
    """SciPy's relative entropy of the blurred fixations and the smoothed map."""
    return float(scipy.stats.entropy(blur(fixations, sigma).ravel(), smoothed_density(saliency).ravel()))


def cc(saliency: np.ndarray, fixations: np.ndarray, sigma: float) -> float:
    """pysaliency's CC with the blurred fixations."""
    return float(_metrics.CC(np.asarray(saliency, np.float64), blur(fixations, sigma)))


def sim(saliency: np.ndarray, fixations: np.ndarray, sigma: float) -> float:
    """pysaliency's SIM with the blurred fixations."""
    return float(_metrics.SIM(np.asarray(saliency, np.float64), blur(fixations, sigma)))


def nss(saliency: np.ndarray, fixations: np.ndarray) -> float:
    """pysaliency's NSS, a fixation at a time."""
    rows, columns = np.nonzero(fixations)
    values = _metrics.NSS(np.asarray(saliency, np.float64), columns, rows)
    return float(np.average(values, weights=fixations[rows, columns]))


def information_gain(saliency: np.ndarray, fixations: np.ndarray, baseline: np.ndarray) -> float:
    """Mean log2 ratio of the smoothed map and the baseline's density at the fixations."""
    gain = np.log2(smoothed_density(saliency) / (baseline / baseline.sum(dtype=np.float64)))
    return float(np.average(gain, weights=fixations))


def shuffled_auc(saliency: np.ndarray, fixations: np.ndarray, others: np.ndarray) -> float:
    """scikit-learn's area with counts as sample weights."""
    values = saliency.ravel()
    labels = np.repeat([1, 0], saliency.size)
    weights = np.concatenate([fixations.ravel(), others.ravel()]).astype(np.float64)
    return float(roc_auc_score(labels, np.concatenate([values, values]), sample_weight=weights))


def auc_judd(saliency: np.ndarray, fixations: np.ndarray) -> float:
    """pysaliency's area of each fixation against the pixels that were not fixated."""
    negatives = saliency[fixations == 0]
    rows, columns = np.nonzero(fixations)
    areas = [_auc_for_one_positive(value, negatives) for value in saliency[rows, columns]]
    return float(np.average(areas, weights=fixations[rows, columns]))
