"""Frames faded into others by separable masks, with the first convolution computed once for all masks.

A frame x faded into y by the mask r c' (a column of row weights times a row of column weights) is
x + r c' (y - x). A first convolution K is linear, so K(x + r c' d) = K(x) + K(r c' d), and the second term
needs no image of its own for each mask: K is summed over its rows and channels once for every r, and only
then weighted by every c. The rest of the network sees what it would have seen, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fls_jax.networks.chunking import padded_blocks
from fls_jax.saliency.program import Equation, walk
from fls_jax.saliency.question import Answer, Apply, Question
from fls_jax.saliency.variants import answers, frames_at_once
from fls_jax.types import Params


def faded_answers(question: Question, others: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Answer:
    """The network's output for frames faded into `others` by every pair of a row and a column mask.

    others: float32 [B, H, W, C]. rows: float32 [r, H]; columns: float32 [c, W]; where both are 1 the other
    frame is seen. Returns logits [B, r * c, A] and value [B, r * c], the columns' masks fastest. A network
    that does more with its frames than scale, pad and convolve them gets every faded frame as an image.
    """
    frames = question.observations, others
    try:
        return _in_rows(question, frames, rows, columns)
    except _OtherUseError:
        masks = np.repeat(rows, len(columns), axis=0), np.tile(columns, (len(rows), 1))
        return answers(question, frames, _fade, masks)


def _fade(frames: tuple[Array, Array], masks: tuple[Array, Array]) -> Array:
    sharp = frames[0].astype(jnp.float32)
    return sharp + (masks[0][:, None] * masks[1][None, :])[..., None] * (frames[1] - sharp)


def _in_rows(
    question: Question, frames: tuple[np.ndarray, np.ndarray], rows: np.ndarray, columns: np.ndarray
) -> Answer:
    """The answers, one row's mask with all columns' masks in a batch, for a few frames at once."""
    across, parts = jnp.asarray(columns), []
    for block, size in padded_blocks(frames, frames_at_once()):
        step = partial(_row, question.apply, question.params, jax.device_put(block))
        said = [step(row, across) for row in jnp.asarray(rows)]
        parts.append([np.stack(column, axis=1)[:size] for column in zip(*said, strict=True)])
    logits, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    count = len(rows) * len(columns)
    return Answer(logits.reshape(len(logits), count, -1), value.reshape(len(value), count))


@partial(jax.jit, static_argnums=0)
def _row(apply: Apply, params: Params, frames: tuple[Array, Array], row: Array, columns: Array) -> Answer:
    """Logits [B, c, A] and value [B, c] of B frames, faded by one row's mask and c columns' masks."""
    sharp = frames[0].astype(jnp.float32)
    change = row[None, :, None, None] * (frames[1] - sharp)
    stand_in = jnp.zeros((len(sharp) * len(columns), *sharp.shape[1:]), jnp.float32)
    first = _FirstConvolution(columns)
    first.stands_for(stand_in, _Faded(slice(0, len(stand_in)), 0, sharp, change))
    outputs = walk(apply, first.visit)(params, stand_in)[:2]
    return Answer(*(part.reshape(len(sharp), len(columns), *part.shape[1:]) for part in outputs))


class _OtherUseError(Exception):
    """The function does something else to its frames than scaling, padding and convolving them."""


class _Faded(NamedTuple):
    """What an array stands for that the function makes of the faded frames before its first convolution.

    rows: which part of the batch it is. left: where the frame's first column is in it, after padding.
    sharp: the same of the B frames that are not faded. change: what a column's mask of 1 adds to it.
    """

    rows: slice
    left: int
    sharp: Array
    change: Array


class _FirstConvolution:
    """Visits a function's equations (see program.py) and computes its first convolution of the faded frames.

    columns: the columns' masks, [c, W]. Everything before it is computed of what the arrays stand for.
    """

    def __init__(self, columns: Array) -> None:
        self._columns = columns
        self._known: dict[int, tuple[Array, _Faded]] = {}  # by identity; the array is kept, so that it lasts

    def stands_for(self, array: Array, faded: _Faded) -> None:
        """Remember what an array stands for."""
        self._known[id(array)] = array, faded

    def visit(self, equation: Equation, operands: list[Any], compute: Callable[..., Any]) -> Any:
        """The convolution's output, or the equation's own. Raises _OtherUseError."""
        places = [place for place, operand in enumerate(operands) if id(operand) in self._known]
        if not places:
            return None
        if len(places) > 1:
            raise _OtherUseError
        (place,) = places
        faded = self._known[id(operands[place])][1]
        if equation.primitive == "conv_general_dilated" and place == 0:
            return self._convolved(equation, faded, operands[1], compute)

        def of(array: Array) -> Array:
            return compute(*(array if here == place else operand for here, operand in enumerate(operands)))

        made, output = _made(equation, place, operands, faded, of), compute()
        self.stands_for(output, made)
        return output

    def _convolved(
        self, equation: Equation, faded: _Faded, kernel: Array, compute: Callable[..., Array]
    ) -> Array:
        """Convolution of the sharp frames plus that of the change, for a part of the batch."""
        how = equation.parameters
        (top, bottom), (left, right) = how["padding"]
        if not _is_plain(how) or min(top, bottom, left, right) < 0:
            raise _OtherUseError
        change = jnp.pad(faded.change, ((0, 0), (top, bottom), (left, right), (0, 0)))
        before = faded.left + left
        after = change.shape[2] - before - self._columns.shape[1]
        columns = jnp.pad(self._columns, ((0, 0), (before, after)))
        added = _each_column(change, columns, kernel, how["window_strides"], how["precision"])
        whole = compute(faded.sharp, kernel)[:, None] + added
        return whole.reshape(-1, *whole.shape[2:])[faded.rows]


def _made(
    equation: Equation, place: int, operands: list[Any], faded: _Faded, of: Callable[[Array], Array]
) -> _Faded:
    """What an equation makes of a faded operand. Raises _OtherUseError if it is not linear."""
    name, how = equation.primitive, equation.parameters
    if name == "convert_element_type" and how["new_dtype"] == jnp.float32:
        return faded
    scaled = name == "mul" or (name == "div" and place == 0)
    moved = name == "add" or (name == "sub" and place == 0)
    if (scaled or moved) and jnp.ndim(operands[1 - place]) == 0:
        return faded._replace(sharp=of(faded.sharp), change=of(faded.change) if scaled else faded.change)
    if name == "pad" and place == 0:
        batch, rows, columns, channels = how["padding_config"]
        plain = batch == channels == (0, 0, 0) and min(*rows, *columns) >= 0 and not rows[2] + columns[2]
        if plain:
            change = jnp.pad(faded.change, ((0, 0), rows[:2], columns[:2], (0, 0)))
            return faded._replace(left=faded.left + columns[0], sharp=of(faded.sharp), change=change)
    if name == "slice" and how["strides"] is None:
        (start, *others), (stop, *ends) = how["start_indices"], how["limit_indices"]
        if not any(others) and tuple(ends) == faded.sharp.shape[1:]:
            first = faded.rows.start
            return faded._replace(rows=slice(first + start, first + stop))
    raise _OtherUseError


def _is_plain(how: Any) -> bool:
    """Whether a convolution is one of images [B, H, W, C], neither dilated nor in groups."""
    dimensions = how["dimension_numbers"]
    return (
        dimensions.lhs_spec == dimensions.out_spec == (0, 3, 1, 2)
        and dimensions.rhs_spec == (3, 2, 0, 1)
        and set(how["lhs_dilation"]) == set(how["rhs_dilation"]) == {1}
        and how["feature_group_count"] == how["batch_group_count"] == 1
    )


def _each_column(
    change: Array, columns: Array, kernel: Array, strides: tuple[int, int], precision: Any
) -> Array:
    """The convolution of change [B, H, W, C] times each of c column masks [c, W]: [B, c, h, w, F].

    kernel: [u, v, C, F]. The sum over u and C is the same for all masks.
    """
    (height, width), (down, right) = kernel.shape[:2], strides
    h = np.arange(0, change.shape[1] - height + 1, down)[:, None] + np.arange(height)  # [h, u]
    w = np.arange(0, change.shape[2] - width + 1, right)[:, None] + np.arange(width)  # [w, v]
    windows = change[:, h][:, :, :, w]  # [B, h, u, w, v, C]
    strips = jnp.einsum("bhuwvi,uvif->bhwvf", windows, kernel, precision=precision)
    return jnp.einsum("bhwvf,cwv->bchwf", strips, columns[:, w], precision=precision)
