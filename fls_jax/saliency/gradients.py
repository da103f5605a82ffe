"""Saliency from one derivative of the network's output (see derivatives.py), and from its features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.networks.geometry import Geometry
from fls_jax.saliency import program
from fls_jax.saliency.derivatives import derivatives, explained, magnitude, network, outputs
from fls_jax.saliency.projection import between, enlarge
from fls_jax.saliency.question import Apply, Question
from fls_jax.types import Params


def gradient(question: Question) -> np.ndarray:
    """Absolute derivative, largest over the four frames (Simonyan et al. 2014): [T, B, H, W]."""
    return explained(question, lambda frames, weights, _: _gradient(*network(question), frames, weights))


def gradient_x_input(question: Question) -> np.ndarray:
    """Derivative times input, summed over the frames (Shrikumar et al. 2016): [T, B, H, W], signed."""
    return explained(
        question, lambda frames, weights, _: _gradient_x_input(*network(question), frames, weights)
    )


def guided_backprop(question: Question) -> np.ndarray:
    """As `gradient`, but relus pass only positive derivatives back (Springenberg et al. 2015): [T, B, H, W].

    Raises CannotExplainError if the network has no relu, or one inside a loop.
    """
    return explained(question, lambda frames, weights, _: _guided(*network(question), frames, weights))


def grad_cam(question: Question, layer: str | None = None, geometry: Geometry | None = None) -> np.ndarray:
    """A convolution's features, weighted by their mean derivatives (Selvaraju et al. 2017): [T, B, H, W].

    layer: a part of the convolution's scope, such as its module's name in Flax; the last one by default.
    geometry: the position of its features on the input. Each feature is then placed at the centre of its
    receptive field, with linear interpolation between. Without geometry, the features are stretched over the
    input, as in the paper. Raises CannotExplainError if there is no such convolution.
    """

    def of_block(frames: np.ndarray, weights: np.ndarray, _: Array) -> Array:
        return _grad_cam(*network(question), frames, weights, layer, geometry)

    return explained(question, of_block)


@partial(jax.jit, static_argnums=0)
def _gradient(apply: Apply, params: Params, frames: Array, weights: Array) -> Array:
    return magnitude(derivatives(apply, params, frames.astype(jnp.float32), weights))


@partial(jax.jit, static_argnums=0)
def _guided(apply: Apply, params: Params, frames: Array, weights: Array) -> Array:
    return magnitude(derivatives(program.guided(apply), params, frames.astype(jnp.float32), weights))


@partial(jax.jit, static_argnums=0)
def _gradient_x_input(apply: Apply, params: Params, frames: Array, weights: Array) -> Array:
    frames = frames.astype(jnp.float32)
    return (derivatives(apply, params, frames, weights) * frames[:, None]).sum(axis=-1)


@partial(jax.jit, static_argnums=(0, 4, 5))
def _grad_cam(
    apply: Apply, params: Params, frames: Array, weights: Array, layer: str | None, geometry: Geometry | None
) -> Array:
    def of_frame(frame: Array, rows: Array) -> Array:
        features, derivatives = _at_layer(lambda x: outputs(apply(params, x))[0], frame[None], rows, layer)
        importance = derivatives.mean(axis=(2, 3), keepdims=True)  # [K, 1, 1, 1, C]
        return jax.nn.relu((importance * features[None]).sum(axis=-1))[:, 0]

    # vmap over single frames: a layer is then one equation, however the network slices its batch.
    maps = jax.vmap(of_frame)(frames.astype(jnp.float32), weights)
    return _over_input(maps, (frames.shape[1], frames.shape[2]), geometry)


def _at_layer(
    function: Callable[[Array], Array], frame: Array, rows: Array, layer: str | None
) -> tuple[Array, Array]:
    """A layer's features [1, h, w, C], and the derivatives of each output with respect to them."""
    place = program.layer_output(program.equations(function, frame), layer)
    features = []

    def moved(shift: Array) -> tuple[Array, Array]:
        def visit(equation: program.Equation, _: list[Any], as_it_is: Callable[[], Any]) -> Any:
            if equation.number != place.number:
                return None
            features.append(as_it_is())
            return features[-1] + shift

        said = program.walk(function, visit)(frame)
        return said, features[-1]

    _, pull, seen = jax.vjp(moved, jnp.zeros(place.shape, jnp.float32), has_aux=True)
    return seen, jax.vmap(lambda row: pull(row)[0])(rows)


def _over_input(maps: Array, shape: tuple[int, int], geometry: Geometry | None) -> Array:
    """Enlarge maps [b, K, h, w] of a layer to the input: [b, K, *shape]."""
    if geometry is None:
        return enlarge(maps.reshape(-1, *maps.shape[2:]), shape).reshape(*maps.shape[:2], *shape)
    field, stride, padding = geometry
    rows, columns = (
        jnp.asarray(between(np.arange(n) * stride - padding + (field - 1) / 2, size))
        for n, size in zip(maps.shape[2:], shape, strict=True)
    )
    return jnp.einsum("yi,bkij,xj->bkyx", rows, maps, columns, precision="highest")
