"""Checkpoints of a run: `checkpoints/<env_step>/` with the items `params` and `learner`.

No other module imports orbax. `params` is a separate item, so that it can be loaded alone.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import sys
import time
import traceback
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint import checkpoint_managers as policy

from fls_jax.errors import UserError
from fls_jax.runs.contents import checkpoint_steps
from fls_jax.types import Params

_ITEMS = ("params", "learner")
# Errors of Orbax or the file system for a truncated or damaged checkpoint.
_DAMAGE = (ValueError, KeyError, TypeError, OSError, RuntimeError)
# Reads and writes beside a failed one have ended by then; nothing tells when.
_SECONDS_TO_END = 0.1


class Restored(NamedTuple):
    """A checkpoint that was read: its env_step, its two items, and the steps that could not be read."""

    step: int
    params: Params
    learner: dict[str, Any]
    damaged: dict[int, str]


class CheckpointStore:
    """Saves and restores checkpoints of a run. Saves are asynchronous; `wait` completes them.

    Args:
        directory: the run's checkpoints folder; created if missing.
        keep: how many of the latest are kept.
        keep_every: interval in env_steps; the first checkpoint in each is also kept, forever. 0: none.

    Raises UserError where the folder cannot be written.
    """

    def __init__(self, directory: Path, keep: int = 3, keep_every: int = 0) -> None:
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_quiet_orbax())
        self._directory = directory.absolute()
        policies: list[Any] = [policy.LatestN(keep)]
        if keep_every:
            policies.append(_FirstOfEvery(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
            # Asynchronous creation hangs for minutes if the disk is too full for a folder.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        try:
            with _disk_errors(self._directory):
                self._manager = ocp.CheckpointManager(self._directory, item_names=_ITEMS, options=options)
        except BaseException:
            self._quiet.close()
            raise

    def save(self, step: int, params: Params, learner: dict[str, Any]) -> None:
        """Start to save a checkpoint; the arrays may be donated as soon as this returns.

        Raises UserError if the disk is full or cannot be written. The error may be that of the previous
        save, if it was still running.
        """
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(params), learner=ocp.args.StandardSave(learner)
        )
        with _disk_errors(self._directory):
            self._manager.save(step, args=items)

    def wait(self) -> None:
        """Wait until every save is complete on disk. Raises UserError if one failed."""
        with _disk_errors(self._directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Wait and release the folder, also if a save failed; that raises UserError."""
        with self._quiet:
            try:
                self.wait()
            finally:
                with _disk_errors(self._directory):
                    self._manager.close()

    def restore_latest(self, params: Params, learner: dict[str, Any], sharding: Sharding) -> Restored | None:
        """The latest checkpoint that can be read, with the examples' shapes; None if there is no checkpoint.

        Where an example is a NumPy array, so is the result; elsewhere it is an array on `sharding`. Damaged
        checkpoints after it are moved to `../damaged-checkpoints/<step>-<n>` and named in the result. Raises
        UserError if checkpoints exist and none can be read; then nothing is moved.
        """
        examples = {"params": params, "learner": learner}
        damaged: dict[int, str] = {}
        for step in reversed(checkpoint_steps(self._directory)):
            try:
                items = _restore(self._manager, step, examples)
            except _DAMAGE as error:
                damaged[step] = _first_line(error)
                time.sleep(_SECONDS_TO_END)
                continue
            with _disk_errors(self._directory):
                self._set_aside(damaged)
            placed = jax.tree.map(lambda x, array: _place(x, array, sharding), examples, items)
            return Restored(step, placed["params"], placed["learner"], damaged)
        if damaged:
            raise UserError(
                f"None of the checkpoints in {self._directory} can be read ("
                f"{'; '.join(f'{step}: {reason}' for step, reason in damaged.items())}): restore a copy, or "
                "start anew with --fresh, which sets the folder aside."
            )
        return None

    def _set_aside(self, steps: Collection[int]) -> None:
        home = self._directory.parent / "damaged-checkpoints"
        for step in steps if jax.process_index() == 0 else ():  # of several processes, one moves them
            home.mkdir(exist_ok=True)
            target = next(q for n in range(1, 10_000) if not (q := home / f"{step}-{n}").exists())
            (self._directory / str(step)).rename(target)
        if steps:
            self._manager.reload()


def load_params(directory: Path, step: int | None = None) -> tuple[int, Params]:
    """(env_step, params as NumPy arrays) of a checkpoint, the latest by default; no learner needed.

    The arrays have the stored type: float32, or float16 for shipped agents. If a training replaces the latest
    checkpoint meanwhile, the next one is read. Raises UserError if there is no such checkpoint or it cannot
    be read.
    """
    wanted = _existing(directory, step)
    try:
        return wanted, load_item(directory, wanted, "params")
    except UserError:
        if step is None and checkpoint_steps(directory)[-1:] != [wanted]:
            return load_params(directory)
        raise


def load_item(directory: Path, step: int, item: str) -> Any:
    """An item of a checkpoint, `params` or `learner`, as NumPy arrays of the stored types.

    Raises UserError if it cannot be read.
    """
    path = directory.absolute() / str(step) / item
    try:
        with _quiet_orbax(), ocp.StandardCheckpointer() as reader:
            tree = reader.metadata(path).item_metadata.tree
            return reader.restore(path, jax.tree.map(lambda m: np.empty(m.shape, m.dtype), tree))
    except (*_DAMAGE, AttributeError) as error:  # None for a missing item
        raise UserError(
            f"The checkpoint {directory / str(step)} cannot be read ({_first_line(error)}): choose another "
            "step or restore a copy."
        ) from error


def save_item(directory: Path, step: int, item: str, tree: Any) -> None:
    """Save one item of a checkpoint. Raises UserError if the disk is full or not writable."""
    path = directory.absolute() / str(step) / item
    with _disk_errors(directory), _quiet_orbax():
        with ocp.StandardCheckpointer() as writer:
            writer.save(path, tree)
        # It contains the absolute path, and nothing reads it.
        (path / "commit_success.txt").unlink(missing_ok=True)


def _existing(directory: Path, step: int | None) -> int:
    """The step of an existing checkpoint, the latest for None; UserError if there is no such checkpoint."""
    steps = checkpoint_steps(directory)
    if not steps:
        raise UserError(f"There is no checkpoint in {directory}: train the run first, or check the path.")
    if step is None:
        return steps[-1]
    if step not in steps:
        there = ", ".join(map(str, steps))
        raise UserError(f"There is no checkpoint at step {step} in {directory}; there are: {there}.")
    return step


def _restore(manager: ocp.CheckpointManager, step: int, examples: dict[str, Any]) -> dict[str, Any]:
    """The named items, with the examples' shapes, as NumPy arrays.

    They are not read as JAX arrays: the sharding with which they were saved may not exist here, and a failed
    read of JAX arrays leaves coroutines that print tracebacks.
    """
    args = {
        name: ocp.args.StandardRestore(jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree))
        for name, tree in examples.items()
    }
    restored = manager.restore(step, args=ocp.args.Composite(**args))
    items = {name: restored[name] for name in examples}
    if jax.tree.map(np.shape, items) != jax.tree.map(np.shape, examples):
        raise ValueError("its arrays have the shapes of another network")
    return items


def _place(example: Any, array: np.ndarray, sharding: Sharding) -> Any:
    # float64 and int64 would lose bits as JAX arrays.
    if isinstance(example, np.ndarray):
        return array
    return jax.device_put(array, sharding, may_alias=False)


class _FirstOfEvery(policy.PreservationPolicy):
    """Preserves the first checkpoint at or after every multiple of `interval` steps."""

    def __init__(self, interval: int) -> None:
        self._interval = interval

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: policy.PreservationContext
    ) -> list[bool]:
        intervals = [info.step // self._interval for info in checkpoints]
        return [n > before for n, before in zip(intervals, [0, *intervals], strict=False)]


@contextlib.contextmanager
def _quiet_orbax() -> Generator[None]:
    """Suppress tracebacks of errors that Orbax also raises, during a block.

    They appear in its log, and from reads and writes that run beside a failed one: these fail later, or end
    when their event loop is closed.
    """

    def is_told(record: logging.LogRecord) -> bool:
        return not ("was never retrieved" in record.getMessage() and _is_of_orbax(record))

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook_before(unraisable)

    absl, asyncio = logging.getLogger("absl"), logging.getLogger("asyncio")
    level_before, hook_before = absl.level, sys.unraisablehook
    absl.setLevel(logging.CRITICAL)
    asyncio.addFilter(is_told)
    sys.unraisablehook = hook
    try:
        yield
    except BaseException as error:
        _collect_left_by(error)
        raise
    finally:
        absl.setLevel(level_before)
        asyncio.removeFilter(is_told)
        if sys.unraisablehook is hook:
            sys.unraisablehook = hook_before


def _collect_left_by(error: BaseException) -> None:
    """Wait for, and collect, what a failed read or write left, while its messages are suppressed."""
    time.sleep(_SECONDS_TO_END)
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)  # which would keep it until the error is handled
        each = each.__cause__ or each.__context__
    gc.collect()


def _is_of_orbax(record: logging.LogRecord) -> bool:
    """Whether a message of asyncio is about a task or an error of Orbax or of the storage below it."""
    text = record.getMessage()
    if record.exc_info:
        text += logging.Formatter().formatException(record.exc_info)
    return any(word in text.lower() for word in ("orbax", "ocdbt", "tensorstore"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Generator[None]:
    try:
        yield
    except Exception as error:
        _collect_left_by(error)
        text = str(error)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text or "ENOSPC" in text
        if full or isinstance(error, OSError) or "PERMISSION_DENIED" in text or "RESOURCE_EXHAUSTED" in text:
            reason = "the disk is full" if full else _first_line(error)
            raise UserError(
                f"The checkpoint in {directory} could not be saved: {reason}. Free space or fix permissions, "
                "then run the same command again: it resumes from the last complete checkpoint."
            ) from error
        raise
