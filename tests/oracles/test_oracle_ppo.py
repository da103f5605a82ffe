"""The reference PPO is itself checked: against other definitions, SciPy and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from tests.oracles import ppo

T, N, ACTIONS, HIDDEN = 8, 4, 3, 5
SHAPE = (4, 4, 2)


def parameters(seed: int = 0) -> ppo.Parameters:
    rng = np.random.default_rng(seed)
    shapes = {
        "W1": (int(np.prod(SHAPE)), HIDDEN),
        "b1": (HIDDEN,),
        "Wp": (HIDDEN, ACTIONS),
        "bp": (ACTIONS,),
        "Wv": (HIDDEN, 1),
        "bv": (1,),
    }
    return {key: 0.5 * rng.standard_normal(shape) for key, shape in shapes.items()}


def trajectory(params: ppo.Parameters, seed: int = 1) -> ppo.Trajectory:
    """Random experience whose log probabilities and values are those of `params`."""
    rng = np.random.default_rng(seed)
    observations = rng.integers(0, 256, (T, N, *SHAPE), dtype=np.uint8)
    actions = rng.integers(0, ACTIONS, (T, N))
    _, logits, values = ppo.model(params, observations.reshape(T * N, *SHAPE))
    chosen = ppo.log_softmax(logits)[np.arange(T * N), actions.ravel()]
    ends = rng.random((T, N))
    return ppo.Trajectory(
        observations=observations,
        actions=actions,
        log_probabilities=chosen.reshape(T, N),
        values=values.reshape(T, N),
        rewards=rng.choice([-1.0, 0.0, 1.0], (T, N)),
        terminated=ends < 0.15,
        truncated=ends > 0.85,
        truncation_values=rng.standard_normal((T, N)),
        last_value=rng.standard_normal(N),
    )


def advantages_of(data: ppo.Trajectory, gamma: float = 0.99, lam: float = 0.95) -> np.ndarray:
    return ppo.advantages(
        data.rewards,
        data.values,
        data.terminated,
        data.truncated,
        data.truncation_values,
        data.last_value,
        gamma,
        lam,
    )


def minibatch(params: ppo.Parameters, size: int = 64, spread: float = 0.3) -> ppo.Minibatch:
    """Samples whose old policy and old values lie about `spread` away from those of `params`."""
    rng = np.random.default_rng(2)
    observations = rng.integers(0, 256, (size, *SHAPE), dtype=np.uint8)
    actions = rng.integers(0, ACTIONS, size)
    _, logits, values = ppo.model(params, observations)
    chosen = ppo.log_softmax(logits)[np.arange(size), actions]
    return ppo.Minibatch(
        observations=observations,
        actions=actions,
        log_probabilities=chosen + spread * rng.standard_normal(size),
        values=values + spread * rng.standard_normal(size),
        advantages=1.0 + 3.0 * rng.standard_normal(size),
        returns=values + rng.standard_normal(size),
    )


def permutations(seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(T * N) for _ in range(4)])


def test_advantages_are_the_weighted_mean_of_the_n_step_advantages():
    gamma, lam = 0.9, 0.7
    data = trajectory(parameters())
    assert data.terminated.any()
    assert data.truncated.any()
    result = advantages_of(data, gamma, lam)
    for n in range(N):
        for t in range(T):
            n_step, discounted = [], 0.0
            for k in range(t, T):
                discounted += gamma ** (k - t) * data.rewards[k, n]
                if data.terminated[k, n]:
                    n_step.append(discounted - data.values[t, n])
                    break
                if data.truncated[k, n] or k == T - 1:
                    value = data.truncation_values[k, n] if data.truncated[k, n] else data.last_value[n]
                    n_step.append(discounted + gamma ** (k - t + 1) * value - data.values[t, n])
                    break
                n_step.append(discounted + gamma ** (k - t + 1) * data.values[k + 1, n] - data.values[t, n])
            weights = [(1 - lam) * lam**i for i in range(len(n_step) - 1)] + [lam ** (len(n_step) - 1)]
            np.testing.assert_allclose(result[t, n], np.dot(weights, n_step), rtol=1e-12, atol=1e-12)


def test_advantages_of_a_short_game_worked_by_hand():
    def column(*numbers: float) -> np.ndarray:
        return np.array(numbers)[:, None]

    off = column(0, 0, 0, 0).astype(bool)
    third = column(0, 0, 1, 0).astype(bool)
    rewards, values = column(0, 1, 2, 4), column(1, 2, 3, 5)
    given = (column(9, 9, 8, 9), np.array([6.0]), 0.5, 0.5)
    # deltas: 0 + 1 - 1, 1 + 1.5 - 2, 2 + (next value) / 2 - 3 and 4 + 3 - 5, each step back discounted by 1/4
    expected = {
        "terminated": column(0.0625, 0.25, -1.0, 2.0),
        "truncated": column(0.3125, 1.25, 3.0, 2.0),
        "neither": column(0.25, 1.0, 2.0, 2.0),
    }
    result = {
        "terminated": ppo.advantages(rewards, values, third, off, *given),
        "truncated": ppo.advantages(rewards, values, off, third, *given),
        "neither": ppo.advantages(rewards, values, off, off, *given),
    }
    for case, numbers in expected.items():
        np.testing.assert_allclose(result[case], numbers, err_msg=case)
    np.testing.assert_array_equal(ppo.advantages(rewards, values, third, third, *given), result["terminated"])


@pytest.mark.parametrize(("spread", "value_scale"), [(0.0, 1.0), (0.3, 1.0), (0.02, 0.0)])
def test_gradients_agree_with_finite_differences(spread, value_scale):
    hyperparameters, params = ppo.Hyperparameters(), parameters()
    params |= {key: value_scale * params[key] + 0.003 for key in ("Wv", "bv")}
    batch = minibatch(params, spread=spread)
    metrics, gradients = ppo.loss_and_gradients(params, batch, hyperparameters)
    assert (metrics["clip_fraction"] > 0.2) == (spread > 0.1)
    if spread == 0.02:  # around 0 the clipped value differs by rounding though the clip does nothing
        values = ppo.model(params, batch.observations)[2]
        assert (batch.values + (values - batch.values) != values).any()
    step = 1e-6
    for key, array in params.items():
        numeric = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            losses = []
            for sign in (1.0, -1.0):
                moved = array.copy()
                moved[index] += sign * step
                losses.append(
                    ppo.loss_and_gradients(params | {key: moved}, batch, hyperparameters)[0]["loss"]
                )
            numeric[index] = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(gradients[key], numeric, rtol=1e-5, atol=1e-8, err_msg=key)
        assert np.abs(numeric).max() > 1e-3


def test_terms_of_the_loss_agree_with_a_sample_by_sample_computation():
    params = parameters()
    batch = minibatch(params)
    metrics, _ = ppo.loss_and_gradients(params, batch, ppo.Hyperparameters())
    _, logits, values = ppo.model(params, batch.observations)
    A = scipy.stats.zscore(batch.advantages, ddof=0)
    policy, value, entropy, kl, clipped = [], [], [], [], []
    for i, action in enumerate(batch.actions):
        p = np.exp(logits[i]) / np.exp(logits[i]).sum()
        ratio = p[action] / np.exp(batch.log_probabilities[i])
        bound = 1.1 if A[i] > 0 else 0.9  # the objective stops growing here
        stops = ratio > bound if A[i] > 0 else ratio < bound
        policy.append(-A[i] * (bound if stops else ratio))
        low, high = batch.values[i] - 0.1, batch.values[i] + 0.1
        near = min(max(values[i], low), high)
        value.append(0.5 * max((values[i] - batch.returns[i]) ** 2, (near - batch.returns[i]) ** 2))
        entropy.append(scipy.stats.entropy(p))
        kl.append(0.5 * np.log(ratio) ** 2)
        clipped.append(not 0.9 <= ratio <= 1.1)
    expected = {
        "policy_loss": np.mean(policy),
        "value_loss": np.mean(value),
        "entropy": np.mean(entropy),
        "approx_kl": np.mean(kl),
        "clip_fraction": np.mean(clipped),
    }
    expected["loss"] = expected["policy_loss"] + 0.5 * expected["value_loss"] - 0.01 * expected["entropy"]
    assert metrics.keys() == expected.keys()
    for key, number in expected.items():
        assert metrics[key] == pytest.approx(number, rel=1e-6), key  # 1e-8 beside the standard deviation


def test_global_norm_is_cut_to_the_maximum_and_small_gradients_are_left_alone():
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    clipped, norm = ppo.clip_by_global_norm(gradients, 0.5)
    assert norm == 5.0
    np.testing.assert_allclose(clipped["a"], [0.3, 0.0])
    np.testing.assert_allclose(clipped["b"], [[0.4]])
    for key, array in ppo.clip_by_global_norm(gradients, 6.0)[0].items():
        np.testing.assert_array_equal(array, gradients[key])
    assert ppo.clip_by_global_norm({"a": np.zeros(2)}, 0.5)[1] == 0.0


def test_adam_is_the_textbook_one_with_its_epsilon_divided_by_the_root_of_the_second_correction():
    hyperparameters = ppo.Hyperparameters()
    rng = np.random.default_rng(4)
    gradients = 1e-4 * rng.standard_normal((20, 3))  # small, so that epsilon weighs
    params = {"w": rng.standard_normal(3)}
    state = ppo.initial_adam_state(params)
    for t in range(1, 21):
        before = params["w"]
        params, state = ppo.adam(params, {"w": gradients[t - 1]}, state, hyperparameters)
        m = 0.1 * sum(0.9 ** (t - i) * gradients[i - 1] for i in range(1, t + 1)) / (1 - 0.9**t)
        v = 0.001 * sum(0.999 ** (t - i) * gradients[i - 1] ** 2 for i in range(1, t + 1)) / (1 - 0.999**t)
        change = -2.5e-4 * m / (np.sqrt(v) + 1e-5 / np.sqrt(1 - 0.999**t))
        np.testing.assert_allclose(params["w"] - before, change, rtol=1e-6)
    assert state.step == 20


def test_learning_rate_falls_linearly_by_update_and_is_zero_one_after_the_last():
    updates = 50_000_000 // 1024
    assert ppo.learning_rate(1, 50_000_000) == 2.5e-4
    assert ppo.learning_rate(updates, 50_000_000) == pytest.approx(2.5e-4 / updates)
    assert ppo.learning_rate(3, 4 * 1024 + 1000) == pytest.approx(1.25e-4)
    for number in (0, updates + 1):
        with pytest.raises(ValueError, match=f"1 to {updates}"):
            ppo.learning_rate(number, 50_000_000)


def test_update_visits_time_major_samples_in_the_order_of_the_permutations():
    params = parameters()
    data, orders = trajectory(params), permutations()
    frozen = replace(ppo.Hyperparameters(), learning_rate=0.0)
    after, state, metrics = ppo.update(params, ppo.initial_adam_state(params), data, orders, frozen)
    assert all((after[key] == params[key]).all() for key in params)
    assert state.step == len(metrics) == 16
    A = advantages_of(data)
    for number, terms in enumerate(metrics):
        samples = orders[number // 4][8 * (number % 4) : 8 * (number % 4) + 8]
        # The policy has not moved: the value's error is the advantage itself, and nothing is clipped.
        errors = [A[divmod(int(sample), N)] for sample in samples]
        assert terms["value_loss"] == pytest.approx(0.5 * np.mean(np.square(errors)), rel=1e-12)
        assert terms["policy_loss"] == pytest.approx(0.0, abs=1e-12)
        assert terms["approx_kl"] == pytest.approx(0.0, abs=1e-20)
        assert terms["clip_fraction"] == 0.0


def test_update_is_sixteen_steps_of_clipped_adam_and_depends_on_the_split_alone():
    params, rng = parameters(), np.random.default_rng(5)
    data, orders, hyperparameters = trajectory(params), permutations(), ppo.Hyperparameters()
    start = ppo.initial_adam_state(params)
    after, state, metrics = ppo.update(params, start, data, orders, hyperparameters)
    assert len({terms["loss"] for terms in metrics}) == 16
    assert any(terms["gradient_norm"] > 0.5 for terms in metrics)
    first_moment = np.sqrt(sum(np.sum(m**2) for m in state.first_moment.values()))
    assert 0 < first_moment <= 0.5 * (1 - 0.9**16) + 1e-12  # a mean of gradients of norm 0.5 at most

    reordered = np.stack([np.concatenate([rng.permutation(part) for part in np.split(o, 4)]) for o in orders])
    again, _, _ = ppo.update(params, start, data, reordered, hyperparameters)
    other, _, _ = ppo.update(params, start, data, permutations(seed=6), hyperparameters)
    for key in params:
        np.testing.assert_allclose(again[key], after[key], rtol=1e-9)
    assert max(np.abs(other[key] - after[key]).max() for key in params) > 1e-6


def test_updates_learn_to_take_the_rewarded_action():
    params = parameters()
    state, hyperparameters = ppo.initial_adam_state(params), ppo.Hyperparameters(learning_rate=1e-2)
    for seed in range(20):
        data = trajectory(params, seed)
        data = replace(data, rewards=(data.actions == 1).astype(float), terminated=np.ones((T, N), bool))
        params, state, _ = ppo.update(params, state, data, permutations(seed), hyperparameters)
    _, logits, _ = ppo.model(params, trajectory(params).observations.reshape(T * N, *SHAPE))
    assert np.exp(ppo.log_softmax(logits))[:, 1].mean() > 0.9


def test_permutations_that_do_not_fit_are_refused():
    params = parameters()
    with pytest.raises(ValueError, match="permutations"):
        ppo.update(
            params,
            ppo.initial_adam_state(params),
            trajectory(params),
            permutations()[:3],
            ppo.Hyperparameters(),
        )
