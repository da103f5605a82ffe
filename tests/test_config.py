"""The configuration: the paper's defaults, what is refused and how it is said, and JSON."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fls_jax.config import PRESETS, TrainConfig
from fls_jax.errors import UserError

CONFIG = TrainConfig()


def test_defaults_are_the_papers():
    assert PRESETS["paper"] == CONFIG
    wanted = {
        "total_steps": 50_000_000,
        "num_envs": 8,
        "rollout_length": 128,
        "epochs": 4,
        "minibatches": 4,
        "learning_rate": 2.5e-4,
        "adam_epsilon": 1e-5,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_range": 0.1,
        "value_coefficient": 0.5,
        "entropy_coefficient": 0.01,
        "max_grad_norm": 0.5,
        "sticky_actions": 0.0,
        "max_episode_steps": 27_000,
        "overlap": False,
        "compute_dtype": "float32",
        "matmul_precision": "highest",
    }
    assert {name: getattr(CONFIG, name) for name in wanted} == wanted
    assert (CONFIG.steps_per_update, CONFIG.minibatch_size, CONFIG.num_updates) == (1024, 256, 48_828)


def test_smoke_is_the_paper_but_short():
    smoke = PRESETS["smoke"].validated()
    assert smoke.total_steps < 50_000
    assert [line.split(":")[0] for line in CONFIG.differences(smoke)] == ["total_steps"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, ["--seed", "-1", "at least 0"]),
        ({"seed": 2**31}, ["--seed", "2147483648", "smaller"]),
        ({"seed": 2**31 - 1}, ["--seed", "2147483647", "smaller"]),
        ({"num_envs": 0}, ["--num-envs", "0", "between 1 and 65,536"]),
        ({"num_envs": 10**9}, ["--num-envs", "1000000000"]),
        ({"rollout_length": 0}, ["--rollout-length", "0", "at least 1"]),
        ({"epochs": 0}, ["--epochs", "0", "at least 1"]),
        ({"minibatches": 0}, ["--minibatches", "0", "at least 1"]),
        ({"minibatches": 3}, ["1024", "3 equal", "--minibatches"]),
        ({"minibatches": 2048}, ["1024", "2048 equal"]),
        ({"minibatches": 1024}, ["--minibatches", "1024", "one sample", "nothing would be learnt"]),
        ({"num_envs": 2, "rollout_length": 4, "minibatches": 8}, ["--minibatches", "one sample"]),
        ({"learning_rate": -1.0}, ["--learning-rate", "-1.0", "at least 0"]),
        ({"learning_rate": float("nan")}, ["--learning-rate", "nan", "finite"]),
        ({"learning_rate": float("inf")}, ["--learning-rate", "inf", "finite"]),
        ({"entropy_coefficient": float("nan")}, ["--entropy-coefficient", "nan"]),
        ({"gamma": 1.01}, ["--gamma", "1.01", "between 0 and 1"]),
        ({"gae_lambda": -0.1}, ["--gae-lambda", "-0.1", "between 0 and 1"]),
        ({"sticky_actions": float("nan")}, ["--sticky-actions", "nan", "between 0 and 1"]),
        ({"max_episode_steps": 2**31}, ["--max-episode-steps", "2,147,483,647"]),
        ({"total_steps": 1023}, ["--total-steps", "1023", "1024"]),
        ({"total_steps": -5}, ["--total-steps", "-5", "1024"]),
        ({"microbatch": 100}, ["--microbatch", "100", "256", "divisor"]),
        ({"checkpoint_every": 0}, ["--checkpoint-every", "0", "at least 1"]),
        ({"keep_checkpoints": 0}, ["--keep-checkpoints", "0"]),
        ({"env_threads": -1}, ["--env-threads", "-1"]),
        ({"env_groups": -1}, ["--env-groups", "-1"]),
        ({"env_groups": 3}, ["--env-groups", "3", "8 environments", "divisor"]),
        ({"devices": -2}, ["--devices", "-2"]),
    ],
)
def test_a_value_that_cannot_work_is_named(changes, words):
    with pytest.raises(UserError) as caught:
        dataclasses.replace(CONFIG, **changes).validated()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 0, "microbatch": 64, "num_envs": 16},
        {"gamma": 1.0, "gae_lambda": 0.0, "sticky_actions": 1.0},
        {"total_steps": 1024},
        {"seed": 2**31 - 8},
        {"learning_rate": 0.0, "max_episode_steps": 2**31 - 1},
    ],
)
def test_limits_themselves_work(changes):
    config = dataclasses.replace(CONFIG, **changes)
    assert config.validated() is config


def test_every_number_is_checked():
    for field in dataclasses.fields(CONFIG):
        if type(field.default) in (int, float):
            with pytest.raises(UserError, match=f"--{field.name.replace('_', '-')} is -7"):
                dataclasses.replace(CONFIG, **{field.name: type(field.default)(-7)}).validated()


def _values(field: dataclasses.Field) -> st.SearchStrategy:
    options = {
        "int": st.integers(0, 10**12),
        "float": st.floats(allow_nan=False),
        "bool": st.booleans(),
        "str": st.text(max_size=20),
    }
    choices = typing.get_args(typing.get_type_hints(TrainConfig)[field.name])
    return st.sampled_from(choices) if choices else options[str(field.type)]


@given(st.builds(TrainConfig, **{field.name: _values(field) for field in dataclasses.fields(TrainConfig)}))
def test_json_round_trip(config):
    text = json.dumps(config.to_json())
    assert TrainConfig.from_json(json.loads(text)) == config


def test_throughput_is_said_to_be_another_algorithm():
    fast = PRESETS["throughput"].validated()
    assert (fast.num_envs, fast.overlap, fast.compute_dtype) == (128, True, "bfloat16")
    assert fast.minibatch_size == 4 * CONFIG.minibatch_size
    assert fast.learning_rate == CONFIG.learning_rate * 4**0.5
    changed = {line.split(":")[0] for line in CONFIG.differences(fast)}
    assert changed == {
        "num_envs", "rollout_length", "learning_rate", "overlap", "compute_dtype", "matmul_precision",
    }  # fmt: skip


def test_runs_from_before_the_precision_was_recorded_keep_the_devices_own():
    values = CONFIG.to_json()
    del values["matmul_precision"]
    assert TrainConfig.from_json(values).matmul_precision == "default"


def test_json_of_another_version_is_read():
    values = CONFIG.to_json() | {"seed": 7, "something_new": {"a": 1}}
    del values["overlap"]
    assert TrainConfig.from_json(values) == dataclasses.replace(CONFIG, seed=7)
    assert TrainConfig.from_json({"learning_rate": 1}).learning_rate == 1.0


def test_runs_from_before_environments_had_seeds_of_their_own_keep_theirs():
    old = CONFIG.to_json() | {"seed": 7}
    del old["environment_seeds"], old["attention_cost"]
    read = TrainConfig.from_json(old)
    assert read == dataclasses.replace(CONFIG, seed=7, environment_seeds="consecutive")
    asked = dataclasses.replace(CONFIG, seed=7)
    assert read.differences(asked) == ["environment_seeds: consecutive -> spread"]
    assert read.differences(asked.going_on(old)) == []
    assert asked.going_on(asked.to_json()) == asked


def test_a_variant_is_the_network_and_what_attention_costs():
    assert CONFIG.variant == "cnn_sparse_fls"
    assert dataclasses.replace(CONFIG, attention_cost=0.01).variant == "cnn_sparse_fls-cost0.01"
    assert dataclasses.replace(CONFIG, attention_cost=1e-3).variant == "cnn_sparse_fls-cost0.001"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("seed", "1", "of type int"),
        ("seed", 1.5, "of type int"),
        ("seed", True, "of type int"),
        ("seed", None, "of type int"),
        ("learning_rate", "fast", "of type float"),
        ("learning_rate", True, "of type float"),
        ("overlap", 1, "of type bool"),
        ("game", ["Pong"], "of type str"),
        ("compute_dtype", "float16", "one of float32, bfloat16"),
        ("compute_dtype", {"a": 1}, "one of float32, bfloat16"),
    ],
)
def test_wrong_types_in_json_are_named(name, value, wanted):
    with pytest.raises(UserError) as caught:
        TrainConfig.from_json(CONFIG.to_json() | {name: value}, "runs/a/config.json")
    message = str(caught.value)
    assert message.startswith(f"runs/a/config.json: {name} is {value!r}; it must be {wanted}")


def test_differences_name_what_changes_the_result_only():
    other = dataclasses.replace(
        CONFIG,
        game="Breakout",
        learning_rate=1e-3,
        checkpoint_every=1,
        keep_every=5,
        env_threads=2,
        env_groups=4,
        devices=3,
    )
    assert CONFIG.differences(other) == ["game: Pong -> Breakout", "learning_rate: 0.00025 -> 0.001"]
    assert CONFIG.differences(CONFIG) == []
