"""Fitting again, partly, or on other data: settings that have changed, other samples, samples without weight."""

import copy
import time
import warnings

import numpy as np
import pytest
from helpers import problem, weights_of

import xbackprop
from xbackprop import MLP

X, LABELS = problem("classification", n=60)
TWO = (X[:, 0] > 0).astype(int)
HOW = {"hidden_layer_sizes": (5,), "max_iter": 3, "tol": 0.0, "random_state": 0, "warm_start": True}


def quiet(function, *arguments, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments, **how)


def changed(net, **settings):
    vars(net).update(settings)
    return net


def test_a_loss_that_gives_the_outputs_another_meaning_is_refused(backend):
    net = quiet(MLP(**HOW, loss="log_loss", backend=backend).fit, X, TWO)
    before = weights_of(net)
    with pytest.raises(
        ValueError, match=r"^MLP\.fit: the network was trained with 1 outputs for binary, .*'cross_entropy'"
    ):
        changed(net, loss="cross_entropy").fit(X, TWO)
    for ours, kept in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(ours, kept)
    quiet(changed(net, loss="binary_cross_entropy").fit, X, TWO)  # the same meaning
    with pytest.raises(ValueError, match="task='regression' gives another meaning"):
        changed(net, loss="auto", task="regression").fit(X, TWO)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "value"), [("class_weight", {0: 1.0, 1: 30.0, 2: 1.0}), ("label_smoothing", 0.3)], ids=str
)
def test_what_weighs_and_smooths_is_read_anew(backend, method, name, value):
    """The gradient of the next step is that of the changed setting: the same as for a network that always had it."""
    net, other = (quiet(MLP(**HOW, backend=backend).fit, X, LABELS) for _ in range(2))
    quiet(getattr(changed(net, **{name: value}), method), X, LABELS)
    quiet(getattr(other, method), X, LABELS)
    assert not np.allclose(weights_of(net)[0], weights_of(other)[0], rtol=1e-6, atol=0)
    expected = MLP(**HOW, backend=backend, **{name: value}).initialize(X, LABELS)
    for each in (net, expected):
        each.coefs_, each.intercepts_ = other.coefs_, other.intercepts_
    costs = [each.loss_and_gradient(X, LABELS)[0] for each in (net, expected)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)


def test_a_changed_dtype_holds_from_now_on(backend):
    net = quiet(MLP(**HOW, dtype="float32", backend=backend).fit, X, LABELS)
    before = weights_of(net)
    quiet(changed(net, dtype="float64", learning_rate_init=1e-12).fit, X, LABELS)
    assert {a.dtype.name for a in weights_of(net)} == {"float64"}
    for ours, former in zip(weights_of(net), before, strict=True):
        np.testing.assert_allclose(ours, former, rtol=0, atol=1e-9)
    assert len(net.loss_curve_) == 6


def test_a_changed_backend_holds_from_now_on(backend):
    whole = quiet(MLP(**{**HOW, "max_iter": 6}).fit, X, LABELS)
    net = quiet(MLP(**HOW, backend="numpy").fit, X, LABELS)
    quiet(changed(net, backend=backend).fit, X, LABELS)
    assert net.model_.backend == backend
    for ours, theirs in zip(weights_of(net), weights_of(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_balanced_weights_need_all_the_samples(backend):
    net = MLP((4,), class_weight="balanced", backend=backend)
    with pytest.raises(ValueError, match=r"^MLP\.partial_fit: class_weight='balanced' needs all the samples at once"):
        net.partial_fit(X[LABELS < 2], LABELS[LABELS < 2], classes=[0, 1, 2])
    quiet(net.fit, X, LABELS)


def test_a_fold_may_lack_a_class_that_has_a_weight(backend):
    net = quiet(MLP((4,), class_weight={0: 1, 1: 1, 2: 10}, max_iter=2, backend=backend).fit, X, TWO)
    assert net.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"class_weight has the label 'on', which is not in y, and none for 1"):
        MLP((4,), class_weight={0: 1, "on": 2}).fit(X, TWO)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_other_data_are_learned_as_long_as_they_need(backend, early_stopping):
    """After convergence on A the patience and the best weights of A do not end the training on B."""
    rng = np.random.RandomState(1)
    A, B = rng.standard_normal((600, 4)), rng.standard_normal((600, 4))
    a, b = (A[:, 0] > 0).astype(int), (B[:, 1] > 0).astype(int)
    how = {
        "hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "random_state": 0, "max_iter": 300,
        "early_stopping": early_stopping, "backend": backend,
    }  # fmt: skip
    net = quiet(MLP(**how, warm_start=True).fit, A, a)
    quiet(net.fit, B, b)
    cold = quiet(MLP(**how).fit, B, b)
    assert net.n_iter_ > 10
    assert net.score(B, b) > cold.score(B, b) - 0.03


def test_the_same_data_again_after_convergence(backend):
    """A run that had converged begins its patience anew, and one that had not goes on with it."""
    net = MLP((4,), tol=10.0, n_iter_no_change=4, max_iter=50, warm_start=True, random_state=0, backend=backend)
    net.fit(X, LABELS)
    assert net.n_iter_ == 6  # the first epoch improves on infinity
    net.fit(X, LABELS)
    assert net.n_iter_ == 5


def test_early_stopping_that_is_switched_off_trains_the_weights(backend):
    net = quiet(MLP(**{**HOW, "early_stopping": True, "learning_rate_init": 0.05}, backend=backend).fit, X, LABELS)
    before, rows = weights_of(net), len(net.loss_curve_)
    quiet(changed(net, early_stopping=False).fit, X, LABELS)
    assert not np.array_equal(weights_of(net)[0], before[0])
    assert len(net.loss_curve_) == rows + 3


def test_weights_that_are_assigned_are_those_that_training_goes_on_from(backend):
    net = quiet(MLP(**{**HOW, "early_stopping": True, "learning_rate_init": 1e-12}, backend=backend).fit, X, LABELS)
    assigned = [0.25 + 0.0 * W for W in weights_of(net)[:2]]
    net.coefs_ = assigned
    quiet(net.fit, X, LABELS)
    for ours, given in zip(weights_of(net), assigned, strict=False):
        np.testing.assert_allclose(ours, given, rtol=0, atol=1e-9)


def test_poisson_s_counts_are_checked_in_every_call(backend):
    net = MLP((3,), task="regression", loss="poisson", backend=backend)
    net.partial_fit(X, np.abs(X[:, 0]))
    with pytest.raises(ValueError, match=r"^MLP\.partial_fit: y must have no negative numbers for the loss 'poisson'"):
        net.partial_fit(X, X[:, 0])


def test_held_out_samples_without_weight_are_an_error(backend):
    net = MLP((4,), early_stopping=True, validation_fraction=0.1, random_state=0, backend=backend)
    quiet(net.fit, X, LABELS)
    held_out = net.model_.progress.validation_rows
    weight = np.ones(60)
    weight[held_out] = 0.0
    with pytest.raises(ValueError, match=r"^MLP\.fit: all 6 samples held out by early_stopping have the weight 0"):
        net.fit(X, LABELS, weight)
    with pytest.raises(ValueError, match=r"^MLP\.fit: all 54 samples to train on"):
        net.fit(X, LABELS, 1.0 - weight)


def test_a_call_of_partial_fit_does_not_copy_the_curve():
    """After 10⁶ epochs a call takes as long as after ten; the bound is ten times that of a quiet machine."""
    net = MLP((2,), random_state=0).partial_fit(X[:4], LABELS[:4], classes=[0, 1, 2])

    def seconds():
        began = time.perf_counter()
        for _ in range(20):
            net.partial_fit(X[:4], LABELS[:4])
        return time.perf_counter() - began

    first = min(seconds() for _ in range(3))
    net._model.progress.loss_curve = type(net._model.progress.loss_curve)(range(1_000_000))
    assert min(seconds() for _ in range(3)) < 3 * first


def test_copies_of_a_network_have_curves_of_their_own(backend):
    net = MLP((3,), random_state=0, shuffle=False, backend=backend).partial_fit(X, LABELS)
    twin = copy.copy(net)
    twin.partial_fit(X, LABELS)
    net.partial_fit(X, LABELS).partial_fit(X, LABELS)
    assert (len(twin.loss_curve_), len(net.loss_curve_)) == (2, 3)
    assert twin.loss_curve_ == net.loss_curve_[:2]


def test_dropout_that_is_switched_on_draws_its_masks_by_the_seed(backend):
    """Two runs of different seeds that go on from the same weights drop different units."""
    first = quiet(MLP(**HOW, backend=backend).fit, X, LABELS)
    ends = []
    for seed in (1, 2):
        net = quiet(MLP(**{**HOW, "random_state": seed, "shuffle": False}, backend=backend).fit, X, LABELS)
        net.coefs_, net.intercepts_ = first.coefs_, first.intercepts_
        ends.append(weights_of(quiet(changed(net, dropout=0.5, solver="sgd").fit, X, LABELS))[0])
    assert not np.allclose(*ends, rtol=0, atol=1e-9)
