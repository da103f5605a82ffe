"""The configuration of a training run: one frozen dataclass, typed, validated, stored as JSON."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from fls_jax.errors import UserError

# Fields that change how a run is executed, but not what it computes. They may change when a run resumes.
_OPERATIONAL = {"operational": True}


def _operational(default: Any) -> Any:
    return field(default=default, metadata=_OPERATIONAL)


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Defaults are the paper's (OpenAI Baselines PPO2 with its Atari settings)."""

    game: str = "Pong"
    """Atari game, in any case, with or without a Gym-style suffix (`fls games` lists them)."""
    network: str = "cnn_sparse_fls"
    """Network by its published name (`fls networks` lists them)."""
    seed: int = 1
    """Seed of parameters, actions, minibatch shuffles and games; the paper's are 1, 9, 17, 25, 33."""
    total_steps: int = 50_000_000
    """Length of the run, in agent steps (4 frames each) over all environments."""

    num_envs: int = 8
    """Environments played in parallel."""
    rollout_length: int = 128
    """Agent steps that each environment takes per update."""
    epochs: int = 4
    """Passes over the rollout per update."""
    minibatches: int = 4
    """Minibatches per epoch; num_envs * rollout_length samples are divided among them."""
    learning_rate: float = 2.5e-4
    """Adam's step size at the first update; it falls linearly to 0 over total_steps."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon, in TensorFlow's form (added to the root of the uncorrected second moment)."""
    gamma: float = 0.99
    """Discount per agent step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: float = 0.1
    """Clip range of the probability ratio and of the value change."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus (entropy in nats)."""
    attention_cost: float = 0.0
    """Weight in the loss of the mean attention over positions and samples (the paper: 0)."""
    max_grad_norm: float = 0.5
    """Largest global norm of the gradient; larger ones are scaled down to it."""

    environment_seeds: Literal["spread", "consecutive"] = "spread"
    """Seeds of the environments. spread: drawn from (seed, i), so that no two runs share one; consecutive:
    seed + i."""
    sticky_actions: float = 0.0
    """Probability that the emulator repeats the previous action at a frame (the paper: 0)."""
    max_episode_steps: int = 27_000
    """A game is cut after this many agent steps (27,000 are 108,000 frames)."""

    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the extractor's arithmetic; parameters stay float32."""
    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Precision of float32 products. highest: float32; high and default: fewer bits where the device has
    faster units for them (TF32 on NVIDIA GPUs, passes of bfloat16 on TPUs). CPUs always use float32."""
    microbatch: int = 0
    """Accumulate each minibatch's gradient over microbatches of this many samples; 0: all at once."""
    overlap: bool = False
    """Collect the next rollout while the device updates: rollouts are then one update old."""

    checkpoint_every: int = _operational(200)
    """Updates between checkpoints (one is also saved at the end and on a signal)."""
    keep_checkpoints: int = _operational(3)
    """How many of the latest checkpoints to keep."""
    keep_every: int = _operational(0)
    """Also keep the first checkpoint in every interval of this many agent steps, forever; 0: none."""
    env_threads: int = _operational(0)
    """EnvPool's threads; 0: one for each core that the process may use, at most one per environment."""
    env_groups: int = _operational(0)
    """Groups of environments that take turns: one plays while the device chooses actions for another. 0: two
    on an accelerator if they divide evenly, one on a CPU."""
    devices: int = _operational(0)
    """Devices to train on, data parallel. 0: one on a CPU, else as many as divide the samples evenly."""

    @property
    def variant(self) -> str:
        """The name in folders and tables: the network, followed by `-cost<L>` if attention costs."""
        return f"{self.network}-cost{self.attention_cost:g}" if self.attention_cost else self.network

    @property
    def steps_per_update(self) -> int:
        """Agent steps in one update."""
        return self.num_envs * self.rollout_length

    @property
    def num_updates(self) -> int:
        """Updates in the run: total_steps // steps_per_update, as in Baselines."""
        return self.total_steps // self.steps_per_update

    @property
    def minibatch_size(self) -> int:
        """Samples in a minibatch."""
        return self.steps_per_update // self.minibatches

    @property
    def rollout_bytes(self) -> int:
        """Bytes of the observations of one update, of two with `overlap`."""
        return self.steps_per_update * 4 * 84 * 84 * (2 if self.overlap else 1)

    def validated(self) -> TrainConfig:
        """Return this configuration; raise UserError, naming the value, if one is impossible."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if math.isfinite(value) and low <= value <= high:
                continue
            wanted = f"lie between {low:,} and {high:,}" if math.isfinite(high) else f"be at least {low:,}"
            finite = "" if math.isfinite(value) else " and finite"
            raise UserError(f"{_flag(name)} is {value}; it must {wanted}{finite}.")
        if self.seed + self.num_envs > 2**31:
            raise UserError(
                f"--seed is {self.seed}; with its environments' numbers added it must stay below 2^31 "
                "(EnvPool's seeds are 32 bits): choose a smaller seed."
            )
        if self.total_steps < self.steps_per_update:
            raise UserError(
                f"--total-steps is {self.total_steps}, less than the {self.steps_per_update} steps of one "
                "update (num-envs * rollout-length): raise it or lower those."
            )
        if self.steps_per_update % self.minibatches:
            raise UserError(
                f"{self.steps_per_update} samples an update do not divide into {self.minibatches} equal "
                "minibatches: change --minibatches, --num-envs or --rollout-length."
            )
        if self.minibatch_size < 2:
            raise UserError(
                f"--minibatches is {self.minibatches}, which leaves one sample to each, whose normalised "
                "advantage is 0, so nothing would be learnt: choose fewer, or longer rollouts."
            )
        if self.env_groups and self.num_envs % self.env_groups:
            raise UserError(
                f"--env-groups is {self.env_groups}, which does not divide {self.num_envs} environments: "
                "choose a divisor."
            )
        if self.microbatch and self.minibatch_size % self.microbatch:
            raise UserError(
                f"--microbatch is {self.microbatch}, which does not divide the minibatch of "
                f"{self.minibatch_size} samples: choose a divisor."
            )
        return self

    @property
    def last_step(self) -> int:
        """The env_step at which the training is finished."""
        return self.num_updates * self.steps_per_update

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], source: str = "config.json") -> TrainConfig:
        """Read back what to_json wrote; unknown keys are ignored, missing ones take their default.

        Runs from before `environment_seeds` keep the seeds that they had (seed + i); runs from before
        `matmul_precision` keep the device's default.

        Raises UserError for a value of the wrong type, naming `source`.
        """
        hints = typing.get_type_hints(cls)
        known: dict[str, Any] = dict(_ONCE)
        for f in fields(cls):
            if f.name in values:
                known[f.name] = _checked(values[f.name], hints[f.name], f.name, source)
        return cls(**known)

    def going_on(self, stored: dict[str, Any]) -> TrainConfig:
        """This configuration for resuming the run of the config.json `stored`: old runs keep their values."""
        had: dict[str, Any] = {name: value for name, value in _ONCE.items() if name not in stored}
        return replace(self, **had)

    def differences(self, other: TrainConfig) -> list[str]:
        """`name: ours -> theirs` for every field that changes what is computed."""
        return [
            f"{f.name}: {getattr(self, f.name)} -> {getattr(other, f.name)}"
            for f in fields(self)
            if not f.metadata.get("operational") and getattr(self, f.name) != getattr(other, f.name)
        ]


# Values of these fields in runs from before they were recorded.
_ONCE = {"environment_seeds": "consecutive", "matmul_precision": "default"}
_NOT_NEGATIVE = (0, math.inf)
# EnvPool counts steps in 32 bits. The limits of environments and threads catch typing errors.
MOST_ENVS = 65_536
_RANGES: dict[str, tuple[float, float]] = {
    "seed": _NOT_NEGATIVE,
    "num_envs": (1, MOST_ENVS),
    "rollout_length": (1, math.inf),
    "epochs": (1, math.inf),
    "minibatches": (1, math.inf),
    "learning_rate": _NOT_NEGATIVE,
    "adam_epsilon": _NOT_NEGATIVE,
    "gamma": (0, 1),
    "gae_lambda": (0, 1),
    "clip_range": _NOT_NEGATIVE,
    "value_coefficient": _NOT_NEGATIVE,
    "entropy_coefficient": _NOT_NEGATIVE,
    "attention_cost": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "sticky_actions": (0, 1),
    "max_episode_steps": (1, 2**31 - 1),
    "microbatch": _NOT_NEGATIVE,
    "checkpoint_every": (1, math.inf),
    "keep_checkpoints": (1, math.inf),
    "keep_every": _NOT_NEGATIVE,
    "env_threads": (0, 4_096),
    "env_groups": (0, 65_536),
    "devices": _NOT_NEGATIVE,
}

PRESETS: dict[str, TrainConfig] = {
    "paper": TrainConfig(),
    # A minute on a laptop: every part runs, but nothing is learnt.
    "smoke": replace(TrainConfig(), total_steps=10_240, checkpoint_every=5),
    # Not the paper's hyper-parameters; they keep an accelerator busy: 16 times the environments, rollouts
    # a quarter as long and one update old, minibatches four times as large with twice (their square root)
    # the learning rate, in bfloat16.
    "throughput": replace(
        TrainConfig(),
        num_envs=128,
        rollout_length=32,
        learning_rate=5e-4,
        overlap=True,
        compute_dtype="bfloat16",
        matmul_precision="default",
    ),
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _checked(value: Any, expected: Any, name: str, source: str) -> Any:
    """Return `value` if it is of the type `expected` (int, float, bool, str, Literal), else UserError."""
    if typing.get_origin(expected) is Literal:
        options = typing.get_args(expected)
        if value in options:
            return value
        wanted = f"one of {', '.join(options)}"
    elif expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is expected:
        return value
    else:
        wanted = f"of type {expected.__name__}"
    raise UserError(f"{source}: {name} is {value!r}; it must be {wanted}. Correct the file or start anew.")
