"""The Free-Lunch Saliency networks in plain NumPy float64: slow, readable, no framework.

The paper's fifteen, and ours on patches.

Source: Nikulin et al., "Free-Lunch Saliency via Attention in Atari Agents", arXiv 1908.02511v2 (2019).

Parameters are one flat dict. Kernels of convolutions are [height, width, in, out]; "attention<n>" is the
module that stands after convolution n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Parameters = dict[str, np.ndarray]
Activation = Callable[[np.ndarray], np.ndarray]

NETWORKS = (
    "cnn",
    "cnn_daqn",
    "cnn_rsppo",
    "cnn_rsppo_nopad",
    "cnn_sparse_fls",
    "cnn_sparse_fls_pool",
    "cnn_sparse_fls_norm",
    "cnn_sparse_fls_1x1",
    "cnn_sparse_fls_sp2",
    "cnn_sparse_fls_norelu",
    "cnn_sparse_fls_norelu_pool",
    "cnn_sparse_fls_h1",
    "cnn_sparse_fls_x3",
    "cnn_dense_fls",
    "cnn_dense_fls_norelu",
    "cnn_patch",
    "cnn_patch_fls",
    "cnn_patch_fls_nobias",
    "cnn_patch_fls_k3",
    "cnn_patch_fls_sigmoid",
)

SPARSE_GEOMETRY = (36, 8, 0)
"""(receptive field, stride, padding) of the 7x7 grid after the third sparse convolution."""

GEOMETRY = dict.fromkeys(NETWORKS, SPARSE_GEOMETRY) | {
    "cnn_sparse_fls_h1": (8, 4, 0),
    "cnn_sparse_fls_x3": (8, 4, 0),
    "cnn_dense_fls": (13, 1, 6),
    "cnn_dense_fls_norelu": (13, 1, 6),
    "cnn_patch": (32, 8, 0),
    "cnn_patch_fls": (4, 4, 0),
    "cnn_patch_fls_nobias": (4, 4, 0),
    "cnn_patch_fls_k3": (4, 4, 0),
    "cnn_patch_fls_sigmoid": (4, 4, 0),
}
"""Network name -> (receptive field, stride, padding) with which `paint` draws its attention, as published."""

PATCH_GATES_1X1 = ("cnn_patch_fls", "cnn_patch_fls_nobias", "cnn_patch_fls_sigmoid")


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0.0)) - 1.0)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x), without overflow."""
    return np.logaddexp(0.0, x)


def softplus_base_2(x: np.ndarray) -> np.ndarray:
    """log2(1 + 2^x), without overflow."""
    return np.logaddexp2(0.0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))


def softmax_over_positions(x: np.ndarray) -> np.ndarray:
    """Softmax of each map of x [B,h,w,M] over its h*w positions."""
    weights = np.exp(x - x.max(axis=(1, 2), keepdims=True))
    return weights / weights.sum(axis=(1, 2), keepdims=True)


def convolution(x: np.ndarray, parameters: Parameters, layer: str, stride: int, padding: int) -> np.ndarray:
    """Cross-correlate x [B,H,W,in] with the layer's kernel, zero-padded on each side; add any bias."""
    kernel = parameters[f"{layer}/kernel"]
    bias = parameters.get(f"{layer}/bias", np.zeros(kernel.shape[3]))
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kernel_height, kernel_width = kernel.shape[:2]
    height = (x.shape[1] - kernel_height) // stride + 1
    width = (x.shape[2] - kernel_width) // stride + 1
    result = np.zeros((x.shape[0] * height * width, kernel.shape[3]))
    for i in range(kernel_height):
        for j in range(kernel_width):
            seen = x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
            result += seen.reshape(-1, seen.shape[3]) @ kernel[i, j]
    return (result + bias).reshape(x.shape[0], height, width, -1)


def fls_attention(
    x: np.ndarray,
    parameters: Parameters,
    number: int,
    activation: Activation = softplus,
) -> np.ndarray:
    """Attention of features x [B,h,w,C] as [B,h,w,1]; its kernel is 3x3 or 1x1, as the parameters have it."""
    hidden, score = f"attention{number}/hidden", f"attention{number}/score"
    hidden_padding = parameters[f"{hidden}/kernel"].shape[0] // 2
    score_padding = parameters[f"{score}/kernel"].shape[0] // 2
    a = relu(convolution(x, parameters, hidden, stride=1, padding=hidden_padding))
    return activation(convolution(a, parameters, score, stride=1, padding=score_padding))


def sparse_features(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Three VALID convolutions, without the last relu: [B,84,84,4] -> [B,7,7,64]."""
    x = relu(convolution(x, parameters, "conv1", stride=4, padding=0))
    x = relu(convolution(x, parameters, "conv2", stride=2, padding=0))
    return convolution(x, parameters, "conv3", stride=1, padding=0)


def dense_features(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Three SAME convolutions, without the last relu: [B,84,84,4] -> [B,84,84,64]."""
    x = relu(convolution(x, parameters, "conv1", stride=1, padding=3))
    x = relu(convolution(x, parameters, "conv2", stride=1, padding=2))
    return convolution(x, parameters, "conv3", stride=1, padding=1)


def patch_features(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Each of the 21x21 disjoint patches of 4x4 pixels by itself: [B,84,84,4] -> [B,21,21,32]."""
    patches = x.reshape(-1, 21, 4, 21, 4, 4).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 21, 21, 4 * 4 * 4)
    kernel = parameters["conv1/kernel"].reshape(4 * 4 * 4, 32)
    return relu(patches @ kernel + parameters.get("conv1/bias", 0.0))


def after_patches(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """The two convolutions over the patches: [B,21,21,32] -> [B,7,7,64]."""
    x = relu(convolution(x, parameters, "conv2", stride=2, padding=0))
    return relu(convolution(x, parameters, "conv3", stride=1, padding=0))


def normalise_channels(x: np.ndarray) -> np.ndarray:
    squares = np.sum(x**2, axis=-1, keepdims=True)
    return x / np.sqrt(np.maximum(squares, 1e-12))


def flatten(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], -1)


def pool(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=(1, 2))


def readout_and_attention(name: str, parameters: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the 512-unit layer sees [B,in], and the attention [B,h,w,1], for x [B,84,84,4] in [0,1]."""
    match name:
        case "cnn":
            x = relu(sparse_features(x, parameters))
            return flatten(x), np.zeros((x.shape[0], 7, 7, 1))

        case "cnn_daqn":
            x = relu(sparse_features(x, parameters))
            a = np.tanh(convolution(x, parameters, "attention3/hidden", stride=1, padding=0))
            h = softmax_over_positions(convolution(a, parameters, "attention3/score", stride=1, padding=0))
            return pool(x * h), h

        case "cnn_rsppo" | "cnn_rsppo_nopad":
            if name == "cnn_rsppo":
                x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = normalise_channels(relu(sparse_features(x, parameters)))
            a = elu(convolution(x, parameters, "attention3/hidden", stride=1, padding=0))
            maps = softmax_over_positions(convolution(a, parameters, "attention3/score", stride=1, padding=0))
            h = maps.sum(axis=-1, keepdims=True)
            return flatten(x * h), h

        case "cnn_sparse_fls" | "cnn_sparse_fls_1x1":  # they differ in the attention's kernel size alone
            x = relu(sparse_features(x, parameters))
            h = fls_attention(x, parameters, 3)
            return flatten(x * h), h

        case "cnn_sparse_fls_pool":
            x = relu(sparse_features(x, parameters))
            h = fls_attention(x, parameters, 3)
            return pool(x * h), h

        case "cnn_sparse_fls_norm":
            x = relu(sparse_features(x, parameters))
            h = fls_attention(x, parameters, 3)
            h = h / h.sum(axis=(1, 2), keepdims=True)
            return flatten(x * h), h

        case "cnn_sparse_fls_sp2":
            x = relu(sparse_features(x, parameters))
            h = fls_attention(x, parameters, 3, softplus_base_2)
            return flatten(x * h), h

        case "cnn_sparse_fls_norelu":
            x = sparse_features(x, parameters)
            h = fls_attention(x, parameters, 3)
            return flatten(x * h), h

        case "cnn_sparse_fls_norelu_pool":
            x = sparse_features(x, parameters)
            h = fls_attention(x, parameters, 3)
            return pool(x * h), h

        case "cnn_sparse_fls_h1":
            x = relu(convolution(x, parameters, "conv1", stride=4, padding=0))
            h = fls_attention(x, parameters, 1)
            x = relu(convolution(x * h, parameters, "conv2", stride=2, padding=0))
            x = relu(convolution(x, parameters, "conv3", stride=1, padding=0))
            return flatten(x), h

        case "cnn_sparse_fls_x3":
            x = relu(convolution(x, parameters, "conv1", stride=4, padding=0))
            h1 = fls_attention(x, parameters, 1)
            x = relu(convolution(x * h1, parameters, "conv2", stride=2, padding=0))
            h2 = fls_attention(x, parameters, 2)
            x = relu(convolution(x * h2, parameters, "conv3", stride=1, padding=0))
            h3 = fls_attention(x, parameters, 3)
            total = h1[..., 0] + paint(h2[..., 0], 4, 2, 0) + paint(h3[..., 0], 8, 2, 0)
            return flatten(x * h3), total[..., None]

        case "cnn_dense_fls":
            x = relu(dense_features(x, parameters))
            h = fls_attention(x, parameters, 3)
            return pool(x * h), h

        case "cnn_dense_fls_norelu":
            x = dense_features(x, parameters)
            h = fls_attention(x, parameters, 3)
            return pool(x * h), h

        case "cnn_patch":
            x = after_patches(patch_features(x, parameters), parameters)
            return flatten(x), np.zeros((x.shape[0], 7, 7, 1))

        case "cnn_patch_fls" | "cnn_patch_fls_nobias" | "cnn_patch_fls_k3" | "cnn_patch_fls_sigmoid":
            x = patch_features(x, parameters)
            h = fls_attention(x, parameters, 1, sigmoid if name.endswith("sigmoid") else softplus)
            return flatten(after_patches(x * h, parameters)), h

    raise ValueError(f"no network is called {name!r}; there are {', '.join(NETWORKS)}")


def forward(
    name: str, params: Parameters, observations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a network on observations uint8 [B,84,84,4]: logits [B,A], value [B], attention [B,h,w]."""
    if observations.dtype != np.uint8 or observations.shape[1:] != (84, 84, 4):
        raise ValueError(
            f"observations must be uint8 [B,84,84,4], got {observations.dtype} {observations.shape}"
        )
    params = {key: array.astype(np.float64) for key, array in params.items()}
    readout, attention = readout_and_attention(name, params, observations.astype(np.float64) / 255.0)
    hidden = relu(readout @ params["dense/kernel"] + params["dense/bias"])
    logits = hidden @ params["policy/kernel"] + params["policy/bias"]
    value = hidden @ params["value/kernel"] + params["value/bias"]
    return logits, value[:, 0], attention[..., 0]


def paint(attention: np.ndarray, receptive_field: int, stride: int, padding: int) -> np.ndarray:
    """Add each value of attention [B,h,w] to every pixel of its receptive field, then cut `padding`
    pixels from each side.

    This is the transposed convolution with a square kernel of ones. A side of the result is
    (h - 1) * stride + receptive_field - 2 * padding.
    """
    B, h, w = attention.shape
    canvas = np.zeros((B, (h - 1) * stride + receptive_field, (w - 1) * stride + receptive_field))
    for row in range(h):
        for column in range(w):
            top, left = row * stride, column * stride
            field = canvas[:, top : top + receptive_field, left : left + receptive_field]
            field += attention[:, row, column, None, None]
    return canvas[:, padding : canvas.shape[1] - padding, padding : canvas.shape[2] - padding]


def painted(name: str, attention: np.ndarray) -> np.ndarray:
    """Attention [B,h,w] of a network on its input: [B,84,84], zero where no field reaches."""
    picture = paint(attention, *GEOMETRY[name])
    reach = 84 - picture.shape[1]
    return np.pad(picture, ((0, 0), (0, reach), (0, reach)))


def parameter_shapes(name: str, actions: int) -> dict[str, tuple[int, ...]]:
    """Every parameter of a network with its shape."""
    if name not in NETWORKS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(NETWORKS)}")
    sizes = (7, 5, 3) if "dense" in name else (4, 4, 3) if "patch" in name else (8, 4, 3)
    kernels: dict[str, tuple[int, ...]] = {
        "conv1": (sizes[0], sizes[0], 4, 32),
        "conv2": (sizes[1], sizes[1], 32, 64),
        "conv3": (sizes[2], sizes[2], 64, 64),
    }
    attention_after = {
        "cnn": (), "cnn_patch": (), "cnn_sparse_fls_h1": (1,), "cnn_sparse_fls_x3": (1, 2, 3)
    }.get(name, (1,) if "patch" in name else (3,))  # fmt: skip
    single = "cnn_daqn", "cnn_rsppo", "cnn_rsppo_nopad", "cnn_sparse_fls_1x1", *PATCH_GATES_1X1
    size = 1 if name in single else 3
    units, maps = (512, 2) if "rsppo" in name else (256, 1)
    if "patch" in name:
        units = 32 if name.endswith("k3") else 64
    for number in attention_after:
        channels = 32 if number == 1 else 64
        kernels[f"attention{number}/hidden"] = (size, size, channels, units)
        kernels[f"attention{number}/score"] = (size, size, units, maps)
    pools = name == "cnn_daqn" or name.endswith("_pool") or "dense" in name
    kernels["dense"] = (64 if pools else 7 * 7 * 64, 512)
    kernels["policy"] = (512, actions)
    kernels["value"] = (512, 1)
    return {
        key: shape
        for layer, kernel in kernels.items()
        for key, shape in ((f"{layer}/kernel", kernel), (f"{layer}/bias", kernel[-1:]))
        if (name, key) != ("cnn_patch_fls_nobias", "conv1/bias")
    }


def random_parameters(name: str, actions: int, rng: np.random.Generator) -> Parameters:
    """Parameters under which signals keep their size and biases matter; not the method's initialisation."""
    parameters = {}
    for key, shape in parameter_shapes(name, actions).items():
        fan_in = np.prod(shape[:-1])
        scale = 0.1 if key.endswith("bias") else np.sqrt(2.0 / fan_in)
        parameters[key] = scale * rng.standard_normal(shape)
    return parameters
