"""Compilation by size: on a CPU, a program too small for several threads is compiled for one.

XLA runs parts of a program on other threads; waking them and waiting for them costs some 0.1 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")

SMALL_FLOPS = 2e7  # a fraction of a millisecond of one core


def is_small(program: jax.stages.Lowered) -> bool:
    """Whether a lowered program does so little arithmetic that a single CPU thread is fastest."""
    return (program.cost_analysis() or {}).get("flops", float("inf")) < SMALL_FLOPS


def jit_by_size(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """jax.jit(function, **options). The first call decides for all: a small program gets one CPU thread.

    Both forms do the same arithmetic, but may sum in another order.
    """
    chosen: Callable[P, R] | None = None

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal chosen
        if chosen is None:
            chosen = compiled = jax.jit(function, **options)
            if jax.default_backend() == "cpu" and is_small(compiled.lower(*args, **kwargs)):
                one_thread = {"xla_cpu_multi_thread_eigen": False}
                chosen = jax.jit(function, **options, compiler_options=one_thread)
        return chosen(*args, **kwargs)

    return call
