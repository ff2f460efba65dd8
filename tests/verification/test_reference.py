"""The forward pass, and with it everything, against 50 digits and more: C(θ) as a textbook has it, in mpmath."""

import functools
import itertools
import math
import sys
from dataclasses import replace

import array_api_compat.numpy
import numpy as np
import pytest
from helpers import least, make_objective, one_hot, problem, random_theta
from hypothesis import given
from hypothesis import strategies as st

from xbackprop import ACTIVATIONS, BackendError
from xbackprop.arrays.discovery import backend_class
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.backprop import affine
from xbackprop.nn.losses import LOSSES, cross_entropy
from xbackprop.nn.objective import make_batch
from xbackprop.verification.methods.oracle import relative_difference
from xbackprop.verification.methods.reference import reference_cost, reference_gradient

mp = pytest.importorskip("mpmath", reason="mpmath is the reference").mp

EPS, TINY = 2.0**-52, 2.0**-1022  # of float64; below TINY numbers are `least` apart
ALPHA = 0.7
WEIGHT = np.array([0.5, 2.0, 1.25, 0.7])
LIPSCHITZ = 1.13  # no activation is steeper: gelu's slope reaches 1.129, silu's 1.0999
SHAPES = [(3, 3), (3, 5, 3), (3, 5, 4, 3)]

HARD = [s * v for v in (0.0, 1e-300, 30.0, 37.43, 710.0, 745.0, 1e4) for s in (1, -1)][1:]
#: Enough that log(1 + exp(-745)) keeps its digits, and that no difference reaches across a kink 1e-300 away.
DIGITS = 1000
KINKED = ("relu", "leaky_relu", "elu", "selu")

every_loss = pytest.mark.parametrize("task", TASKS)
every_shape = pytest.mark.parametrize("sizes", SHAPES, ids=["no hidden layer", "1 hidden layer", "2 hidden layers"])
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def cut(sizes, theta):
    """The layers of θ, on the host."""
    return make_objective(backend_class("numpy")(), sizes).layout.layers(array_api_compat.numpy, theta)


def case(sizes, task):
    """θ, X and y of a small network, y one-hot for classes."""
    X, y = problem(task, n=len(WEIGHT), features=sizes[0], outputs=sizes[-1], seed=len(sizes))
    theta = random_theta(make_objective(backend_class("numpy")(), sizes), seed=len(sizes))
    return theta, X, one_hot(y, sizes[-1]) if task == "classification" else y


@functools.cache
def truth(sizes, activation, task):
    """C and its gradient, of that network with a penalty and weights."""
    theta, X, y = case(sizes, task)
    total = WEIGHT.sum()
    share = (WEIGHT / total)[:, None]
    return reference_gradient(
        cut(sizes, theta), [activation] * (len(sizes) - 2), TASKS[task], X, y, share, ALPHA / total
    )


def evaluate(backend, sizes, theta, X, y, activation="tanh", task="classification", alpha=0.0, weight=None):
    """C, the gradient cut into layers, and the forward pass, computed by the backend and brought to the host."""
    objective = make_objective(backend, sizes, activation, task, alpha)
    theta, X, y = (backend.asarray(np.asarray(a), "float64") for a in (theta, X, y))
    batch = make_batch(backend, X, y, None if weight is None else backend.asarray(weight))
    cost, gradient = objective.value_and_gradient(theta, batch)
    value = objective.value(theta, batch)
    assert float(backend.to_host(value)) == float(backend.to_host(cost))
    cache = objective.forward(theta, X)
    z, h = ([backend.to_host(a) for a in arrays] for arrays in (cache.z, cache.h))
    return float(backend.to_host(cost)), cut(sizes, np.array(backend.to_host(gradient))), (z, h)


def rounding_bound(layers, z, h, task, y, share, penalty):
    """How far rounding may take C: every operation's own error, carried to the cost, to first order.

    A sum of m products, in any order, is off by (m+1)u times the sum of their sizes, u = EPS/2. An activation is off
    by a few roundings of 1 + |z| and passes on what came in by at most its steepest slope. ∂C/∂z has a 1-norm of at
    most 2 for cross-entropy, and is 2(z - y) for the squared error. Everything is counted twice, by EPS in place of u.
    """
    error = np.zeros_like(h[0])
    for l, (W, b) in enumerate(layers):
        error = error @ np.abs(W) + (len(W) + 1) * EPS * (np.abs(h[l]) @ np.abs(W) + np.abs(b))
        logit_error = error
        error = LIPSCHITZ * error + 2 * EPS * (1 + np.abs(z[l]))
    n, K = y.shape
    if task == "classification":
        own = (K + n + 4) * EPS * (1 + np.ptp(z[-1], axis=1) + math.log(K))
        cost = share[:, 0] @ (2 * logit_error.max(axis=1) + own)
    else:
        residual = np.abs(z[-1] - y)
        cost = share[:, 0] @ np.sum(2 * residual * logit_error + (K + n + 4) * EPS * residual**2, axis=1)
    return float(cost + (6 + sum(W.size for W, _ in layers)) * EPS * penalty)


@every_activation
@every_loss
@every_shape
def test_the_cost_is_the_textbooks_to_rounding(backend, sizes, task, activation):
    theta, X, y = case(sizes, task)
    cost, _, (z, h) = evaluate(backend, sizes, theta, X, y, activation, task, ALPHA, WEIGHT)
    true, _ = truth(sizes, activation, task)
    layers, share = cut(sizes, theta), (WEIGHT / WEIGHT.sum())[:, None]
    penalty = ALPHA / WEIGHT.sum() / 2 * sum(np.sum(W**2) for W, _ in layers)
    bound = rounding_bound(layers, z, h, task, y, share, penalty)
    assert bound < 1e-13 * float(true)  # a bound so wide that it says nothing would be none
    assert abs(cost - true) <= bound


@every_loss
def test_without_penalty_and_weights_the_cost_is_the_plain_mean(backend, task):
    sizes = (3, 5, 3)
    theta, X, y = case(sizes, task)
    cost, _, (z, h) = evaluate(backend, sizes, theta, X, y, "tanh", task)
    layers = cut(sizes, theta)
    costs = [reference_cost(layers, ["tanh"], TASKS[task], X[i : i + 1], y[i : i + 1], 1.0) for i in range(len(X))]
    bound = rounding_bound(layers, z, h, task, y, np.full((len(X), 1), 1 / len(X)), 0.0)
    assert abs(cost - mp.fsum(costs) / len(X)) <= bound


@every_activation
@every_loss
@every_shape
def test_the_gradient_is_the_references(backend, sizes, task, activation):
    theta, X, y = case(sizes, task)
    _, gradient, _ = evaluate(backend, sizes, theta, X, y, activation, task, ALPHA, WEIGHT)
    _, true = truth(sizes, activation, task)
    for ours, theirs in zip(gradient, true, strict=True):
        assert max(relative_difference(a, b) for a, b in zip(ours, theirs, strict=True)) <= 1e-14


# Hard logits: W = 0 and b = (a, b), so that z is exactly what is written; x = 1, so that ∂C/∂W = ∂C/∂b = δ.

PAIRS = list(itertools.product(HARD, HARD))
ONE, FIRST = np.ones((1, 1)), np.array([[1.0, 0.0]])  # the right class is the first one


@functools.cache
def hard_truth(task):
    networks = [[(np.zeros((1, 2)), np.array([z]))] for z in PAIRS]
    return [reference_gradient(layers, [], TASKS[task], ONE, FIRST, 1.0, digits=DIGITS) for layers in networks]


def hard_errors(backend, task, quantity, allowed):
    """Where |ours - true| exceeds `allowed(z, |true|)`; the quantity is C, or the δ of the right or the wrong class."""
    missed = []
    for z, (true_cost, [(true_W, true_b)]) in zip(PAIRS, hard_truth(task), strict=True):
        cost, [(dW, db)], _ = evaluate(backend, (1, 2), [0.0, 0.0, *z], ONE, FIRST, task=task)
        choice = ["cost", "right class", "wrong class"].index(quantity)
        for delta, true_delta in ((dW, true_W), (db, true_b)):
            ours, true = float((cost, *delta[0])[choice]), (true_cost, *true_delta[0])[choice]
            with mp.workdps(DIGITS):
                if not abs(ours - true) <= allowed(z, abs(true)):
                    missed.append((z, ours, float(true)))
    return missed


def digits_of_softmax(z, size):
    """exp(z - max z) takes the rounding of its argument, |z - max z| u, into its digits; the rest is a few roundings.

    Below TINY, float64 itself has fewer digits.
    """
    return (4 + abs(z[0] - z[1])) * EPS * max(size, TINY)


def test_the_slope_of_a_wrong_class_keeps_its_digits_down_to_the_smallest_number(backend):
    """δ = softmax(z), tiny as it may be: p = exp(-708) = 3e-308 is right to 13 digits."""
    assert not hard_errors(
        backend, "classification", "wrong class", lambda z, size: digits_of_softmax(z, size) + least(backend)
    )


def test_the_right_class_and_the_cost_are_right_to_rounding_of_the_logits(backend):
    """δ = softmax(z) - 1 to that of 1, and C, which is a difference of logits, to that of the difference."""
    assert not hard_errors(backend, "classification", "right class", lambda z, size: 4 * EPS)
    assert not hard_errors(backend, "classification", "cost", lambda z, size: 2 * EPS * max(1.0, abs(z[0] - z[1])))


@pytest.mark.xfail(strict=True, reason="h - y cancels: at z = (30, 0), δ is -9.348e-14 and not -9.358e-14")
def test_the_slope_of_the_right_class_keeps_its_digits(backend):
    """δ = softmax(z) - 1 = -Σ of the other classes' softmax."""
    assert not hard_errors(backend, "classification", "right class", digits_of_softmax)


@pytest.mark.xfail(strict=True, reason="log Σ exp cancels: at z = (37.43, 0), C is 0 and not 5.55e-17")
def test_the_cost_of_a_certain_right_answer_keeps_its_digits(backend):
    """C = log(1 + exp(b - a)), which is exp(b - a) where a is far above b."""
    assert not hard_errors(backend, "classification", "cost", digits_of_softmax)


@pytest.mark.parametrize("quantity", ["cost", "right class", "wrong class"])
def test_the_squared_error_keeps_its_digits(backend, quantity):
    """One subtraction of exact numbers, a square and a sum of positive terms."""
    assert not hard_errors(backend, "regression", quantity, lambda z, size: 4 * EPS * max(size, TINY))


# One hidden unit at exactly z, and an output of f(z) + 3: its δ = 2(f(z) + 3) stays away from zero, ∂C/∂W_2 = δ f(z)
# and ∂C/∂b_1 = ∂C/∂W_1 = δ f′(z).


@functools.cache
def unit_truth(activation, z):
    layers = [(np.zeros((1, 1)), np.full((1, 1), z)), (ONE, 3 * ONE)]
    return reference_gradient(layers, [activation], "mean_squared_error", ONE, 0 * ONE, 1.0, digits=DIGITS)


def unit_errors(backend, activation, points, allowed):
    """Where some gradient is further from the truth than `allowed(z, true)`, and where there is no truth."""
    missed, undecided = [], set()
    for z in points:
        _, ours, _ = evaluate(backend, (1, 1, 1), [0.0, 1.0, z, 3.0], ONE, 0 * ONE, activation, "regression")
        true_cost, true = unit_truth(activation, z)
        for name, a, b in zip(("W1", "b1", "W2", "b2"), itertools.chain(*ours), itertools.chain(*true), strict=True):
            if np.isnan(b).any():
                undecided.add((name, z))
            elif not abs(a.item() - b.item()) <= allowed(z, abs(b.item())):
                missed.append((name, z, a.item(), b.item()))
    return missed, undecided


def digits_of_unit(backend):
    """A few roundings; and where exp(z) has been rounded to a multiple of the least, silu and gelu multiply it by z."""
    return lambda z, size: 8 * EPS * size + 8 * least(backend) * (1 + abs(z))


CANCELS = pytest.mark.xfail(strict=True, reason="½ + ½ erf cancels: gelu(-30) is 0, not -1.5e-196; f′ is off by 0.1%")


@pytest.mark.parametrize(
    ("activation", "points"),
    [
        pytest.param(name, points, marks=CANCELS if (name, side) == ("gelu", "left") else (), id=f"{name}-{side}")
        for name in ACTIVATIONS
        for side, points in (("left", [z for z in HARD if z < -1]), ("right", [z for z in HARD if z >= -1]))
    ],
)
def test_a_hidden_unit_keeps_its_digits(backend, activation, points):
    """f and f′ are right in all their digits, however flat the function, down to the smallest number."""
    missed, undecided = unit_errors(backend, activation, points, digits_of_unit(backend))
    assert not missed
    assert undecided == ({("W1", 0.0), ("b1", 0.0)} if activation in KINKED and 0.0 in points else set())


@every_activation
def test_a_hidden_unit_is_right_to_rounding_of_z(backend, activation):
    missed, _ = unit_errors(backend, activation, HARD, lambda z, size: 8 * EPS * max(size, 1 + abs(z)))
    assert not missed


# What no check of derivatives can see.


def doubled(xp, z, y, share):
    cost, delta = cross_entropy(xp, z, y, share)
    return 2.0 * cost, 2.0 * delta


def inflated(activation, factor):
    """f and f′, both too large: they belong together."""
    return replace(
        activation, f=lambda xp, z: factor * activation.f(xp, z), df=lambda xp, z, h: factor * activation.df(xp, z, h)
    )


def offset(backend):
    """z = hW + b + 1e-6 in every layer, whose derivatives are those of z = hW + b."""
    backend.overrides = {**backend.overrides, affine: lambda xp, h, W, b, out=None: h @ W + b + 1e-6}
    return backend


FAULTS = {
    "an activation that is not quite tanh": lambda: {"hidden": [inflated(ACTIVATIONS["tanh"], 1.0000001)]},
    "a loss twice as large": lambda: {"loss": replace(LOSSES["cross_entropy"], value_and_delta=doubled)},
    "an offset in every layer": lambda: {"backend": offset(backend_class("numpy")())},
}


def differences_and_reference(**fault):
    """How far the gradient is from differences of C, and C from the reference, relatively."""
    sizes, task = (3, 5, 3), "classification"
    theta, X, y = case(sizes, task)
    objective = replace(make_objective(backend_class("numpy")(), sizes, "tanh", task, ALPHA), **fault)
    batch = make_batch(objective.backend, X, y)
    cost, gradient = objective.value_and_gradient(theta, batch)
    steps = 1e-5 * np.eye(len(theta))
    slopes = [(objective.value(theta + e, batch) - objective.value(theta - e, batch)) / 2e-5 for e in steps]
    true = float(reference_cost(cut(sizes, theta), ["tanh"], TASKS[task], X, y, 0.25, ALPHA / 4))
    return relative_difference(gradient, np.array(slopes)), abs(float(cost) - true) / true


def test_the_reference_sees_what_differences_let_through():
    by_differences, by_reference = differences_and_reference()
    assert by_differences < 1e-7
    assert by_reference < 1e-14
    for name, fault in FAULTS.items():
        by_differences, by_reference = differences_and_reference(**fault())
        assert by_differences < 1e-7, name
        assert by_reference > 1e-10, name


# The reference itself.


def test_what_can_be_done_by_hand():
    """Two inputs, logits (0, log 2) but for the rounding of log 2, weights of 1/4 and 3/4, and a penalty."""
    logit = math.log(2.0)
    layers = [(np.array([[0.0, logit], [0.0, 0.0]]), np.zeros(2))]
    X, y, share = np.array([[1.0, 5.0], [0.0, 5.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.25], [0.75]])
    cost = reference_cost(layers, [], "cross_entropy", X, y, share, 8.0)
    with mp.workdps(50):
        exact = mp.log(1 + mp.exp(logit)) / 4 + 3 * mp.log(2) / 4 + 4 * mp.mpf(logit) ** 2
        assert abs(cost - exact) < mp.mpf(10) ** -48
    squared = reference_cost(layers, [], "mean_squared_error", X, y, share)
    with mp.workdps(50):
        assert abs(squared - ((1 + mp.mpf(logit) ** 2) / 4 + mp.mpf(3) / 4)) < mp.mpf(10) ** -48


logits = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=4)


@given(logits, st.integers(-1000, 1000))
def test_a_constant_added_to_all_logits_changes_no_cost(z, shift):
    y = one_hot(np.array([0]), len(z))

    def cost(bias):  # the logits are x W + b = z + bias, with x = 1
        return reference_cost([(np.array([z]), np.full(len(z), bias))], [], "cross_entropy", ONE, y, 1.0)

    with mp.workdps(50):
        assert abs(cost(shift) - cost(0)) < mp.mpf(10) ** -44


@given(logits)
def test_any_logits_give_the_references_cost_to_rounding(z):
    K, y = len(z), one_hot(np.array([0]), len(z))
    cost, _, _ = evaluate(backend_class("numpy")(), (1, K), [0.0] * K + z, ONE, y)
    true = reference_cost([(np.zeros((1, K)), np.array(z))], [], "cross_entropy", ONE, y, 1.0)
    assert abs(cost - true) <= (K + 2) * EPS * (1 + np.ptp(z))


@every_activation
def test_more_digits_change_nothing_that_float64_could_hold(activation):
    theta, X, y = case((3, 5, 3), "classification")
    layers = cut((3, 5, 3), theta)
    (_, few), (_, many) = (
        reference_gradient(layers, [activation], "cross_entropy", X, y, 0.25, digits=d) for d in (50, 80)
    )
    for a, b in zip(itertools.chain(*few), itertools.chain(*many), strict=True):
        np.testing.assert_allclose(a, b, rtol=EPS, atol=0)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu"])
def test_no_difference_is_taken_across_a_kink(activation):
    """The first of two units is at z = 0 exactly, for the one sample whose x is not 0."""
    W, X = np.array([[0.0, 1.0]]), np.array([[0.0], [2.0]])
    layers = [(W, np.array([[0.0, 0.5]])), (np.array([[1.0], [1.0]]), np.zeros(1))]
    _, [(dW, db), second] = reference_gradient(layers, [activation], "mean_squared_error", X, X, 0.5)
    np.testing.assert_array_equal(np.isnan(dW), [[True, False]])
    np.testing.assert_array_equal(np.isnan(db), [[True, False]])
    assert not any(np.isnan(g).any() for g in second)


def test_gradients_come_in_the_shapes_of_the_layers_and_rows_of_the_table_count_as_names():
    theta, X, y = case((3, 5, 3), "regression")
    layers = [(W, b[0, :]) for W, b in cut((3, 5, 3), theta)]
    cost, gradient = reference_gradient(layers, ["silu"], "mean_squared_error", X, y, 0.25)
    for g, p in zip(itertools.chain(*gradient), itertools.chain(*layers), strict=True):
        assert (g.shape, g.dtype) == (p.shape, np.float64)
    assert reference_cost(layers, [ACTIVATIONS["silu"]], "mean_squared_error", X, y, 0.25) == cost


def test_the_precision_outside_stays_as_it_was():
    with mp.workdps(23):
        reference_cost([(ONE, ONE)], [], "mean_squared_error", ONE, ONE, 1.0)
        assert mp.dps == 23


@pytest.mark.parametrize("activation", ["swish", inflated(ACTIVATIONS["tanh"], 1.0)])
def test_an_activation_without_a_definition_is_refused(activation):
    layers = [(ONE, ONE), (ONE, ONE)]
    for function in (reference_cost, reference_gradient):
        with pytest.raises(ValueError, match=r"no definition of the activation '(swish|tanh)'"):
            function(layers, [activation], "mean_squared_error", ONE, ONE, 1.0)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"must be one of cross_entropy, .*, got 'hinge'"):
        reference_cost([(ONE, ONE)], [], "hinge", ONE, ONE, 1.0)


def test_without_mpmath_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpmath", None)
    for function in (reference_cost, reference_gradient):
        with pytest.raises(BackendError, match="pip install mpmath"):
            function([(ONE, ONE)], [], "mean_squared_error", ONE, ONE, 1.0)
