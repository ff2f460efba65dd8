"""Rows of probabilities as y, and held-out rows that have every class."""

import warnings

import numpy as np
import pytest
from helpers import one_hot, problem, weights_of
from hypothesis import given
from hypothesis import strategies as st

import xbackprop

X, LABELS = problem("classification", n=30)


def soft(seed=0):
    y = np.random.RandomState(seed).uniform(size=(30, 3)) ** 2
    return y / y.sum(axis=1, keepdims=True)


def fitted(y, **settings):
    given = {"max_iter": 5, "batch_size": 8, "tol": 0.0, "n_iter_no_change": 9, "random_state": 0, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return xbackprop.MLP((6,), **given).fit(X, y)


def test_certain_rows_train_as_labels_do(backend):
    hard = fitted(LABELS, backend=backend)
    net = fitted(one_hot(LABELS, 3), soft_targets=True, backend=backend)
    for a, b in zip(weights_of(net), weights_of(hard), strict=True):
        np.testing.assert_array_equal(a, b)
    assert net.score(X, one_hot(LABELS, 3)) == hard.score(X, LABELS)
    np.testing.assert_array_equal(net.predict(X), hard.predict(X))


def test_the_cost_is_the_cross_entropy_of_the_rows(backend):
    y = soft()
    net = xbackprop.MLP((6,), soft_targets=True, alpha=0.0, backend=backend, random_state=0).initialize(X, y)
    cost, _, _ = net.loss_and_gradient(X, y)
    p = np.asarray(net.predict_proba(X), dtype=np.float64)
    np.testing.assert_allclose(cost, -(y * np.log(p)).sum(axis=1).mean(), rtol=1e-6)
    assert net.gradient_check(X, y) < 1e-2


def test_it_is_verified_kept_and_trained_on(tmp_path):
    y = soft()
    net = fitted(y, soft_targets=True, warm_start=True)
    assert xbackprop.verify(net, X, y, methods=["complex step", "taylor"], pictures=False)
    net.save(tmp_path / "net.safetensors")
    again = xbackprop.MLP.load(tmp_path / "net.safetensors")
    assert again.soft_targets
    assert again.score(X, y) == net.score(X, y)
    again.partial_fit(X, soft(1))
    again.soft_targets = False
    with pytest.raises(ValueError, match="soft_targets=False gives another meaning"):
        again.partial_fit(X, LABELS)


def test_soft_targets_recover_a_teacher():
    teacher = fitted(LABELS, max_iter=200, learning_rate_init=0.03)
    y = teacher.predict_proba(X)
    student = xbackprop.MLP(
        (64,), soft_targets=True, max_iter=3000, learning_rate_init=0.01, alpha=0.0, tol=0.0, random_state=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        student.fit(X, y)
    assert np.abs(student.predict_proba(X) - y).max() < 0.05


@pytest.mark.parametrize(
    ("y", "settings", "why"),
    [
        (LABELS, {}, r"soft targets must have shape \(30, n_classes\), got \(30,\)"),
        (soft()[:20], {}, r"soft targets must have shape \(30, n_classes\), got \(20, 3\)"),
        (2 * soft(), {}, "soft targets must be probabilities between 0 and 1"),
        (0.5 * soft(), {}, "soft targets must sum to 1 in every row, got 0.5 in row 0"),
        (np.full((30, 3), np.nan), {}, "soft targets must be probabilities"),
        (soft(), {"class_weight": "balanced"}, "class_weight is for labels"),
        (soft(), {"loss": "binary_cross_entropy"}, "soft_targets=True is for the loss cross_entropy"),
        (soft(), {"loss": "log_loss"}, "soft_targets=True is for the loss cross_entropy"),
    ],
)
def test_what_is_no_row_of_probabilities_is_an_error(y, settings, why):
    with pytest.raises(ValueError, match=rf"MLP\.fit: {why}"):
        fitted(y, soft_targets=True, **settings)


def test_without_being_asked_for_rows_are_labels_in_columns():
    with pytest.raises(ValueError, match="a column of 0 and 1 for each label, got other values"):
        fitted(soft())


@given(st.lists(st.integers(2, 12), min_size=2, max_size=4), st.floats(0.1, 0.6), st.integers(0, 5))
def test_held_out_rows_have_each_class_in_its_proportion(counts, fraction, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    rows = np.random.RandomState(seed).standard_normal((len(y), 2))
    net = xbackprop.MLP((2,), early_stopping=True, validation_fraction=fraction, max_iter=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        net.fit(rows, y)
    progress = net.model_.progress
    both = np.concatenate([progress.training_rows, progress.validation_rows])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(y)))
    held_out = np.bincount(y[progress.validation_rows], minlength=len(counts))
    share = len(progress.validation_rows) / len(y)
    assert (np.abs(held_out - share * np.array(counts)) < 1.0 + 1e-9).all()
