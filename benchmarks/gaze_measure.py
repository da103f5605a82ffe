"""One measurement of the gaze benchmark, in this process; prints it as one line of JSON.

python -m benchmarks.gaze_measure metrics --samples 400
python -m benchmarks.gaze_measure pass RUN ATARI_HEAD --controls
python -m benchmarks.gaze_measure memory RUN ATARI_HEAD
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import gaze_metrics_reference as reference
from fls_jax.atari_head.archives import read_frames
from fls_jax.atari_head.dataset import open_dataset
from fls_jax.gaze.atlas import Atlas
from fls_jax.gaze.gaze_pass import score_run
from fls_jax.gaze.settings import GazeSettings
from fls_jax.process.interruption import StopFlag

BATCHES = (8, 16, 32)
_PASSES = 3  # that are timed, after one that compiles


def measure_metrics(samples: int, reference_frames: int = 12, repeats: int = 20) -> dict[str, Any]:
    """Milliseconds a frame of NSS, KL and shuffled AUC: the original's formulas, and ours (closed form).

    Also the time from attention to the map, which the original also computes frame by frame.
    samples: gaze samples of an observation.
    """
    rng = np.random.default_rng(0)
    frames = max(*BATCHES, reference_frames)
    attention = reference.synthetic_attention(frames, rng)
    maps, counts = reference.synthetic_trial(frames, rng, samples)
    others = counts.sum(axis=0) - counts
    exact = maps.astype(np.float64)

    def shuffled_auc(i: int) -> float | None:
        drawn = reference.draw_other_frames(counts, i, rng)
        return reference.shuffled_auc(exact[i], counts[i], drawn, rng)

    formulas: dict[str, Callable[[int], object]] = {
        "map": lambda i: reference.saliency_map(attention[i].astype(np.float64)),
        "nss": lambda i: reference.nss(exact[i], counts[i]),
        "kl": lambda i: reference.kl_divergence(exact[i], counts[i], 5),
        "sauc": shuffled_auc,
    }
    theirs = {
        name: reference.milliseconds(
            lambda formula=formula: [formula(i) for i in range(reference_frames)], reference_frames, 3
        )
        for name, formula in formulas.items()
    }
    ours: dict[str, dict[int, float]] = {"metrics": {}, "map_and_metrics": {}}
    for size in BATCHES:
        three = [jnp.asarray(array[:size]) for array in (maps, counts, others)]
        whole = [jnp.asarray(attention[:size]), *three[1:]]
        for name, function, batch in (
            ("metrics", reference.three_at_once, three),
            ("map_and_metrics", reference.map_and_three, whole),
        ):
            function(*batch)  # compiles
            ours[name][size] = reference.milliseconds(
                lambda function=function, batch=batch: function(*batch), size, repeats
            )
    total = theirs["nss"] + theirs["kl"] + theirs["sauc"]
    best = {name: min(by_batch.values()) for name, by_batch in ours.items()}
    return {
        "samples": samples,
        "reference_ms": theirs | {"metrics": total, "map_and_metrics": total + theirs["map"]},
        "ours_ms": best,
        "ours_ms_by_batch": ours,
        "ratio": total / best["metrics"],
        "ratio_with_map": (total + theirs["map"]) / best["map_and_metrics"],
    }


def measure_pass(run: Path, data: Path, settings: GazeSettings) -> dict[str, Any]:
    """Observations a second from the archive to the table: with all compilations, and without."""
    seconds = []
    for _ in range(1 + _PASSES):
        begun = time.perf_counter()
        summary = one_pass(run, data, settings)
        seconds.append(time.perf_counter() - begun)
    observations = summary["observations"]
    return {
        "observations": observations,
        "seconds_with_compilation": seconds[0],
        "seconds": median(seconds[1:]),
        "observations_per_second": observations / median(seconds[1:]),
        "observations_per_second_with_compilation": observations / seconds[0],
    }


def measure_memory(run: Path, data: Path, settings: GazeSettings) -> dict[str, Any]:
    """Peak memory of the process in bytes, and of what may grow with a trial: its encoded pictures."""
    before = peak_bytes()
    summary = one_pass(run, data, settings)
    trial = open_dataset(data).trials[0]
    assert trial.frames is not None
    frames = read_frames(trial.frames, wanted=lambda number: number % 4 in (0, 1))
    return {
        "frames": frames.length,
        "observations": summary["observations"],
        "peak_bytes_before": before,
        "peak_bytes": peak_bytes(),
        "encoded_bytes": sum(map(len, frames.png.values())),
    }


def one_pass(run: Path, data: Path, settings: GazeSettings) -> dict[str, Any]:
    """Everything that `fls gaze` does, silently."""
    with contextlib.redirect_stdout(io.StringIO()):
        return score_run(run, Atlas(open_dataset(data)), settings, StopFlag(), fresh=True)


def peak_bytes() -> int:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["metrics", "pass", "memory"])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--protocol", choices=["aligned", "paper"], default="aligned")
    options = parser.parse_args()
    if options.part == "metrics":
        result = measure_metrics(options.samples)
    else:
        settings = GazeSettings(protocol=options.protocol, controls=options.controls)
        function = measure_pass if options.part == "pass" else measure_memory
        result = function(options.run, options.data, settings)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
