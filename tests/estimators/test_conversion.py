"""scikit-learn's networks made of ours and ours of theirs: the same predictions, attributes and settings."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xbackprop

DATA = {
    "digits": (MLPClassifier, xbackprop.MLPClassifier, lambda: load_digits(return_X_y=True)),
    "two classes": (MLPClassifier, xbackprop.MLPClassifier, lambda: load_breast_cancer(return_X_y=True)),
    "labels": (MLPClassifier, xbackprop.MLPClassifier, lambda: make_multilabel_classification(random_state=0)),
    "numbers": (MLPRegressor, xbackprop.MLPRegressor, lambda: load_diabetes(return_X_y=True)),
}  # fmt: skip
ATTRIBUTES = ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "n_features_in_")


def theirs_and_ours(name, scaled, activation="relu"):
    kind, own, load = DATA[name]
    X, y = load()
    net = kind(hidden_layer_sizes=(12, 6), activation=activation, max_iter=4, alpha=0.01, random_state=0)
    net = make_pipeline(StandardScaler(), net) if scaled else net
    with pytest.warns(ConvergenceWarning):
        net.fit(X, y)
    return net, own.from_sklearn(net), X, y


def outputs(net, X):
    return net.predict_proba(X) if hasattr(net, "predict_proba") else net.predict(X)


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("name", DATA)
def test_there_and_back(name, activation, scaled):
    theirs, ours, X, _ = theirs_and_ours(name, scaled, activation)
    back = ours.to_sklearn()
    assert type(back) is type(theirs)
    for one in (ours, back):
        np.testing.assert_allclose(outputs(one, X), outputs(theirs, X), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(one.predict(X).shape, theirs.predict(X).shape)
    first, last = (net[-1] if scaled else net for net in (theirs, back))
    for attribute in ATTRIBUTES:
        for a, b in zip(*(np.atleast_1d(np.array(getattr(net, attribute), dtype=object)) for net in (first, last))):  # noqa: B905
            np.testing.assert_array_equal(a, b)
    assert last.loss_curve_ == first.loss_curve_ == ours.loss_curve_
    assert ours.alpha == last.alpha == 0.01
    if hasattr(first, "classes_"):
        np.testing.assert_array_equal(last.classes_, first.classes_)


def test_what_comes_from_theirs_trains_on_as_theirs_would():
    theirs, ours, X, y = theirs_and_ours("digits", False)
    ours.set_params(warm_start=True, max_iter=2)
    before = ours.loss_curve_[-1]
    with pytest.warns(ConvergenceWarning):
        ours.fit(X, y)
    assert ours.loss_curve_[-1] < before


def test_networks_of_ours_with_two_softmax_outputs_have_one_of_theirs():
    X, y = load_breast_cancer(return_X_y=True)
    net = xbackprop.MLP((5,), scale_inputs=True, random_state=0, max_iter=200, tol=0.01).fit(X, np.array(["b", "m"])[y])
    theirs = net.to_sklearn()
    assert theirs[-1].out_activation_ == "logistic"
    np.testing.assert_allclose(theirs.predict_proba(X), net.predict_proba(X), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(theirs.predict(X), net.predict(X))


def test_a_poisson_regression_goes_there_and_back():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    net = xbackprop.MLPRegressor(hidden_layer_sizes=(4,), loss="poisson", random_state=0, max_iter=20, tol=0.1).fit(
        X, rng.poisson(np.exp(X[:, 0]))
    )
    theirs = net.to_sklearn()
    np.testing.assert_allclose(theirs.predict(X), net.predict(X), rtol=1e-12)
    np.testing.assert_allclose(xbackprop.MLPRegressor.from_sklearn(theirs).predict(X), net.predict(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"activation": "gelu"}, "one activation out of identity, logistic, tanh, relu in all hidden layers, got gelu"),
        ({"hidden_layer_sizes": (3, 3), "activation": ["tanh", "relu"]}, "got tanh, relu"),
        ({"n_networks": 2}, "holds one network, got an ensemble of 2"),
    ],
)
def test_what_scikit_learn_lacks_is_an_error(settings, why):
    X, y = load_diabetes(return_X_y=True)
    with pytest.warns(ConvergenceWarning):
        net = xbackprop.MLPRegressor(**{"hidden_layer_sizes": (3,), "max_iter": 1, **settings}).fit(X, y)
    with pytest.raises(xbackprop.ExportError, match=why):
        net.to_sklearn()


@pytest.mark.parametrize(
    ("other", "came"),
    [
        (LogisticRegression(), "LogisticRegression"),
        (MLPRegressor(), "MLPRegressor"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "StandardScaler and LogisticRegression"),
    ],
)
def test_what_is_no_network_of_theirs_is_an_error(other, came):
    with pytest.raises(xbackprop.ExportError, match=f"expected scikit-learn's MLPClassifier.* got {came}$"):
        xbackprop.MLPClassifier.from_sklearn(other)


@pytest.mark.parametrize("name", ["digits", "numbers"])
def test_initialize_draws_the_weights_that_fit_would_start_from(name):
    _, own, load = DATA[name]
    X, y = load()
    settings = {"hidden_layer_sizes": (5,), "random_state": 3}
    net = own(**settings)
    assert net.initialize(X, y) is net
    still = own(**settings, solver="sgd", learning_rate_init=1e-14, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        still.fit(X, y)
    for W, expected in zip(net.coefs_, still.coefs_, strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-9, atol=1e-9)
    assert net.n_iter_ == 0
    assert outputs(net, X).shape[0] == len(X)
