"""One measurement of the gaze benchmark, in this process; prints it as one line of JSON.

python -m benchmarks.gaze_measure metrics
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
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import gaze_metrics_reference as reference
from fls_jax.gaze.archives import read_frames
from fls_jax.gaze.dataset import open_dataset
from fls_jax.gaze.gaze_pass import Atlas, GazeSettings, score_run
from fls_jax.interruption import StopFlag

BATCHES = (8, 16, 32)


def measure_metrics(reference_frames: int = 12) -> dict[str, Any]:
    """Milliseconds a frame of NSS, KL and shuffled AUC (closed form): the original's formulas, and ours."""
    rng = np.random.default_rng(0)
    maps, counts = reference.synthetic_trial(max(*BATCHES, reference_frames), rng)
    others = counts.sum(axis=0) - counts
    exact = maps.astype(np.float64)
    formulas = {
        "nss": lambda i: reference.nss(exact[i], counts[i]),
        "kl": lambda i: reference.kl_divergence(exact[i], counts[i], 5),
        "sauc": lambda i: reference.shuffled_auc(exact[i], counts[i], others[i], rng),
    }
    theirs = {
        name: reference.milliseconds(
            lambda formula=formula: [formula(i) for i in range(reference_frames)], reference_frames, 3
        )
        for name, formula in formulas.items()
    }
    ours = {}
    for size in BATCHES:
        batch = [jnp.asarray(array[:size]) for array in (maps, counts, others)]
        reference.three_at_once(*batch)  # compiles
        ours[size] = reference.milliseconds(lambda batch=batch: reference.three_at_once(*batch), size, 20)
    best = min(ours.values())
    total = sum(theirs.values())
    return {
        "reference_ms": theirs | {"total": total},
        "ours_ms_by_batch": ours,
        "ours_ms": best,
        "ratio": total / best,
    }


def measure_pass(run: Path, data: Path, settings: GazeSettings) -> dict[str, Any]:
    """Observations a second from the archive to the table: with all compilations, and without."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        summary = one_pass(run, data, settings)
        seconds.append(time.perf_counter() - begun)
    observations = summary["observations"]
    return {
        "observations": observations,
        "seconds_with_compilation": seconds[0],
        "seconds": min(seconds[1:]),
        "observations_per_second": observations / min(seconds[1:]),
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
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--protocol", choices=["aligned", "paper"], default="aligned")
    options = parser.parse_args()
    if options.part == "metrics":
        result = measure_metrics()
    else:
        settings = GazeSettings(protocol=options.protocol, controls=options.controls)
        function = measure_pass if options.part == "pass" else measure_memory
        result = function(options.run, options.data, settings)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
