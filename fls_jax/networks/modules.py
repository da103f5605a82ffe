"""The networks as Flax (linen) modules: attention gate, extractor, actor-critic; each usable alone.

Shapes: B batch, H x W x C features, h x w attention, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from fls_jax.networks.chunking import in_chunks
from fls_jax.networks.geometry import attention_shape, conv_geometry, paint
from fls_jax.networks.specs import AttentionSpec, NetworkSpec
from fls_jax.types import NetworkOutput

FEATURES = 512
_ORTHOGONAL = nn.initializers.orthogonal(np.sqrt(2.0))
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "tanh": jnp.tanh, "elu": nn.elu}


def attention_scores(scores: Float[Array, "B H W maps"], spec: AttentionSpec) -> Float[Array, "B H W"]:
    """Raw scores [B, H, W, maps] -> one non-negative attention map, float32 [B, H, W]."""
    scores = scores.astype(jnp.float32)
    if spec.score == "softmax":
        maps = jax.nn.softmax(scores, axis=(1, 2))
    elif spec.score == "softplus2":
        maps = jnp.logaddexp2(scores, 0.0)
    elif spec.score == "sigmoid":
        maps = jax.nn.sigmoid(scores)
    else:
        maps = jax.nn.softplus(scores)
    attention = maps.sum(axis=-1)
    if spec.normalise:
        attention = attention / attention.sum(axis=(1, 2), keepdims=True)
    return attention


def _matrix_product(
    features: Array, kernel: Array, strides: Any, padding: Any, *, precision: Any = None, **geometry: Any
) -> Array:
    """A convolution of 1x1 with stride 1: features [B, H, W, C], kernel [1, 1, C, F] -> [B, H, W, F].

    Takes the place of `jax.lax.conv_general_dilated`: on a CPU, XLA differentiates cnn_patch_fls in 7% less
    time with it.
    """
    return jax.lax.dot_general(features, kernel[0, 0], (((3,), (0,)), ((), ())), precision=precision)


class AttentionGate(nn.Module):
    """The attention module of the paper (section 3): features are multiplied by a map learnt from them.

    Call: features float [B, H, W, C] -> (gated features [B, H, W, C], attention float32 [B, H, W]).
    It can follow any convolution of any network. Its map is non-negative.
    """

    spec: AttentionSpec = AttentionSpec()
    dtype: Any = jnp.float32
    precision: str | None = None

    def __call__(self, features: Array) -> tuple[Array, Array]:
        attention = self.attend(features)
        return features * attention[..., None].astype(features.dtype), attention

    @nn.compact
    def attend(self, features: Array) -> Array:
        """The map alone, float32 [B, H, W]; networks/replacement.py intercepts this method."""
        spec = self.spec
        window = (spec.kernel, spec.kernel)
        conv = partial(
            nn.Conv,
            kernel_init=_ORTHOGONAL,
            padding="SAME",
            dtype=self.dtype,
            precision=self.precision,
            conv_general_dilated=_matrix_product if spec.kernel == 1 else None,
        )
        hidden = _ACTIVATIONS[spec.activation](conv(spec.hidden, window, name="hidden")(features))
        return attention_scores(conv(spec.maps, window, name="score")(hidden), spec)


class Extractor(nn.Module):
    """A network up to its 512 features: input -> torso with attention gates -> readout -> dense 512.

    Call: observations uint8 [B, 84, 84, 4], oldest frame first -> (features [B, 512] in `dtype`,
    attention float32 [B, h, w]). The map is zero if there is no attention. The maps of single gates (x3 has
    three) are sown as intermediates `gate1`, `gate2`, `gate3`, float32 [B, h_i, w_i]. Raises ValueError for
    observations of another shape or dtype.

    chunk_size: compute the convolutions in slices of the batch (see networks/chunking.py).
    takes_float: also accept float32 observations, on the same scale of 0 to 255, for derivatives and blurred
        frames. Off by default, so that frames on another scale are refused.
    precision: of float32 products (`highest`, `high`, `default`); None: JAX's own setting.
    """

    spec: NetworkSpec
    dtype: Any = jnp.float32
    chunk_size: int | None = None
    takes_float: bool = False
    precision: str | None = None

    def setup(self) -> None:
        self.convs = [
            nn.Conv(
                conv.features,
                (conv.kernel, conv.kernel),
                strides=conv.stride,
                padding=conv.padding,
                use_bias=conv.bias,
                kernel_init=_ORTHOGONAL,
                dtype=self.dtype,
                precision=self.precision,
                name=f"conv{number}",
            )
            for number, conv in enumerate(self.spec.torso, start=1)
        ]
        attention = self.spec.attention
        self.gates = (
            {
                str(number): AttentionGate(attention, self.dtype, self.precision, name=f"attention{number}")
                for number in attention.after
            }
            if attention
            else {}
        )
        self.dense = nn.Dense(FEATURES, kernel_init=_ORTHOGONAL, dtype=self.dtype, precision=self.precision)

    def __call__(self, observations: Array) -> tuple[Array, Array]:
        known = (jnp.uint8, jnp.float32) if self.takes_float else (jnp.uint8,)
        if observations.shape[1:] != (84, 84, 4) or observations.dtype not in known:
            raise ValueError(
                f"Observations must be uint8 [B, 84, 84, 4], oldest frame first; "
                f"these are {observations.dtype} {list(observations.shape)}."
            )
        readout, gates = in_chunks(self.look, observations, self.chunk_size)
        for number, gate in gates.items():
            self.sow("intermediates", f"gate{number}", gate)
        features = nn.relu(self.dense(readout))
        return features, self.attention_map(gates, observations.shape[0])

    def look(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """Torso, gates and readout: uint8 [B, 84, 84, 4] -> (readout [B, n], gate maps by number)."""
        x = observations.astype(self.dtype) / 255
        pad = self.spec.input_padding
        if pad:
            x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        gates = {}
        for number, (conv, layer) in enumerate(zip(self.convs, self.spec.torso, strict=True), start=1):
            x = conv(x)
            if layer.relu:
                x = nn.relu(x)
            if str(number) in self.gates:
                if self.spec.l2_normalise:
                    x = x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))
                x, gates[str(number)] = self.gates[str(number)](x)
        if self.spec.readout == "pool":
            return x.sum(axis=(1, 2)), gates
        return x.reshape(x.shape[0], -1), gates

    def attention_map(self, gates: dict[str, Array], batch: int) -> Array:
        """The network's one map: maps of later gates are drawn onto the first gate's grid and added."""
        if not gates:
            return jnp.zeros((batch, *attention_shape(self.spec)), jnp.float32)
        first, *later = (int(number) for number in gates)
        total = gates[str(first)]
        for number in later:
            geometry = conv_geometry(self.spec.torso[first:number])
            total = total + paint(gates[str(number)], geometry, size=total.shape[1])
        return total


def initial_params(network: nn.Module, key: Array) -> Any:
    """The initial parameters of a training with this key. network: has ActorCritic's call."""
    own = jax.random.fold_in(jax.random.fold_in(key, 0), 0)  # rollouts and updates fold in 1 and 2 first
    return network.init(own, jnp.zeros((1, 84, 84, 4), jnp.uint8))["params"]


def count_parameters(network: nn.Module) -> int:
    """The number of parameters of a module with ActorCritic's call, without computing anything."""
    shapes = jax.eval_shape(partial(initial_params, network), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


class ActorCritic(nn.Module):
    """Policy and value heads on one shared extractor.

    Call: observations uint8 [B, 84, 84, 4] -> NetworkOutput(logits float32 [B, A], value float32 [B],
    attention float32 [B, h, w]). `dtype` is the compute type (float32 or bfloat16); parameters, heads
    and attention maps are always float32. `chunk_size`, `takes_float` and `precision` are the extractor's.
    """

    spec: NetworkSpec
    num_actions: int
    dtype: Any = jnp.float32
    chunk_size: int | None = None
    takes_float: bool = False
    precision: str | None = None

    @nn.compact
    def __call__(self, observations: Array) -> NetworkOutput:
        extractor = Extractor(
            self.spec, self.dtype, self.chunk_size, self.takes_float, self.precision, name="extractor"
        )
        features, attention = extractor(observations)
        features = features.astype(jnp.float32)
        orthogonal, dense = nn.initializers.orthogonal, partial(nn.Dense, precision=self.precision)
        logits = dense(self.num_actions, kernel_init=orthogonal(0.01), name="policy")(features)
        value = dense(1, kernel_init=orthogonal(1.0), name="value")(features)
        return NetworkOutput(logits, value[:, 0], attention)
