"""The estimators beside scikit-learn's own: the same weights and the same losses, to rounding."""

import inspect
import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import xbackprop

LIMIT = {"float64": 1e-9, "float32": 1e-4}


def tables():
    """name: X and y."""
    X, y = load_digits(return_X_y=True)
    yield "multiclass", (X[:400] / 16, y[:400])
    X, y = load_breast_cancer(return_X_y=True)
    yield "binary", (scale(X)[:250], np.array(["malignant", "benign"])[y[:250]])
    X, y = make_multilabel_classification(150, n_features=12, n_classes=4, random_state=0)
    yield "multilabel", (scale(X), y)
    X, y = load_diabetes(return_X_y=True)
    yield "regression", (scale(X), scale(y))
    yield "poisson", (scale(X), y / 100)
    yield "many outputs", (scale(X), scale(np.stack([y, X[:, 2], X[:, 3] * y], axis=1)))


TABLES = dict(tables())
REGRESSIONS = ("regression", "poisson", "many outputs")
SOLVERS = {
    "adam": {"solver": "adam", "learning_rate": "adaptive"},  # which scikit-learn ignores
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "nesterov, invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.02},
    "nesterov, adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.02, "tol": 1e-2, "n_iter_no_change": 1,
    },
    "early stopping": {"solver": "adam", "early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 3},
    "rows as they are": {"solver": "adam", "shuffle": False, "batch_size": 64},
    "no hidden layer": {"solver": "adam", "hidden_layer_sizes": ()},
    "two hidden layers": {"solver": "adam", "hidden_layer_sizes": [9, 7], "activation": "tanh", "alpha": 0.1},
}  # fmt: skip


def both(table, **settings):
    """scikit-learn's estimator and ours."""
    settings = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 20, **settings}
    name = "MLPRegressor" if table in REGRESSIONS else "MLPClassifier"
    if table == "poisson":
        settings["loss"] = "poisson"
    return [getattr(module, name)(**settings) for module in (theirs, xbackprop)]


def fitted(estimators, X, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [e.fit(X, y, sample_weight) for e in estimators]


def weights_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def equal(a, b, limit=1e-9):
    for theirs_, ours in zip(weights_of(a), weights_of(b), strict=True):
        assert theirs_.dtype == ours.dtype
        assert theirs_.shape == ours.shape
        np.testing.assert_allclose(ours, theirs_, rtol=0, atol=limit)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_have_scikit_learns_names_order_and_defaults(name):
    """Theirs first, what may be given by position too; ours after them, by keyword alone."""
    a, b = (list(inspect.signature(getattr(module, name)).parameters.values()) for module in (theirs, xbackprop))
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in b]
    assert plain[: len(a)] == a
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in b[len(a) :])


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("table", ["multiclass", "binary", "multilabel", "regression", "poisson"])
def test_twenty_epochs(table, solver, weighted):
    X, y = TABLES[table]
    weight = np.random.RandomState(1).uniform(0.1, 2, len(X)) if weighted else None
    a, b = fitted(both(table, **SOLVERS[solver]), X, y, weight)
    equal(a, b)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=0, atol=1e-9)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_"):
        assert getattr(b, name) == getattr(a, name), name
    for name in ("loss_", "best_loss_", "validation_scores_", "best_validation_score_"):
        expected = getattr(a, name)
        if expected is None:
            assert getattr(b, name) is None
        else:
            np.testing.assert_allclose(getattr(b, name), expected, atol=1e-9, err_msg=name)
    predictions = [e.predict(X) for e in (a, b)]
    if table in REGRESSIONS:
        np.testing.assert_allclose(predictions[1], predictions[0], atol=1e-9)
    else:
        np.testing.assert_array_equal(predictions[1], predictions[0])
        assert predictions[1].dtype == predictions[0].dtype
        np.testing.assert_array_equal(b.classes_, a.classes_)
        np.testing.assert_allclose(b.predict_proba(X), a.predict_proba(X), atol=1e-9)
    assert b.score(X, y, weight) == pytest.approx(a.score(X, y, weight), abs=1e-12)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("table", ["multiclass", "regression"])
def test_activations(table, activation):
    X, y = TABLES[table]
    a, b = fitted(both(table, activation=activation), X, y)
    equal(a, b)


@pytest.mark.parametrize("table", ["multiclass", "binary", "regression"])
def test_float32(table):
    X, y = TABLES[table]
    a, b = fitted(both(table), X.astype(np.float32), y if table != "regression" else y.astype(np.float32))
    equal(a, b, LIMIT["float32"])
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, atol=1e-4)


@pytest.mark.parametrize("table", ["multiclass", "binary", "multilabel", "regression", "poisson"])
def test_five_iterations_of_lbfgs(table):
    X, y = TABLES[table]
    a, b = fitted(both(table, solver="lbfgs", max_iter=5, alpha=5.0), X, y)
    equal(a, b, 1e-6)
    assert b.loss_ == pytest.approx(a.loss_, abs=1e-9)
    assert a.n_iter_ == b.n_iter_ == len(b.loss_curve_) == 5  # which scikit-learn keeps to itself
    directions = [[*(0 * p for p in parts[:-1]), parts[-1]] for parts in (b.coefs_, b.intercepts_)]
    assert (
        np.abs(b.network_.jvp(X, *directions)).max() < 20
    )  # as far as the promise goes; z_L is linear in the last layer


@pytest.mark.parametrize("table", ["multiclass", "binary"])
def test_lbfgs_to_the_end_is_no_worse(table):
    X, y = TABLES[table]
    a, b = fitted(both(table, solver="lbfgs", max_iter=200, alpha=1e-2), X, y)
    assert b.loss_ <= a.loss_ + 3e-8


def test_lbfgs_is_no_worse_on_the_way():
    """After 200 iterations this one is still far from its minimum, and rounding has grown: scikit-learn's own losses,
    with its rows in other orders, are spread over 1%. So it is the mean over starts that counts.
    """
    X, y = TABLES["regression"]
    ratios = []
    for seed in range(20):
        a, b = fitted(both("regression", solver="lbfgs", max_iter=200, alpha=1e-2, random_state=seed), X, y)
        ratios.append(b.loss_ / a.loss_)
    assert np.exp(np.mean(np.log(ratios))) < 1.005  # five standard errors of such a mean


def test_with_many_outputs_the_loss_is_that_of_the_gradient():
    """scikit-learn #8349: its loss is the mean over outputs, its gradient belongs to the sum. Ours reports the sum."""
    X, y = TABLES["many outputs"]
    a, b = fitted(both("many outputs", alpha=0.0), X, y)
    equal(a, b)
    np.testing.assert_allclose(np.array(b.loss_curve_), 3 * np.array(a.loss_curve_), rtol=1e-9)
    assert b.network_.gradient_check(X[:10], y[:10]) < 1e-7


def test_partial_fits_in_a_row():
    X, y = TABLES["multiclass"]
    a, b = both("multiclass", solver="sgd", learning_rate="invscaling", learning_rate_init=0.1)
    for rows in (slice(0, 150), slice(150, 400), slice(0, 400)):
        for e in (a, b):
            e.partial_fit(X[rows], y[rows], classes=np.arange(10))
    equal(a, b)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, atol=1e-9)
    assert (a.t_, a.n_iter_) == (b.t_, b.n_iter_)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "csr_array"])
def test_sparse_tables(form):
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the sparse matrix")
    X, y = TABLES["multiclass"]
    made = getattr(sparse, form)(X)
    a, b = fitted(both("multiclass"), made, y)
    equal(a, b)
    np.testing.assert_array_equal(b.predict(made), b.predict(X))


def test_a_random_state_that_goes_on_and_the_global_one():
    X, y = TABLES["regression"]
    a, b = both("regression", random_state=None, max_iter=3)
    for e in (a, b):
        np.random.seed(5)
        fitted([e], X, y)
    equal(a, b)
    a, b = (e.set_params(random_state=np.random.RandomState(4)) for e in (a, b))
    for _ in range(2):
        fitted([a, b], X, y)
    equal(a, b)


def test_the_same_on_every_array_library():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X, y = TABLES["multiclass"]
    a, _ = both("multiclass", early_stopping=True)
    _, b = both("multiclass", early_stopping=True)
    fitted([a], X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        b.fit(torch.from_numpy(X), torch.from_numpy(y))
    for ours, expected in zip(weights_of(b), weights_of(a), strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)
    assert isinstance(b.predict(torch.from_numpy(X)), torch.Tensor)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_verbose_prints_the_same_lines(capsys, early_stopping):
    X, y = TABLES["binary"]
    printed = []
    for e in both("binary", verbose=True, early_stopping=early_stopping, max_iter=4):
        fitted([e], X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
