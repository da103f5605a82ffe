"""All saliency methods by name, and one call for all of them.

maps = compute(apply, params, observations, "greydanus", target="value")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from fls_jax.saliency import attention, averages, controls, gradients, perturbation, rise
from fls_jax.saliency.question import Apply, CannotExplainError, Question, Target
from fls_jax.types import Params


@dataclass(frozen=True)
class Method:
    """A saliency method.

    maps: (question, **parameters) -> float [T, B, H, W], a map for each of the question's T targets and B
        frames. Its keyword arguments are the method's parameters.
    family: `attention`, `gradient`, `perturbation`, or `control` (independent of the network's parameters).
    only_actions: the method explains actions, but not `policy` and `value`.
    """

    maps: Callable[..., np.ndarray]
    family: Literal["attention", "gradient", "perturbation", "control"]
    only_actions: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The method's parameters with their defaults."""
        _, *others = inspect.signature(self.maps).parameters.values()
        return {each.name: each.default for each in others}


METHODS: dict[str, Method] = {
    "attention": Method(attention.attention, "attention"),
    "attention_relative": Method(attention.attention_relative, "attention"),
    "gradient": Method(gradients.gradient, "gradient"),
    "gradient_x_input": Method(gradients.gradient_x_input, "gradient"),
    "smoothgrad": Method(averages.smoothgrad, "gradient"),
    "vargrad": Method(averages.vargrad, "gradient"),
    "integrated_gradients": Method(averages.integrated_gradients, "gradient"),
    "guided_backprop": Method(gradients.guided_backprop, "gradient"),
    "grad_cam": Method(gradients.grad_cam, "gradient"),
    "greydanus": Method(perturbation.greydanus, "perturbation"),
    "occlusion": Method(perturbation.occlusion, "perturbation"),
    "rise": Method(rise.rise, "perturbation"),
    "sarfa": Method(perturbation.sarfa, "perturbation", only_actions=True),
    "random": Method(controls.random, "control"),
    "centre": Method(controls.centre, "control"),
    "uniform": Method(controls.uniform, "control"),
    "frame_difference": Method(controls.frame_difference, "control"),
}
"""All methods by name. To add your own, add an entry (docs/saliency.md)."""


def compute(
    apply: Apply,
    params: Params,
    observations: np.ndarray | jax.Array,
    method: str,
    target: Target = "action",
    key: jax.Array | None = None,
    **parameters: Any,
) -> np.ndarray:
    """Saliency maps of a network, float32 [B, H, W], not normalised.

    Args:
        apply: (params, frames [N, H, W, C]) -> (logits [N, A], value [N]) or, with attention, (logits, value,
            attention [N, h, w]). Frames are uint8 or, for all methods but attention and controls, float32 on
            the same scale of 0 to 255. It is compiled once per function object: pass the same object again.
        params: its parameters.
        observations: uint8 [B, H, W, C], the oldest frame first.
        method: a name in METHODS.
        target: `action` (each frame's most probable one), an action's number, `policy` (all logits), `value`.
        key: for methods that draw random numbers; jax.random.key(0) by default.
        parameters: of the method, such as `steps=50`.

    Raises:
        TypeError: observations of another dtype.
        ValueError: another shape, an unknown method, target or parameter.
        CannotExplainError: a ValueError; the method does not fit the network, or its result is not finite.
    """
    return compute_targets(apply, params, observations, method, (target,), key, **parameters)[target]


def compute_targets(
    apply: Apply,
    params: Params,
    observations: np.ndarray | jax.Array,
    method: str,
    targets: Sequence[Target],
    key: jax.Array | None = None,
    **parameters: Any,
) -> dict[Target, np.ndarray]:
    """As `compute`, for several targets in the same passes through the network: maps by target."""
    chosen = find_method(method, parameters)
    observations = _checked(observations)
    if not len(observations):
        return {target: np.zeros(observations.shape[:3], np.float32) for target in targets}
    key = jax.random.key(0) if key is None else key
    question = Question(apply, params, observations, tuple(targets), key)
    if chosen.family not in ("attention", "control"):
        question.actions  # noqa: B018 (raises for an unknown target, before anything slow)
    maps = np.asarray(chosen.maps(question, **parameters), np.float32)
    if maps.shape != (expected := (len(targets), *observations.shape[:3])):
        raise CannotExplainError(
            f"The method {method} must give maps {list(expected)}; it gave {list(maps.shape)}."
        )
    unsound = np.flatnonzero(~np.isfinite(maps).all(axis=(0, 2, 3)))
    if len(unsound):
        raise CannotExplainError(
            f"The method {method} gave values that are not finite for {len(unsound)} of "
            f"{len(observations)} frames, first for frame {unsound[0]}."
        )
    return dict(zip(targets, maps, strict=True))


def find_method(name: str, parameters: dict[str, Any] | None = None) -> Method:
    """The method of this name. Raises ValueError if there is none, or it lacks one of the parameters."""
    if name not in METHODS:
        raise ValueError(f"There is no saliency method {name!r}; choose one of: {', '.join(METHODS)}.")
    known = METHODS[name].parameters
    for parameter in parameters or {}:
        if parameter not in known:
            has = f"it has: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"The method {name} has no parameter {parameter!r}; {has}.")
    return METHODS[name]


def mass_of(maps: np.ndarray, family: str) -> np.ndarray:
    """Turn signed maps into mass: absolute values of derivatives, positive parts of all others."""
    return np.abs(maps) if family == "gradient" else np.maximum(maps, 0)


def _checked(observations: Any) -> np.ndarray:
    observations, expected = np.asarray(observations), "Observations must be uint8 [B, H, W, C]"
    if observations.dtype != np.uint8:
        raise TypeError(f"{expected}; these are {observations.dtype}.")
    if observations.ndim != 4:
        raise ValueError(f"{expected}; these have shape {list(observations.shape)}.")
    return observations
