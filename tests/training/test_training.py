"""The loop: its stopping rule, what it does with an epoch, and how it ends."""

import inspect
import math
import warnings

import numpy as np
import pytest
from helpers import problem, relative, weights_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

import xbackprop
from xbackprop.training.loop import in_blocks
from xbackprop.training.plan import Plateau

tasks = pytest.mark.parametrize("task", ["classification", "regression"])


def stop_epoch(losses, tol, patience):
    """The epoch after which training stops, stated over whole prefixes, not as a running count; None: it goes on."""
    best = [math.inf, *np.minimum.accumulate(losses)]
    improved = [loss <= best[k] - tol for k, loss in enumerate(losses)]
    for end in range(patience + 1, len(losses) + 1):
        if not any(improved[end - patience - 1 : end]):
            return end
    return None


curves = st.lists(st.sampled_from([1.0, 0.9, 0.8, 0.75, 0.5, 0.25, 2.0]), min_size=1, max_size=30)
tolerances = st.sampled_from([0.0, 0.05, 0.1, 0.25, -math.inf])


@given(curves, tolerances, st.integers(1, 4))
def test_stops_when_more_than_n_iter_no_change_epochs_improve_by_less_than_tol(losses, tol, patience):
    plateau = Plateau(tol, patience)
    stopped = next((k for k, loss in enumerate(losses, start=1) if plateau.reached(loss)), None)
    assert stopped == stop_epoch(losses, tol, patience)


@given(losses=curves, tol=tolerances, patience=st.integers(1, 4))
def test_stops_when_scikit_learn_stops(losses, tol, patience):
    neural_network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is the oracle")
    net = neural_network.MLPClassifier(tol=tol, n_iter_no_change=patience)
    net._no_improvement_count, net.best_loss_, net.loss_curve_ = 0, np.inf, []
    note = net._update_no_improvement_count
    nothing = dict.fromkeys(inspect.signature(note).parameters)  # early_stopping, X, y: none of them is used
    plateau = Plateau(tol, patience)
    for loss in losses:
        net.loss_curve_.append(loss)
        note(**nothing)
        assert plateau.reached(loss) == (net._no_improvement_count > net.n_iter_no_change)


SETTINGS = {"hidden_layer_sizes": (5,), "activation": "tanh", "tol": 0.0, "random_state": 3}


def fit(task, backend, X=None, y=None, sample_weight=None, **settings):
    """A fitted network; that it stops at max_iter is what these tests want."""
    given_X, given_y = problem(task)
    net = xbackprop.MLP(task=task, backend=backend, **{**SETTINGS, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(given_X if X is None else X, given_y if y is None else y, sample_weight)


@tasks
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_training_is_the_papers_update_rule_batch_by_batch(backend, task, weighted):
    """θ ← θ - η ∂C/∂θ with loss_and_gradient on each slice of the rows, the last one short, on the host."""
    X, y = problem(task, n=10)
    weight = np.linspace(0.5, 2, 10) if weighted else None
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "alpha": 0.2, "learning_rate_init": 0.1}
    trained = fit(task, backend, X, y, weight, max_iter=3, batch_size=4, **settings)

    by_hand = xbackprop.MLP(task=task, backend="numpy", **{**SETTINGS, **settings}).initialize(X, y)
    curve = []
    for _ in range(3):
        costs, counts = [], []
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            part = None if weight is None else weight[rows]
            cost, dW, db = by_hand.loss_and_gradient(X[rows], y[rows], part)
            for parameter, slope in zip((*by_hand.coefs_, *by_hand.intercepts_), (*dW, *db), strict=True):
                parameter -= 0.1 * slope
            costs.append(cost)
            counts.append(len(X[rows]))  # as scikit-learn has it: by rows, whatever they weigh
        curve.append(np.average(costs, weights=counts))
    for ours, expected in zip(weights_of(trained), weights_of(by_hand), strict=True):
        assert relative(ours, expected) < 1e-12
    np.testing.assert_allclose(trained.loss_curve_, curve, rtol=1e-12)


@tasks
def test_the_first_loss_is_that_of_the_starting_weights(backend, task):
    """With one batch an epoch, the loss is taken before the step; it is computed here by hand."""
    X, y = problem(task)
    net = fit(task, backend, alpha=0.3, max_iter=1, batch_size=12)
    start = xbackprop.MLP(task=task, backend="numpy", **SETTINGS).initialize(X, y)
    (W1, W2), (b1, b2) = start.coefs_, start.intercepts_
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    if task == "classification":
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(12), y]))
    else:
        loss = np.mean(np.sum((z - y) ** 2, axis=1))
    loss += 0.3 / (2 * 12) * ((W1**2).sum() + (W2**2).sum())
    assert net.loss_curve_[0] == pytest.approx(loss, rel=1e-13)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(backend, solver):
    one, same, other = (
        fit("classification", backend, solver=solver, max_iter=5, batch_size=5, random_state=seed) for seed in (1, 1, 2)
    )
    for a, b, c in zip(weights_of(one), weights_of(same), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert one.loss_curve_ == same.loss_curve_


def test_shuffling_changes_the_run_and_not_shuffling_makes_the_order_of_rows_matter(backend):
    X, y = problem("classification")
    settings = {"max_iter": 3, "batch_size": 5}
    plain = weights_of(fit("classification", backend, X, y, shuffle=False, **settings))
    shuffled = weights_of(fit("classification", backend, X, y, shuffle=True, **settings))
    reversed_rows = weights_of(fit("classification", backend, X[::-1], y[::-1], shuffle=False, **settings))
    assert relative(plain[0], shuffled[0]) > 1e-6
    assert relative(plain[0], reversed_rows[0]) > 1e-6


def test_in_one_full_batch_the_order_of_rows_does_not_matter(backend):
    X, y = problem("classification")
    settings = {"max_iter": 10, "batch_size": 12}
    plain = weights_of(fit("classification", backend, X, y, shuffle=False, **settings))
    for other in (
        weights_of(fit("classification", backend, X[::-1], y[::-1], shuffle=False, **settings)),
        weights_of(fit("classification", backend, X, y, shuffle=True, **settings)),
    ):
        for a, b in zip(plain, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_run_that_settles_stops_early_and_says_nothing(backend):
    net = xbackprop.MLP((), backend=backend, tol=1e-2, n_iter_no_change=3, max_iter=500, random_state=0)
    net.fit(*problem("classification"))  # a ConvergenceWarning would be an error here
    assert net.n_iter_ == len(net.loss_curve_) == stop_epoch(net.loss_curve_, 1e-2, 3) < 500


def test_a_run_that_does_not_settle_warns():
    with pytest.warns(xbackprop.ConvergenceWarning, match="max_iter=2"):
        xbackprop.MLP((3,), max_iter=2, random_state=0).fit(*problem("classification"))


def diverging(backend, max_iter):
    """A regression whose steps are far too long; its loss is finite for some epochs."""
    return xbackprop.MLP(
        (4,), "identity", task="regression", solver="sgd", momentum=0.0, learning_rate_init=2.0, max_iter=max_iter,
        tol=0.0, n_iter_no_change=max_iter, backend=backend, random_state=0,
    )  # fmt: skip


def test_a_run_that_diverges_says_when_and_keeps_its_last_finite_weights(backend):
    X, y = problem("regression")
    net = diverging(backend, 50)
    with pytest.raises(xbackprop.DivergenceError, match=r"MLP\.fit: .* epoch \d+;.*learning_rate_init") as raised:
        net.fit(X, y)
    epoch = int(str(raised.value).split("epoch ")[1].split(";")[0])
    assert 1 < epoch < 50
    assert net.n_iter_ == len(net.loss_curve_) == epoch - 1
    assert np.isfinite(net.loss_curve_).all()
    assert all(np.isfinite(w).all() for w in weights_of(net))

    before = diverging(backend, epoch - 1)
    with pytest.warns(xbackprop.ConvergenceWarning):
        before.fit(X, y)
    for a, b in zip(weights_of(net), weights_of(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_callback_hears_of_every_epoch(backend):
    heard = []
    X, y = problem("classification")
    net = xbackprop.MLP((3,), max_iter=4, backend=backend, random_state=0)
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X, y, callback=heard.append)
    assert [epoch.number for epoch in heard] == [1, 2, 3, 4]
    assert [epoch.loss for epoch in heard] == net.loss_curve_
    assert all(epoch.samples == 12 and epoch.seconds > 0 for epoch in heard)


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 9))
def test_blocks_of_rows_follow_each_other_at_random_and_stay_together(n, size, seed):
    order = in_blocks(RandomState(seed).permutation(n), size)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    block = order // size
    changes = np.count_nonzero(np.diff(block))
    assert changes == len(np.unique(block)) - 1  # each block is one run


def test_neither_the_blocks_nor_their_rows_come_in_order():
    orders = [in_blocks(RandomState(seed).permutation(1000), 100) for seed in range(4)]
    firsts = {tuple((order // 100)[::100]) for order in orders}
    assert len(firsts) == 4
    assert all(np.corrcoef(order[:100], np.arange(100))[0, 1] < 0.5 for order in orders)
