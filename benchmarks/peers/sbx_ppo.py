"""SBX's PPO (JAX, Stable-Baselines3's interface) on EnvPool, with its own CNN policy.

This is not the same work as the others: actor and critic are two networks, trained one after the other on
every minibatch with separate optimisers, and the convolutions are copied from one to the other (twice the
passes). The value loss is not clipped. It is therefore shown for information only.

    .venv-peers/bin/python -m benchmarks.peers.sbx_ppo --updates 4
"""

from __future__ import annotations

import jax
from sbx import PPO

from benchmarks.peers import stable_baselines

if __name__ == "__main__":
    stable_baselines.run(
        "sbx",
        PPO,
        ["jax", "flax", "sbx-rl"],
        lambda policy: sum(
            array.size for array in jax.tree.leaves((policy.actor_state.params, policy.vf_state.params))
        ),
        policy_kwargs={"ortho_init": True},
    )
