"""The records that the packages exchange. This module imports no other module of the package."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
Params = Any  # a pytree of float32 arrays
DEAD = 1e-6
"""Attention below this everywhere blocks the network's input: the attention has died."""


class NetworkOutput(NamedTuple):
    """Output of a network for a batch of B observations.

    logits: float32 [B, A], unnormalised log-probabilities of the A actions.
    value: float32 [B], the predicted discounted return (sign-clipped rewards).
    attention: float32 [B, h, w], the one attention map (zeros where there is no attention).
    """

    logits: Array
    value: Array
    attention: Array


class Trajectory(NamedTuple):
    """T steps of N environments under one policy, time-major. No transition crosses a reset.

    observations: uint8 [T, N, ...], the policy's inputs.
    actions: int32 [T, N].
    log_probs: float32 [T, N], log-probability of the action under the policy that acted.
    values: float32 [T, N], value predicted by the policy that acted.
    rewards: float32 [T, N], the training reward (sign-clipped).
    terminated: bool [T, N], life lost or game over after this step: nothing follows.
    truncated: bool [T, N], cut by the time limit after this step: `truncation_values` follows.
    truncation_values: float32 [T, N], value of the last real observation where truncated, else 0.
    last_value: float32 [N], value of the observation after the last step.
    """

    observations: Array
    actions: Array
    log_probs: Array
    values: Array
    rewards: Array
    terminated: Array
    truncated: Array
    truncation_values: Array
    last_value: Array


class EnvStep(NamedTuple):
    """One step of N environments. Finished ones have already been reset.

    observations: uint8 [N, 4, 84, 84], the next inputs (of the new life or game where one ended).
    rewards: float32 [N], the training reward.
    terminated: bool [N]. truncated: bool [N], never true together with terminated.
    final_observations: uint8 [N, 4, 84, 84], the observations before any reset; None if no environment was
        truncated.
    finished_returns: float64 [k], raw whole-game returns of the k games that ended in this step.
    finished_lengths: int64 [k], their lengths in agent steps.
    finished_environments: int64 [k], the environments in which they were played.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observations: np.ndarray | None
    finished_returns: np.ndarray
    finished_lengths: np.ndarray
    finished_environments: np.ndarray
