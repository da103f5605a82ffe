"""Stable-Baselines3's PPO (PyTorch) on EnvPool, with its own CNN policy and the Atari hyper-parameters.

Its differences from Baselines' PPO2 do not change the amount of work: the value loss uses only the clipped
value, and advantages are divided by the sample standard deviation.

    .venv-peers/bin/python -m benchmarks.peers.sb3_ppo --updates 4
"""

from __future__ import annotations

from stable_baselines3 import PPO

from benchmarks.peers import common, stable_baselines

if __name__ == "__main__":
    stable_baselines.run(
        "stable-baselines3",
        PPO,
        ["torch", "stable-baselines3"],
        lambda policy: sum(parameter.numel() for parameter in policy.parameters()),
        clip_range_vf=common.CLIP_RANGE,
    )
