"""Proximal policy optimisation as OpenAI Baselines' PPO2 does it on Atari, in plain NumPy float64.

The model is small enough for gradients by hand: x = flatten(observation) / 255, f = tanh(x W1 + b1),
logits = f Wp + bp, value = f Wv + bv. Its parameters are a dict with the keys W1 [D,F], b1 [F], Wp [F,A],
bp [A], Wv [F,1], bv [1].

Sources: Schulman et al., "Proximal Policy Optimization Algorithms", arXiv 1707.06347 (2017), equations 7, 9;
Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
arXiv 1506.02438 (2015), equation 16; Kingma and Ba, "Adam", arXiv 1412.6980 (2014), end of section 2 for the
form that TensorFlow uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Parameters = dict[str, np.ndarray]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Hyperparameters:
    """The Atari defaults; `learning_rate` is the one of this update, see `learning_rate`."""

    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    lam: float = 0.95
    epochs: int = 4
    minibatches: int = 4
    clip_range: float = 0.1
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.01
    max_gradient_norm: float = 0.5
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-5


@dataclass(frozen=True)
class Trajectory:
    """T steps of N environments; log probabilities and values are those of the policy that acted."""

    observations: np.ndarray  # [T,N,...] uint8
    actions: np.ndarray  # [T,N] integers
    log_probabilities: np.ndarray  # [T,N]
    values: np.ndarray  # [T,N]
    rewards: np.ndarray  # [T,N]
    terminated: np.ndarray  # [T,N] bool
    truncated: np.ndarray  # [T,N] bool
    truncation_values: np.ndarray  # [T,N], read where truncated and not terminated
    last_value: np.ndarray  # [N]


@dataclass(frozen=True)
class Minibatch:
    """M samples; the advantages are not normalised yet."""

    observations: np.ndarray  # [M,...] uint8
    actions: np.ndarray  # [M] integers
    log_probabilities: np.ndarray  # [M]
    values: np.ndarray  # [M]
    advantages: np.ndarray  # [M]
    returns: np.ndarray  # [M]


@dataclass(frozen=True)
class AdamState:
    """Steps taken so far and the two running means of each parameter's gradient."""

    step: int
    first_moment: Parameters
    second_moment: Parameters


def advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    truncation_values: np.ndarray,
    last_value: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """Generalised advantages [T,N] by their definition: A_t = sum over k >= t of (gamma lam)^(k-t) delta_k.

    The sum ends with the step's own episode, or with the data. The value that follows is 0 after a
    terminated step, truncation_values [T,N] (the value of the last real observation) after a truncated one
    and last_value [N] after the last row. A step that is both counts as terminated.
    """
    T, N = rewards.shape
    result = np.zeros((T, N))
    for n in range(N):
        start = 0
        for t in range(T):
            if not (terminated[t, n] or truncated[t, n] or t == T - 1):
                continue
            if terminated[t, n]:
                bootstrap = 0.0
            elif truncated[t, n]:
                bootstrap = truncation_values[t, n]
            else:
                bootstrap = last_value[n]
            result[start : t + 1, n] = _episode_advantages(
                rewards[start : t + 1, n], values[start : t + 1, n], bootstrap, gamma, lam
            )
            start = t + 1
    return result


def _episode_advantages(
    rewards: np.ndarray, values: np.ndarray, bootstrap: float, gamma: float, lam: float
) -> np.ndarray:
    following_values = np.append(values[1:], bootstrap)
    deltas = rewards + gamma * following_values - values
    steps = len(rewards)
    return np.array(
        [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, steps)) for t in range(steps)]
    )


def model(params: Parameters, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [M,F], logits [M,A] and values [M] for observations [M,...]."""
    x = observations.reshape(len(observations), -1) / 255.0
    features = np.tanh(x @ params["W1"] + params["b1"])
    logits = features @ params["Wp"] + params["bp"]
    return features, logits, (features @ params["Wv"] + params["bv"])[:, 0]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def loss_and_gradients(
    params: Parameters, minibatch: Minibatch, hyperparameters: Hyperparameters
) -> tuple[Metrics, Parameters]:
    """Every term of the loss of PPO2, and the gradient of metrics["loss"] with respect to each parameter.

    metrics: loss, policy_loss, value_loss, entropy, clip_fraction and approx_kl, which is
    0.5 * mean((new - old log probability)^2). value_loss holds its factor 0.5 but not its coefficient.
    """
    eps = hyperparameters.clip_range
    M, rows = len(minibatch.actions), np.arange(len(minibatch.actions))
    features, logits, values = model(params, minibatch.observations)
    log_p = log_softmax(logits)
    p = np.exp(log_p)
    A = (minibatch.advantages - minibatch.advantages.mean()) / (minibatch.advantages.std() + 1e-8)

    log_ratio = log_p[rows, minibatch.actions] - minibatch.log_probabilities
    ratio = np.exp(log_ratio)
    surrogate, clipped_surrogate = A * ratio, A * np.clip(ratio, 1 - eps, 1 + eps)
    policy_loss = -np.mean(np.minimum(surrogate, clipped_surrogate))

    entropies = -np.sum(p * log_p, axis=-1)

    error = values - minibatch.returns
    moved = np.clip(values - minibatch.values, -eps, eps)
    clipped_error = minibatch.values + moved - minibatch.returns
    value_loss = 0.5 * np.mean(np.maximum(error**2, clipped_error**2))

    loss = (
        policy_loss
        - hyperparameters.entropy_coefficient * entropies.mean()
        + hyperparameters.value_coefficient * value_loss
    )

    # Inside the clip range both branches are one function; outside it the clipped branch is constant. The
    # value's range is asked for by name because old + (new - old) can differ from new in the last digit.
    d_log_probability = np.where(surrogate <= clipped_surrogate, -surrogate, 0.0) / M
    chosen = np.zeros_like(p)
    chosen[rows, minibatch.actions] = 1.0
    d_logits = d_log_probability[:, None] * (chosen - p)
    d_logits += hyperparameters.entropy_coefficient / M * p * (log_p + entropies[:, None])
    free = (np.abs(values - minibatch.values) <= eps) | (error**2 >= clipped_error**2)
    d_values = np.where(free, error, 0.0) * hyperparameters.value_coefficient / M

    d_features = d_logits @ params["Wp"].T + d_values[:, None] * params["Wv"][:, 0]
    d_sums = d_features * (1.0 - features**2)
    x = minibatch.observations.reshape(M, -1) / 255.0
    gradients = {
        "W1": x.T @ d_sums,
        "b1": d_sums.sum(axis=0),
        "Wp": features.T @ d_logits,
        "bp": d_logits.sum(axis=0),
        "Wv": features.T @ d_values[:, None],
        "bv": d_values.sum(keepdims=True),
    }
    metrics = {
        "loss": float(loss),
        "policy_loss": float(policy_loss),
        "value_loss": float(value_loss),
        "entropy": float(entropies.mean()),
        "approx_kl": float(0.5 * np.mean(log_ratio**2)),
        "clip_fraction": float(np.mean(np.abs(ratio - 1.0) > eps)),
    }
    return metrics, gradients


def clip_by_global_norm(gradients: Parameters, max_norm: float) -> tuple[Parameters, float]:
    """Scale all gradients by one factor to a joint L2 norm of at most max_norm; also the norm before."""
    norm = float(np.sqrt(sum(np.sum(g**2) for g in gradients.values())))
    scale = max_norm / norm if norm > max_norm else 1.0
    return {key: scale * g for key, g in gradients.items()}, norm


def learning_rate(update_number: int, total_steps: int, initial: float = 2.5e-4, batch: int = 1024) -> float:
    """The rate of an update, counted from 1: it falls by initial / (total_steps // batch) each time."""
    updates = total_steps // batch
    if not 1 <= update_number <= updates:
        raise ValueError(f"the updates are numbered 1 to {updates}, got {update_number}")
    return initial * (1.0 - (update_number - 1.0) / updates)


def initial_adam_state(params: Parameters) -> AdamState:
    zeros = {key: np.zeros_like(array) for key, array in params.items()}
    return AdamState(0, zeros, dict(zeros))


def adam(
    params: Parameters, gradients: Parameters, state: AdamState, hyperparameters: Hyperparameters
) -> tuple[Parameters, AdamState]:
    """One step of TensorFlow's Adam, whose epsilon is added to the root of the uncorrected second moment."""
    beta1, beta2 = hyperparameters.adam_beta1, hyperparameters.adam_beta2
    t = state.step + 1
    rate = hyperparameters.learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    m = {key: beta1 * state.first_moment[key] + (1 - beta1) * g for key, g in gradients.items()}
    v = {key: beta2 * state.second_moment[key] + (1 - beta2) * g**2 for key, g in gradients.items()}
    new = {
        key: array - rate * m[key] / (np.sqrt(v[key]) + hyperparameters.adam_epsilon)
        for key, array in params.items()
    }
    return new, AdamState(t, m, v)


def update(
    params: Parameters,
    adam_state: AdamState,
    trajectory: Trajectory,
    permutations: np.ndarray,
    hyperparameters: Hyperparameters,
) -> tuple[Parameters, AdamState, list[Metrics]]:
    """One update of PPO2: every epoch takes all T*N samples once, in minibatches of equal size.

    permutations [epochs, T*N] holds the order of the samples in each epoch; sample t * N + n is step t of
    environment n. Returns the parameters, the state of Adam and the metrics of every minibatch in order,
    those of `loss_and_gradients` with gradient_norm (before clipping) added.
    """
    T, N = trajectory.rewards.shape
    if permutations.shape != (hyperparameters.epochs, T * N) or T * N % hyperparameters.minibatches:
        raise ValueError(
            f"permutations {permutations.shape} do not fit {hyperparameters} and {T} x {N} samples"
        )
    A = advantages(
        trajectory.rewards,
        trajectory.values,
        trajectory.terminated,
        trajectory.truncated,
        trajectory.truncation_values,
        trajectory.last_value,
        hyperparameters.gamma,
        hyperparameters.lam,
    )
    metrics = []
    for order in permutations:
        for samples in np.split(order, hyperparameters.minibatches):
            t, n = samples // N, samples % N
            minibatch = Minibatch(
                observations=trajectory.observations[t, n],
                actions=trajectory.actions[t, n],
                log_probabilities=trajectory.log_probabilities[t, n],
                values=trajectory.values[t, n],
                advantages=A[t, n],
                returns=A[t, n] + trajectory.values[t, n],
            )
            terms, gradients = loss_and_gradients(params, minibatch, hyperparameters)
            gradients, norm = clip_by_global_norm(gradients, hyperparameters.max_gradient_norm)
            params, adam_state = adam(params, gradients, adam_state, hyperparameters)
            metrics.append(terms | {"gradient_norm": norm})
    return params, adam_state, metrics
