"""Standardised inputs and targets: the network of raw data is that of data which were standardised by hand."""

import warnings

import numpy as np
import pytest
from helpers import weights_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import xbackprop
from xbackprop import MLP
from xbackprop.arrays.discovery import backend_class, on_host
from xbackprop.data.scaling import Scaling

OFFSETS = np.array([0.0, -30.0, 1e4, 5.0])
SPREADS = np.array([1.0, 0.1, 200.0, 0.0])  # the last column is constant
RNG = np.random.RandomState(0)
X = OFFSETS + SPREADS * RNG.standard_normal((60, 4))
LABELS = (X[:, 1] > -30).astype(int)
Y = 1e3 + 50.0 * np.c_[X[:, 0], X[:, 0] * X[:, 1] + 30 * X[:, 0]]
HOW = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, "tol": 0.0, "batch_size": 16}


def quiet(net, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(*arguments)


def by_hand(x):
    deviation = np.where(np.ptp(x, axis=0) == 0, 1.0, x.std(axis=0))
    return (x - x.mean(axis=0)) / deviation


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_network_is_the_one_of_data_that_were_standardised_by_hand(backend, dtype):
    how = {**HOW, "backend": backend, "dtype": dtype, "task": "regression"}
    net = quiet(MLP(**how, scale_inputs=True, scale_target=True), X, Y)
    other = quiet(MLP(**how), by_hand(X), by_hand(Y))
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for ours, theirs in zip(weights_of(net), weights_of(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    expected = Y.mean(axis=0) + Y.std(axis=0) * other.predict(by_hand(X))
    np.testing.assert_allclose(net.predict(X), expected, rtol=tolerance)
    assert net.score(X, Y) == pytest.approx(other.score(by_hand(X), by_hand(Y)), abs=tolerance)


def test_a_column_of_large_numbers_that_differ_little_keeps_its_digits(backend):
    """As a time in milliseconds: in float32 there is nothing left of 1.7e12 + 0 … 6e4."""
    seconds = np.linspace(0.0, 6e4, 200)
    how = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "max_iter": 150, "random_state": 0}
    net = MLP(**how, task="regression", dtype="float32", backend=backend, scale_inputs=True, scale_target=True)
    net = quiet(net, 1.7e12 + seconds[:, None], np.sin(seconds / 2e4))
    assert net.score(1.7e12 + seconds[:, None], np.sin(seconds / 2e4)) > 0.98


def test_the_derivative_with_respect_to_raw_inputs(backend):
    net = MLP((5,), "tanh", scale_inputs=True, backend=backend, random_state=0, alpha=0.0).initialize(X, LABELS)
    gradient = net.input_gradient(X, LABELS)
    for row, column in ((3, 0), (7, 1), (11, 2)):
        step = 1e-4 * max(SPREADS[column], 1e-3)
        moved = [X + step * sign * np.outer(np.arange(60) == row, np.arange(4) == column) for sign in (1, -1)]
        slope = np.subtract(*(net.loss_and_gradient(x, LABELS)[0] for x in moved)) / (2 * step)
        assert gradient[row, column] == pytest.approx(slope, rel=1e-4)


def test_every_check_of_the_gradient_passes(backend):
    net = MLP((4,), "tanh", task="regression", scale_inputs=True, scale_target=True, backend=backend, random_state=0)
    net.initialize(X, Y)
    assert net.gradient_check(X, Y) < 1e-7
    assert xbackprop.verify(net, X, Y, pictures=False).passed


def test_a_file_keeps_the_scaling(backend, tmp_path):
    net = quiet(MLP(**HOW, task="regression", scale_inputs=True, scale_target=True, backend=backend), X, Y[:, 0])
    net.save(tmp_path / "net.safetensors")
    again = MLP.load(tmp_path / "net.safetensors", backend=backend)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert (again.scale_inputs, again.scale_target) == (True, True)


def test_a_warm_start_keeps_it_and_cannot_switch_it(backend):
    net = quiet(MLP(**HOW, scale_inputs=True, warm_start=True, backend=backend), X, LABELS)
    inputs = net.model_.inputs
    quiet(net, 1000 * X, LABELS)
    assert net.model_.inputs is inputs
    net.scale_inputs = False
    with pytest.raises(ValueError, match=r"^MLP\.fit: the network was trained with scale_inputs=True"):
        net.fit(X, LABELS)


def test_partial_fit_takes_the_scaling_of_the_first_call(backend):
    net = MLP((4,), scale_inputs=True, random_state=0, backend=backend)
    net.partial_fit(X[:30], LABELS[:30], classes=[0, 1]).partial_fit(X[30:], LABELS[30:])
    np.testing.assert_allclose(net.model_.inputs.mean, X[:30].mean(axis=0), rtol=1e-12)


def test_a_scoring_function_is_given_raw_rows_and_units(backend):
    """The score of the kept epoch is that of the network that is kept, on the rows of the user's table."""
    seen = []

    def scoring(net, rows, y):
        seen.append((on_host(rows), net.score(rows, y)))
        return seen[-1][1]

    how = {**HOW, "task": "regression", "scale_inputs": True, "scale_target": True, "early_stopping": True}
    net = quiet(MLP(**{**how, "max_iter": 20}, scoring=scoring, backend=backend), X, Y[:, 0])
    other = quiet(MLP(**{**how, "max_iter": 20}, backend=backend), X, Y[:, 0])
    np.testing.assert_allclose(net.validation_scores_, other.validation_scores_, rtol=1e-9)
    np.testing.assert_array_equal(seen[0][0], X[net.model_.progress.validation_rows])


def test_missing_numbers_are_named_by_their_place_and_value(backend):
    holed = np.where((np.arange(60)[:, None] == 7) & (np.arange(4) == 2), np.nan, X)
    net = MLP(**HOW, scale_inputs=True, backend=backend)
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must be finite, got nan at \(7, 2\)"):
        net.fit(holed, LABELS)
    quiet(net, X, LABELS)
    with pytest.raises(ValueError, match=r"^MLP\.predict: X must be finite, got nan at \(7, 2\)"):
        net.predict(holed)
    with pytest.raises(ValueError, match=r"^MLP\.fit: y must be finite, got inf at \(3, 1\)"):
        MLP(task="regression", scale_target=True, backend=backend).fit(X, np.where(Y[3, 1] == Y, np.inf, Y))


def test_what_cannot_be_standardised_is_said():
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed: sparse tables need it")
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must be dense to be standardised"):
        MLP(scale_inputs=True).fit(scipy_sparse.csr_array(X), LABELS)
    for how in ({}, {"task": "regression", "loss": "poisson"}):
        with pytest.raises(ValueError, match="scale_target is for a regression with a linear output"):
            MLP(**how, scale_target=True)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (7, 3), elements=st.floats(-1e200, 1e200, allow_subnormal=False)))
def test_any_column_has_a_deviation_to_divide_by(x):
    home = backend_class("numpy")()
    with np.errstate(over="ignore"):
        scaling = Scaling.of(x, home)
        standard = scaling.apply(x, home)
    assert np.isfinite(standard).all()
    varies = np.ptp(x, axis=0) > 1e-6 * np.abs(x).max(axis=0)
    np.testing.assert_allclose(standard[:, varies].std(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(standard[:, varies].mean(axis=0), 0.0, atol=1e-6)
