"""Shared by the peers with Stable-Baselines3's interface: EnvPool as a VecEnv, a clock and a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.peers import common

_NOTHING: dict[str, Any] = {}


class EnvPoolVecEnv(VecEnv):
    """EnvPool behind Stable-Baselines3's VecEnv, with no more work per step than the interface needs.

    EnvPool resets one step late: the observation at the end of an episode is its last one. It is passed on
    unchanged, as in usual adapters.
    """

    def __init__(self, games: Any, num_envs: int):
        self.games = games
        self.actions = np.zeros(num_envs, dtype=np.int32)
        super().__init__(num_envs, games.observation_space, games.action_space)

    def reset(self) -> np.ndarray:
        """Observations of the first step, uint8 [N, 4, 84, 84]."""
        return self.games.reset()[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self.actions = actions.astype(np.int32)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations uint8 [N, 4, 84, 84], rewards float32 [N], ends bool [N] and the ends' details."""
        observations, rewards, terminated, truncated, _ = self.games.step(self.actions)
        ends = terminated | truncated
        details = [_NOTHING] * self.num_envs
        for i in np.flatnonzero(ends):
            details[i] = {
                "terminal_observation": observations[i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return observations, rewards, ends, details

    def close(self) -> None:
        """Nothing to do: the games end with the process."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """EnvPool's games are not Python objects: they have no attributes of their own."""
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not possible with EnvPool."""
        raise NotImplementedError(f"EnvPool's games have no attribute {attr_name!r} to set.")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not possible with EnvPool."""
        raise NotImplementedError(f"EnvPool's games have no method {method_name!r} to call.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No game is wrapped."""
        return [False for _ in self._get_indices(indices)]


class UpdateClock(BaseCallback):
    """Times every update, from the start of its rollout to that of the next; ends training after the last."""

    def __init__(self, arguments: common.Arguments):
        super().__init__()
        self.arguments = arguments
        self.starts: list[float] = []

    @property
    def seconds(self) -> list[float]:
        """Wall-clock seconds of every finished update."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]

    def _on_rollout_start(self) -> None:
        self.starts.append(time.perf_counter())
        if len(self.starts) > 1:
            common.show_progress(len(self.starts) - 1, self.arguments, self.seconds[-1])

    def _on_step(self) -> bool:
        return len(self.seconds) < self.arguments.warmup_updates + self.arguments.updates


def run(
    peer: str,
    algorithm: Callable[..., OnPolicyAlgorithm],
    packages: Sequence[str],
    count_parameters: Callable[[Any], int],
    **options: Any,
) -> None:
    """Train `algorithm`, a PPO with Stable-Baselines3's interface, as the other peers do; print the report.

    Args:
        peer: its name in tables.
        algorithm: the class.
        packages: distributions whose versions are recorded.
        count_parameters: from the policy to its number of trained parameters.
        options: hyper-parameters that only this algorithm has.
    """
    arguments = common.parse_arguments(f"{peer}'s PPO on EnvPool.")
    steps_per_update = arguments.num_envs * common.STEPS
    model = algorithm(
        "CnnPolicy",
        EnvPoolVecEnv(common.make_games(arguments), arguments.num_envs),
        # `remaining` has already dropped by one update when the first one is trained.
        learning_rate=lambda remaining: (
            common.LEARNING_RATE * (remaining + steps_per_update / common.TOTAL_STEPS)
        ),
        n_steps=common.STEPS,
        batch_size=steps_per_update // common.MINIBATCHES,
        n_epochs=common.EPOCHS,
        gamma=common.GAMMA,
        gae_lambda=common.GAE_LAMBDA,
        clip_range=common.CLIP_RANGE,
        ent_coef=common.ENTROPY_COEFFICIENT,
        # Both take the plain mean of squares where Baselines takes half of it.
        vf_coef=common.VALUE_COEFFICIENT / 2,
        max_grad_norm=common.MAX_GRADIENT_NORM,
        seed=arguments.seed,
        device="cpu",
        **options,
    )
    clock = UpdateClock(arguments)
    model.learn(common.TOTAL_STEPS, callback=clock)
    names = ("policy_gradient_loss", "policy_loss", "pg_loss", "value_loss", "entropy_loss", "approx_kl")
    recorded = model.logger.name_to_value
    common.print_report(
        peer,
        arguments,
        clock.seconds,
        packages,
        parameters=count_parameters(model.policy),
        losses={name: float(recorded[f"train/{name}"]) for name in names if f"train/{name}" in recorded},
    )
