"""Joining the processes of one training, on one machine or many, before JAX is used."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import signal
from collections.abc import Generator
from functools import partial

import jax
from jax._src import distributed
from jax._src.lib import _jax
from jax.experimental import multihost_utils

from fls_jax.errors import UserError

_HEARTBEAT_SECONDS = 30
_SHUTDOWN_SECONDS = 20
_WAIT_SECONDS = 120
_LATE_SECONDS = 600
_meetings = itertools.count()


def connect(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Make this process one of several, or do nothing.

    coordinator, processes, process_id: host:port of process 0, the number of processes, the number of this
    one. All None: Slurm's values if `srun` has started several tasks; otherwise this process trains alone.
    Raises UserError if the arguments do not fit together, or if the other processes do not connect.
    """
    given = (coordinator, processes, process_id)
    if given == (None, None, None):
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
            return
    else:
        _check(coordinator, processes, process_id)
    jax.config.update("jax_enable_preemption_service", False)  # we look after signals ourselves
    logging.getLogger("jax._src.distributed").setLevel(logging.CRITICAL)
    # If a process is gone, JAX by default aborts with a C++ stack. Some versions cannot call Python instead
    # and abort as well, in a thread of their own, where only a handler in C runs.
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _aborted)
    try:
        with _told_of_lost_processes():
            jax.distributed.initialize(
                coordinator,
                processes,
                process_id,
                initialization_timeout=_WAIT_SECONDS,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no reason"])[0]
        raise UserError(
            f"The processes have not come together ({reason}): start all of them with the same --coordinator "
            f"and --processes, each with a --process-id of its own, within {_WAIT_SECONDS} seconds."
        ) from error
    multihost_utils.sync_global_devices("fls")  # they are connected now, while none is late


def wait_for_all() -> None:
    """Wait until every process has called this; a single process does not wait.

    Call this before any computation across processes: on CPUs it fails if one of them is half a minute late,
    for example because it still compiles. Raises JaxRuntimeError if a process does not come.
    """
    client = distributed.global_state.client
    if client is not None:
        client.wait_at_barrier(f"fls-{next(_meetings)}", timeout_in_ms=1000 * _LATE_SECONDS)


def end_lost(reason: str) -> None:
    """Print that another process is gone and end this one at once; waiting for anything would hang."""
    text = (
        f"fls: Another process of this training has ended ({reason[:200]}): start all of them again; they "
        "resume from the last complete checkpoint.\n"
    )
    os.write(2, text.encode())
    os._exit(2)


@contextlib.contextmanager
def _told_of_lost_processes() -> Generator[None]:
    """Inside, JAX's client calls `_lost` if another process no longer answers.

    The client accepts such a callback, but `jax.distributed.initialize` has no argument for it. Its factory
    is therefore replaced, and put back afterwards.
    """
    make = _jax.get_distributed_runtime_client
    _jax.get_distributed_runtime_client = partial(make, missed_heartbeat_callback=_lost)
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make


def _lost(*_: object) -> None:
    end_lost("it no longer answers")


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    _lost()


def _check(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    if coordinator is None or processes is None or process_id is None:
        raise UserError("--coordinator, --processes and --process-id go together: give all three or none.")
    host, colon, port = coordinator.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65_536):
        raise UserError(f"--coordinator is {coordinator!r}; it must be host:port of process 0.")
    if not 0 <= process_id < processes:
        raise UserError(
            f"--process-id is {process_id} of --processes {processes}; it must be 0 to {processes - 1}."
        )
