"""A training of several processes. Process 0 writes, all stop together, and none waits for a lost one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import traceback
from collections.abc import Generator
from pathlib import Path

import jax

from fls_jax.config import TrainConfig
from fls_jax.errors import UserError
from fls_jax.ppo.hosts import exchange
from fls_jax.process.cluster import end_lost
from fls_jax.runs.folder import RunFolder, open_run


def check_alike(config: TrainConfig) -> None:
    """Raise UserError in every process if their configurations differ: they could not compute together."""
    settings = [json.loads(told) for told in exchange(json.dumps(config.to_json()).encode())]
    for process, others in enumerate(settings):
        for name, value in settings[0].items():
            if others[name] != value:
                raise UserError(
                    f"Process {process} was started with {name} {others[name]}, process 0 with {value}: "
                    "start all of them with the same options."
                )


def leads() -> bool:
    """Whether this process writes files: process 0, or one that trains alone."""
    return jax.process_index() == 0


@contextlib.contextmanager
def shared_run(path: Path, fresh: bool) -> Generator[RunFolder]:
    """`open_run` by process 0; the others get the same folder, or the same UserError, and print nothing."""
    if jax.process_count() == 1:
        with open_run(path, fresh) as folder:
            yield folder
        return
    with _ending_at_once(), contextlib.ExitStack() as stack:
        folder, problem = RunFolder(Path(os.path.abspath(path))), ""
        if leads():
            try:
                folder = stack.enter_context(open_run(path, fresh))
            except UserError as error:
                problem = str(error)
        else:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        if problem := exchange(problem.encode())[0].decode():
            raise UserError(problem)
        yield folder


@contextlib.contextmanager
def _ending_at_once() -> Generator[None]:
    """An error in the block ends the process at once; waiting for processes that may be gone would hang."""
    try:
        yield
    except UserError as error:
        _end(f"fls: {error}")
    except Exception as error:
        # A collective without its partner fails with the words of its library, as errors of several types.
        if re.search("gloo|nccl|barrier|coordination|UNAVAILABLE|DEADLINE", str(error), re.IGNORECASE):
            end_lost(str(error).strip().splitlines()[0])
        _end(traceback.format_exc())


def _end(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    os._exit(2)
