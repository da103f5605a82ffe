"""Evaluates a function's program (its jaxpr) equation by equation, replacing some of them.

This finds the relus and convolutions inside any JAX function, written with any framework, without changing
the function or global state. The walk enters jitted functions; loops and branches (scan, while, cond) run
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Literal

from fls_jax.saliency.question import CannotExplainError

_ENTERED = ("jit", "pjit", "closed_call", "core_call")
_OF_A_BIAS = ("reshape", "broadcast_in_dim", "add")


class Equation(NamedTuple):
    """One equation of a walk.

    number: its position in the walk. primitive: its operation, with its parameters. scope: its name scope
    (`net/conv3`; Flax puts module names there). shape: of its first output. relu: whether it is max(x, 0).
    hidden_relus: whether it is a loop or branch with relus inside.
    """

    number: int
    primitive: str
    scope: str
    shape: tuple[int, ...]
    relu: bool
    hidden_relus: bool
    parameters: Mapping[str, Any]


Visit = Callable[[Equation, list[Any], Callable[..., Any]], Any]
"""(equation, operands, function that computes it) -> output, or None to leave it unchanged.

The function computes the equation as it is, or of other operands if it is given some.
"""


def walk(function: Callable[..., Any], visit: Visit) -> Callable[..., Any]:
    """The same function, evaluated equation by equation; `visit` may replace their outputs."""

    def call(*arguments: Any) -> Any:
        program, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        outputs = _run(program.jaxpr, program.consts, jax.tree.leaves(arguments), visit, "", count())
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return call


def equations(function: Callable[..., Any], *arguments: Any) -> list[Equation]:
    """All equations in the order of a walk, without computing anything."""
    found = []
    jax.eval_shape(walk(function, lambda equation, *_: found.append(equation)), *arguments)
    return found


@jax.custom_vjp
def guided_relu(x: Array) -> Array:
    """max(x, 0) that passes only positive derivatives back (Springenberg et al. 2015)."""
    return jnp.maximum(x, 0)


def _guided_forward(x: Array) -> tuple[Array, Array]:
    return guided_relu(x), x > 0


def _guided_backward(positive: Array, derivative: Array) -> tuple[Array]:
    return (jnp.where(positive & (derivative > 0), derivative, jnp.zeros_like(derivative)),)


guided_relu.defvjp(_guided_forward, _guided_backward)


def guided(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with every relu (`jax.nn.relu(x)` or `jnp.maximum(x, 0)`) replaced by a guided one.

    Raises CannotExplainError, when called, if the function has no relu, or one inside a loop or branch.
    """

    def call(*arguments: Any) -> Any:
        found = 0

        def visit(equation: Equation, operands: list[Any], _: Callable[[], Any]) -> Any:
            nonlocal found
            if equation.hidden_relus:
                raise CannotExplainError(
                    f"The network computes relus inside a {equation.primitive}, where they cannot be guided."
                )
            if not equation.relu:
                return None
            found += 1
            return guided_relu(next(x for x in operands if jnp.ndim(x)))

        output = walk(function, visit)(*arguments)
        if not found:
            raise CannotExplainError("The network has no relu that could be guided.")
        return output

    return call


def layer_output(found: Sequence[Equation], layer: str | None = None) -> Equation:
    """The equation that gives a convolution's features, after bias and relu if it has them.

    layer: a part of its scope, such as a Flax module's name; None for the last convolution. Raises
    CannotExplainError if there is none.
    """
    convolutions = [
        place
        for place, equation in enumerate(found)
        if equation.primitive == "conv_general_dilated"
        and (layer is None or layer in equation.scope.split("/"))
    ]
    if not convolutions:
        raise CannotExplainError(f"The network has no convolution{f' named {layer!r}' if layer else ''}.")
    place = last = convolutions[-1]
    while place + 1 < len(found):
        place += 1
        following = found[place]
        if following.shape == found[last].shape and (following.relu or following.primitive == "add"):
            last = place
        if following.relu or following.primitive not in _OF_A_BIAS:
            break
    return found[last]


def _run(
    jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any], visit: Visit, scope: str, counter: Iterator[int]
) -> list[Any]:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))
    for equation in jaxpr.eqns:
        operands = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
        inside = "/".join(filter(None, (scope, str(equation.source_info.name_stack))))
        if equation.primitive.name in _ENTERED:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            outputs = _run(inner.jaxpr, inner.consts, operands, visit, inside, counter)
        else:
            outputs = _output(equation, operands, visit, inside, next(counter))
        values |= zip(equation.outvars, outputs, strict=True)
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def _output(equation: Any, operands: list[Any], visit: Visit, scope: str, number: int) -> list[Any]:
    relu = _is_relu(equation)
    shape = equation.outvars[0].aval.shape if equation.outvars else ()  # a callback has no output
    hidden = not relu and any(map(_has_relu, _inner(equation))) and "custom" not in equation.primitive.name

    def compute(*others: Any) -> Any:
        bound = equation.primitive.get_bind_params(equation.params)
        functions, parameters = bound if isinstance(bound, tuple) else ((), bound)  # before JAX 0.10, a pair
        outputs = equation.primitive.bind(*functions, *(others or operands), **parameters)
        return outputs[0] if equation.primitive.multiple_results and len(outputs) == 1 else outputs

    seen = Equation(number, equation.primitive.name, scope, shape, relu, hidden, equation.params)
    output = visit(seen, operands, compute)
    output = compute() if output is None else output
    return [output] if len(equation.outvars) == 1 else output


def _is_relu(equation: Any) -> bool:
    """Whether it is max(x, 0), plain or in the form of jax.nn.relu: alone in a custom-derivative function."""
    if equation.primitive.name == "max":
        return any(isinstance(v, Literal) and jnp.ndim(v.val) == 0 and v.val == 0 for v in equation.invars)
    if equation.primitive.name in (*_ENTERED, "custom_jvp_call"):
        bodies = list(_inner(equation))
        return len(bodies) == 1 and len(bodies[0].eqns) == 1 and _is_relu(bodies[0].eqns[0])
    return False


def _has_relu(jaxpr: Any) -> bool:
    return any(_is_relu(e) or any(map(_has_relu, _inner(e))) for e in jaxpr.eqns)


def _inner(equation: Any) -> Iterator[Any]:
    """The programs in an equation's parameters."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple) else (value,):
            if hasattr(each, "jaxpr"):
                yield each.jaxpr
            elif hasattr(each, "eqns"):
                yield each
