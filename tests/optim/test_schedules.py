"""Schedules: their formulas, and that training follows them."""

import math

import numpy as np
import pytest
from helpers import problem, weights_of
from hypothesis import given
from hypothesis import strategies as st

import xbackprop
from xbackprop.optim.optimizers import SGD
from xbackprop.optim.schedules import END, RISE, SCHEDULES, START, TrainingTime, make_schedule
from xbackprop.training.plan import Plan


def factor(name, epoch, epochs=20, samples=0):
    return make_schedule(name, 0.5, 4, 0.1)(TrainingTime(epoch, epochs, samples))


@pytest.mark.parametrize(
    ("name", "epoch", "expected"),
    [
        ("constant", 7.5, 1.0), ("adaptive", 7.5, 1.0),
        ("step", 3.9, 1.0), ("step", 4.0, 0.1), ("step", 19.0, 1e-4),
        ("cosine", 0.0, 1.0), ("cosine", 10.0, 0.5), ("cosine", 20.0, 0.0), ("cosine", 5.0, 0.5 * (1 + math.sqrt(0.5))),
        ("one_cycle", 0.0, START), ("one_cycle", RISE * 20, 1.0), ("one_cycle", 20.0, END),
        ("one_cycle", RISE * 10, (START + 1) / 2), ("one_cycle", 20 * (1 + RISE) / 2, (1 + END) / 2),
    ],
)  # fmt: skip
def test_formulas(name, epoch, expected):
    assert factor(name, epoch) == pytest.approx(expected, abs=1e-15)


def test_invscaling_counts_samples():
    assert factor("invscaling", 3, samples=99) == pytest.approx(0.1)


@given(st.sampled_from(SCHEDULES), st.floats(0, 20), st.integers(0, 10**9))
def test_a_factor_is_in_0_to_1(name, epoch, samples):
    assert 0 <= factor(name, epoch, samples=samples) <= 1


def test_a_users_own_and_a_warm_up():
    halving = make_schedule(lambda epoch, epochs: 0.5**epoch, 0.5, 1, 0.1)
    plan = Plan(SGD(0.0), 2.0, schedule=halving, warmup=2.0)
    rates = [plan.rate(TrainingTime(k / 4, 10, 0), 1.0, 4) for k in range(12)]
    warm = [min(1, (k + 1) / 8) for k in range(12)]
    np.testing.assert_allclose(rates, [2.0 * 0.5 ** (k / 4) * w for k, w in enumerate(warm)], rtol=1e-15)


@pytest.mark.parametrize("name", ["step", "cosine", "one_cycle", "invscaling"])
def test_training_takes_the_rate_of_each_step(backend, name):
    """Plain SGD by hand, with the rate that the formula has at every step."""
    X, y = problem("regression", n=10)
    how = {"task": "regression", "solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 4, "alpha": 0.0}
    net = xbackprop.MLP(
        (5,), "tanh", learning_rate=name, learning_rate_init=0.1, step_epochs=1, warmup=0.5, max_iter=3, random_state=0,
        tol=0.0, backend=backend, **how,
    )  # fmt: skip
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X, y)
    by_hand = xbackprop.MLP((5,), "tanh", random_state=0, **how).initialize(X, y)
    schedule = make_schedule(name, 0.5, 1, 0.1)
    for epoch in range(3):
        for i, rows in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
            at = epoch + i / 3
            rate = 0.1 * schedule(TrainingTime(at, 3, 10 * epoch)) * min(1.0, (at + 1 / 3) / 0.5)
            _, dW, db = by_hand.loss_and_gradient(X[rows], y[rows])
            for parameter, slope in zip((*by_hand.coefs_, *by_hand.intercepts_), (*dW, *db), strict=True):
                parameter -= rate * slope
    for ours, expected in zip(weights_of(net), weights_of(by_hand), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-13)
