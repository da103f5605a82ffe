"""Checkpoints of a run: `checkpoints/<env_step>/` with the items `params` and `learner`.

The only file that imports orbax. `params` is an item of its own, so that it can be loaded alone.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Sharding, SingleDeviceSharding

from fls_jax.errors import UserError
from fls_jax.types import Params

_ITEMS = ("params", "learner")
# What Orbax or the file system raises for a checkpoint that was cut short or damaged.
_DAMAGE = (ValueError, KeyError, TypeError, OSError, RuntimeError)


class Restored(NamedTuple):
    """A checkpoint read back: its env_step, its two items, and the steps that could not be read."""

    step: int
    params: Params
    learner: dict[str, Any]
    damaged: dict[int, str]


def checkpoint_steps(directory: Path) -> list[int]:
    """The env_steps of the complete checkpoints in a run's checkpoints folder, ascending."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())


class CheckpointStore:
    """Saves and restores checkpoints of a run; saves are asynchronous until `wait`.

    Args:
        directory: the run's checkpoints folder; made if missing.
        keep: how many of the latest are kept.
        keep_every: env_steps; the checkpoints at its multiples are also kept, forever. 0: none.
    """

    def __init__(self, directory: Path, keep: int = 3, keep_every: int = 0) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, keep_period=keep_every or None, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._directory, item_names=_ITEMS, options=options)

    def save(self, step: int, params: Params, learner: dict[str, Any]) -> None:
        """Start to save a checkpoint; the arrays may be donated as soon as this returns.

        Raises UserError where the disk is full or cannot be written (for the save before, if it was
        still under way).
        """
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(params), learner=ocp.args.StandardSave(learner)
        )
        with _disk_errors(self._directory):
            self._manager.save(step, args=items)

    def wait(self) -> None:
        """Until every save is complete on disk; raises UserError where one failed."""
        with _disk_errors(self._directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Wait, then let go of the folder."""
        self.wait()
        self._manager.close()

    def restore_latest(self, params: Params, learner: dict[str, Any], sharding: Sharding) -> Restored | None:
        """The latest checkpoint that can be read, shaped like the examples given; None if there is none.

        Damaged ones are set aside as `../damaged-checkpoints/<step>`, never deleted, and named in the
        result. UserError where checkpoints exist and all are damaged.
        """
        damaged: dict[int, str] = {}
        for step in reversed(checkpoint_steps(self._directory)):
            try:
                items = _restore(self._manager, step, {"params": params, "learner": learner}, sharding)
            except _DAMAGE as error:
                damaged[step] = str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__
                self._set_aside(step)
                continue
            return Restored(step, items["params"], items["learner"], damaged)
        if damaged:
            raise UserError(
                f"None of the checkpoints in {self._directory} can be read ({', '.join(map(str, damaged))}); "
                "they were set aside in damaged-checkpoints. Start anew with --fresh."
            )
        return None

    def _set_aside(self, step: int) -> None:
        home = self._directory.parent / "damaged-checkpoints"
        home.mkdir(exist_ok=True)
        target = next(home / f"{step}-{n}" for n in range(1, 10_000) if not (home / f"{step}-{n}").exists())
        (self._directory / str(step)).rename(target)
        self._manager.reload()


def load_params(directory: Path, step: int | None = None) -> tuple[int, Params]:
    """(env_step, params as NumPy arrays) of a checkpoint, the latest by default; no learner needed.

    UserError where there is no such checkpoint or it cannot be read.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    steps = checkpoint_steps(directory)
    if not steps:
        raise UserError(f"There is no checkpoint in {directory}: train the run first, or check the path.")
    if step is None:
        step = steps[-1]
    if step not in steps:
        there = ", ".join(map(str, steps))
        raise UserError(f"There is no checkpoint at step {step} in {directory}; there are: {there}.")
    device = SingleDeviceSharding(jax.local_devices()[0])
    with ocp.CheckpointManager(directory.absolute(), item_names=_ITEMS) as manager:
        try:
            tree = manager.item_metadata(step)["params"]
            shapes = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), dict(tree))
            params = _restore(manager, step, {"params": shapes}, device)["params"]
        except _DAMAGE as error:
            raise UserError(f"The checkpoint {directory / str(step)} cannot be read ({error}).") from error
    return step, jax.tree.map(np.asarray, params)


def _restore(
    manager: ocp.CheckpointManager, step: int, examples: dict[str, Any], sharding: Sharding
) -> dict[str, Any]:
    """The named items, placed explicitly: where they were saved may not exist here."""

    def placed(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    args = {
        name: ocp.args.StandardRestore(jax.tree.map(placed, tree)) for name, tree in examples.items()
    }
    restored = manager.restore(step, args=ocp.args.Composite(**args))
    return {name: restored[name] for name in examples}


@contextlib.contextmanager
def _disk_errors(directory: Path):
    try:
        yield
    except Exception as error:
        text = str(error)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text or "ENOSPC" in text
        if full or isinstance(error, OSError) or "PERMISSION_DENIED" in text or "RESOURCE_EXHAUSTED" in text:
            reason = "the disk is full" if full else text.strip().splitlines()[0][:200]
            raise UserError(
                f"The checkpoint in {directory} could not be saved: {reason}. Make room or rights, then run "
                "the same command again: it goes on from the last complete checkpoint."
            ) from error
        raise
