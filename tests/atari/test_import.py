"""What importing the pool loads of EnvPool."""

from __future__ import annotations

from tests.processes import run_python


def test_other_environments_of_envpool_are_loaded_only_when_asked_for():
    code = """
import sys, fls_jax.atari.pool as ours, envpool
assert set(envpool.list_all_envs()) == {f"{game}-v5" for game in ours.games()}
assert "matplotlib" not in sys.modules
assert "CartPole-v1" not in envpool.list_all_envs()
import envpool.entry
assert "CartPole-v1" in envpool.list_all_envs()
ours.AtariPool("Pong", num_envs=1, seed=0).reset()
"""
    run_python(["-c", code])
