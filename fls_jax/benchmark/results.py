"""The files of a comparison, in RUN/saliency/<set>/: frames, maps, values, scores, summary.

Each method's files are written when it is done. Existing files of the same settings are kept.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fls_jax.errors import UserError
from fls_jax.runs.files import part_of, write_whole
from fls_jax.runs.folder import set_aside
from fls_jax.runs.record import read_packed
from fls_jax.statistics.clusters import cluster_means

COLUMNS = ("agent", "method", "target", "metric", "value", "low", "high", "n")
UNTRAINED = "untrained"
FRAMES = "frames.npz"
REFERENCES = ("random",)
"""Methods to which all others are also compared by differences on the same frames."""


class Measured(NamedTuple):
    """The measurements of one method on one agent.

    values: by target, numbers [B] by metric, one per frame. totals: by target, (value, low, high, n) by
    metric, for numbers that are not defined on single frames.
    curves: mean curves [S + 1] of insertion and deletion, by metric.
    """

    values: dict[str, dict[str, np.ndarray]]
    totals: dict[str, dict[str, tuple[float, float, float, int]]]
    curves: dict[str, np.ndarray]


class Results:
    """One run's folder of results."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))

    @property
    def frames_file(self) -> Path:
        """The file of the frames that all methods share."""
        return self.folder / FRAMES

    def begin(self, fresh: bool) -> Path | None:
        """Prepare the folder. Returns where results of other settings (with `fresh`: any) were moved."""
        former = None
        if fresh or (self.folder.exists() and not self._is_same()):
            former = set_aside(self.folder)
        for name in ("maps", "values"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "summary.json").exists():
            self.write_summary({"complete": False})
        return former

    def is_done(self, agent: str, method: str) -> bool:
        """Whether a method's numbers are written."""
        return self._values_file(agent, method).exists()

    def log_file(self, method: str) -> Path:
        """The traceback of a method that failed."""
        return self.folder / f"{method}.log"

    def write_maps(self, agent: str, method: str, maps: dict[str | int, np.ndarray]) -> None:
        """Write maps [B, H, W] by target, as float16 divided by `scale`, their largest absolute value."""
        arrays: dict[str, Any] = {}
        for target, each in maps.items():
            scale = float(np.abs(each).max()) or 1.0
            arrays[f"{target}"] = (each / scale).astype(np.float16)
            arrays[f"{target}:scale"] = np.float64(scale)
        with (
            part_of(self.folder / "maps" / f"{_file(agent, method)}.npz") as part,
            part.open("wb") as file,
        ):
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def read_maps(self, agent: str, method: str, target: str | int, frames: np.ndarray) -> np.ndarray | None:
        """A method's maps of some frames, float32 [n, H, W]; None if it has none for the target."""
        with np.load(self.folder / "maps" / f"{_file(agent, method)}.npz", allow_pickle=False) as stored:
            if str(target) not in stored.files:
                return None
            return stored[str(target)][frames].astype(np.float32) * np.float32(stored[f"{target}:scale"])

    def write(self, agent: str, method: str, maps: dict[str | int, np.ndarray], measured: Measured) -> None:
        """Write a method's maps, then its numbers, which mark it as done."""
        self.write_maps(agent, method, maps)
        self.log_file(method).unlink(missing_ok=True)
        arrays: dict[str, Any] = {
            f"{t}|{m}": v for t, values in measured.values.items() for m, v in values.items()
        }
        arrays |= {
            f"{t}|{m}|total": np.array(v) for t, totals in measured.totals.items() for m, v in totals.items()
        }
        arrays |= {f"curve|{m}": v for m, v in measured.curves.items()}
        with part_of(self._values_file(agent, method)) as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def read(self, agent: str, method: str) -> Measured:
        """Read what `write` wrote."""
        measured = Measured({}, {}, {})
        with np.load(self._values_file(agent, method), allow_pickle=False) as stored:
            for name in stored.files:
                target, metric, *total = name.split("|")
                if target == "curve":
                    measured.curves[metric] = stored[name]
                elif total:
                    value, low, high, n = stored[name].tolist()
                    measured.totals.setdefault(target, {})[metric] = (value, low, high, int(n))
                else:
                    measured.values.setdefault(target, {})[metric] = stored[name]
        return measured

    def write_tables(self, table: pd.DataFrame) -> None:
        """Write scores.csv and scores.parquet."""
        write_tables(self.folder, table)

    def write_summary(self, content: dict[str, Any]) -> None:
        """Write summary.json: the identity and `content`."""
        text = json.dumps(self.identity | content, indent=2) + "\n"
        write_whole(self.folder / "summary.json", text)

    def _is_same(self) -> bool:
        try:
            content = json.loads((self.folder / "summary.json").read_text())
            return {name: content[name] for name in self.identity} == self.identity
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _values_file(self, agent: str, method: str) -> Path:
        return self.folder / "values" / f"{_file(agent, method)}.npz"


def write_tables(folder: Path, table: pd.DataFrame, name: str = "scores") -> None:
    """Write a long table as `<name>.csv` and `<name>.parquet`."""
    with part_of(folder / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.6g")
    with part_of(folder / f"{name}.parquet") as part:
        table.to_parquet(part, index=False)


_NEEDED = ("game", "network", "training_seed", "env_step", "targets", "count", "frames", "objects")


def read_comparison(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The summary and the long table of a folder of results. Raises UserError if it is damaged."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
        missing = set(_NEEDED) - set(summary)
        table = pd.read_csv(BytesIO(read_packed(folder / "scores.csv")))
        missing |= set(COLUMNS) - set(table)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder} holds no comparison of saliency methods ({error}): set it aside."
        ) from error
    return summary, table


def to_table(measured: dict[tuple[str, str], Measured], episodes: np.ndarray) -> pd.DataFrame:
    """The long table of all (agent, method): one row per target and metric, with 95 % intervals over games.

    Each method also has rows for its differences, frame by frame, to `random` and to itself on the untrained
    network (`greydanus - random`, `greydanus - untrained`), with paired intervals.
    """
    rows: list[tuple[Any, ...]] = []
    for (agent, method), own in measured.items():
        for target, values in own.values.items():
            rows += _rows(agent, method, target, values, episodes)
            rows += [
                (agent, method, target, metric, *total)
                for metric, total in own.totals.get(target, {}).items()
            ]
            for name, other in _references(measured, agent, method, target).items():
                shared = {
                    m: v - other[m] for m, v in values.items() if m in other and not m.startswith("area:")
                }
                rows += _rows(agent, f"{method} - {name}", target, shared, episodes)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _references(
    measured: dict[tuple[str, str], Measured], agent: str, method: str, target: str
) -> dict[str, dict[str, np.ndarray]]:
    """The references with which a method is compared."""
    pairs = {name: (agent, name) for name in REFERENCES if name != method}
    if not agent.endswith(UNTRAINED):
        pairs |= {UNTRAINED: (f"{agent} {UNTRAINED}", method)}
    return {
        name: measured[pair].values[target]
        for name, pair in pairs.items()
        if pair in measured and target in measured[pair].values
    }


def _rows(
    agent: str, method: str, target: str, values: dict[str, np.ndarray], episodes: np.ndarray
) -> list[tuple[Any, ...]]:
    if not values:
        return []
    means = cluster_means(np.stack(list(values.values()), axis=1), episodes)
    return [(agent, method, target, metric, *mean) for metric, mean in zip(values, means, strict=True)]


def _file(agent: str, method: str) -> str:
    return f"{method}-{UNTRAINED}" if agent.endswith(UNTRAINED) else method
