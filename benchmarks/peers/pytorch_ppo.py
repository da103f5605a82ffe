"""A plain PyTorch PPO on EnvPool, for comparison with this project's trainer.

Eager, float32, PyTorch's default number of threads and NCHW layout, as most such scripts are written, on a
CPU or with `--device cuda`;
`--channels-last` keeps the pictures and the weights NHWC in memory, which convolves faster on CPUs. The
algorithm is that of OpenAI Baselines' PPO2 with its Atari defaults. Like most such scripts it trains on all
of EnvPool's steps, including the one after the end of an episode, in which EnvPool resets, and treats a time
limit as the end of an episode.

    .venv-peers/bin/python -m benchmarks.peers.pytorch_ppo --network cnn_sparse_fls --updates 4
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers import common


def orthogonal(layer: nn.Conv2d | nn.Linear, gain: float = math.sqrt(2)) -> nn.Module:
    """The layer with orthogonal weights of that gain and zero bias."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class ActorCritic(nn.Module):
    """The torso of Mnih et al. (2015), followed by Free-Lunch Saliency's attention when `attention`."""

    def __init__(self, num_actions: int, *, attention: bool, channels_last: bool):
        super().__init__()
        self.torso = nn.Sequential(
            orthogonal(nn.Conv2d(4, 32, 8, stride=4)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(32, 64, 4, stride=2)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(64, 64, 3)),
            nn.ReLU(),
        )
        self.attention = nn.Sequential(
            orthogonal(nn.Conv2d(64, 256, 3, padding=1)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(256, 1, 3, padding=1)),
            nn.Softplus(),
        )
        if not attention:
            self.attention = None
        self.readout = nn.Sequential(nn.Flatten(), orthogonal(nn.Linear(64 * 7 * 7, 512)), nn.ReLU())
        self.policy = orthogonal(nn.Linear(512, num_actions), gain=0.01)
        self.value = orthogonal(nn.Linear(512, 1), gain=1.0)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 4, 84, 84] -> log-probabilities [B, actions] and values [B]."""
        features = self.torso(observations.contiguous(memory_format=self.layout) / 255.0)
        if self.attention is not None:
            features = features * self.attention(features)
        hidden = self.readout(features)
        return functional.log_softmax(self.policy(hidden), dim=1), self.value(hidden).squeeze(1)


class Rollout(NamedTuple):
    """What one update trains on; time and games are one axis of length 128 * games."""

    observations: Tensor  # uint8 [B, 4, 84, 84]
    actions: Tensor  # int64 [B]
    log_probs: Tensor  # float32 [B], of the actions when they were taken
    values: Tensor  # float32 [B], of that moment
    advantages: Tensor  # float32 [B]


def advantages(rewards: np.ndarray, values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Schulman et al. (2016), eq. 16: rewards [T, N], values [T+1, N], ends [T, N] -> advantages [T, N]."""
    result = np.empty_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        alive = 1.0 - ends[t]
        error = rewards[t] + common.GAMMA * alive * values[t + 1] - values[t]
        result[t] = following = error + common.GAMMA * common.GAE_LAMBDA * alive * following
    return result


class Player:
    """Plays the games with the network and fills the buffers, which are allocated once."""

    def __init__(self, games: Any, num_envs: int, device: str = "cpu"):
        self.games, self.device = games, device
        shape = (common.STEPS, num_envs)
        self.observations = torch.empty((*shape, 4, 84, 84), dtype=torch.uint8, device=device)
        self.actions = torch.empty(shape, dtype=torch.int64, device=device)
        self.log_probs = torch.empty(shape, device=device)
        self.values = torch.empty((common.STEPS + 1, num_envs), device=device)
        self.rewards = np.empty(shape, dtype=np.float32)
        self.ends = np.empty(shape, dtype=np.float32)
        self.observation, _ = games.reset()

    @torch.no_grad()
    def play(self, network: ActorCritic) -> Rollout:
        """128 steps of every game."""
        for t in range(common.STEPS):
            self.observations[t] = torch.from_numpy(self.observation)
            log_probs, self.values[t] = network(self.observations[t])
            action = torch.multinomial(log_probs.exp(), 1)
            self.actions[t] = action.squeeze(1)
            self.log_probs[t] = log_probs.gather(1, action).squeeze(1)
            self.observation, self.rewards[t], terminated, truncated, _ = self.games.step(
                self.actions[t].cpu().numpy().astype(np.int32)
            )
            self.ends[t] = terminated | truncated
        _, self.values[-1] = network(torch.from_numpy(self.observation).to(self.device))
        estimates = advantages(self.rewards, self.values.cpu().numpy(), self.ends)
        return Rollout(
            observations=self.observations.flatten(0, 1),
            actions=self.actions.flatten(),
            log_probs=self.log_probs.flatten(),
            values=self.values[:-1].flatten(),
            advantages=torch.from_numpy(estimates).flatten().to(self.device),
        )


def loss(network: ActorCritic, batch: Rollout) -> tuple[Tensor, Tensor]:
    """PPO's loss on a minibatch; for the record [policy, value, entropy, approximate KL, clip fraction]."""
    all_log_probs, values = network(batch.observations)
    log_ratio = all_log_probs.gather(1, batch.actions[:, None]).squeeze(1) - batch.log_probs
    ratio = log_ratio.exp()
    normalised = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std(unbiased=False) + 1e-8)
    clipped_ratio = ratio.clamp(1 - common.CLIP_RANGE, 1 + common.CLIP_RANGE)
    policy_loss = -torch.minimum(normalised * ratio, normalised * clipped_ratio).mean()
    returns = batch.advantages + batch.values
    clipped_values = batch.values + (values - batch.values).clamp(-common.CLIP_RANGE, common.CLIP_RANGE)
    value_loss = 0.5 * torch.maximum((values - returns) ** 2, (clipped_values - returns) ** 2).mean()
    entropy = -(all_log_probs.exp() * all_log_probs).sum(1).mean()
    total = policy_loss + common.VALUE_COEFFICIENT * value_loss - common.ENTROPY_COEFFICIENT * entropy
    with torch.no_grad():
        divergence = 0.5 * (log_ratio**2).mean()
        clipped = ((ratio - 1).abs() > common.CLIP_RANGE).float().mean()
        record = torch.stack([policy_loss, value_loss, entropy, divergence, clipped])
    return total, record


def update(network: ActorCritic, optimiser: torch.optim.Optimizer, rollout: Rollout) -> Tensor:
    """4 epochs of 4 shuffled minibatches; the means of what `loss` records."""
    size = len(rollout.actions)
    records = []
    for _ in range(common.EPOCHS):
        for index in torch.randperm(size).split(size // common.MINIBATCHES):
            total, record = loss(network, Rollout(*(array[index] for array in rollout)))
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(network.parameters(), common.MAX_GRADIENT_NORM)
            optimiser.step()
            records.append(record)
    return torch.stack(records).mean(0)


def main() -> None:
    """Train for the updates asked for, time each and print the report."""
    arguments = common.parse_arguments(
        "A plain PyTorch PPO on EnvPool.", ("cnn", "cnn_sparse_fls"), channels_last_option=True
    )
    torch.manual_seed(arguments.seed)
    games = common.make_games(arguments)
    network = ActorCritic(
        int(games.action_space.n),
        attention=arguments.network == "cnn_sparse_fls",
        channels_last=arguments.channels_last,
    ).to(arguments.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=common.LEARNING_RATE, eps=common.ADAM_EPSILON)
    player = Player(games, arguments.num_envs, arguments.device)
    seconds: list[float] = []
    record = torch.zeros(5)
    for number in range(1, arguments.warmup_updates + arguments.updates + 1):
        start = time.perf_counter()
        optimiser.param_groups[0]["lr"] = common.learning_rate(number, arguments.num_envs)
        record = update(network, optimiser, player.play(network))
        seconds.append(time.perf_counter() - start)
        common.show_progress(number, arguments, seconds[-1])
    names = ("policy", "value", "entropy", "approx_kl", "clip_fraction")
    common.print_report(
        "pytorch channels_last" if arguments.channels_last else "pytorch",
        arguments,
        seconds,
        ["torch"],
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        losses=dict(zip(names, record.tolist(), strict=True)),
    )


if __name__ == "__main__":
    main()
