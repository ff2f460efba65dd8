"""The searches: scikit-learn's results, with the networks of all candidates and folds trained together."""

import warnings

import numpy as np
import pytest
from sklearn import model_selection
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import xbackprop
from xbackprop import MLPClassifier, MLPRegressor
from xbackprop.model_selection import GridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV, search

X, Y = load_breast_cancer(return_X_y=True)
X, Y = X[:200] / X.max(axis=0), Y[:200]
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(8,), (4, 3)], "learning_rate_init": [1e-3, 1e-2]}
NET = MLPClassifier((8,), max_iter=12, random_state=0)
PIPE = Pipeline([("scale", StandardScaler()), ("net", NET)])
PIPE_GRID = {"net__alpha": [1e-4, 1.0], "scale__with_mean": [True, False], "net__learning_rate_init": [1e-3, 1e-2]}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def assert_same_results(ours, theirs):
    """`cv_results_` but for the timings, and the choice."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, expected in theirs.cv_results_.items():
        if name.endswith("_time"):
            assert (np.asarray(ours.cv_results_[name]) >= 0).all()
        elif name == "params" or name.startswith("param_"):
            assert list(ours.cv_results_[name]) == list(expected)
        else:
            np.testing.assert_allclose(ours.cv_results_[name], expected, rtol=1e-9, err_msg=name)
    assert ours.best_index_ == theirs.best_index_


def both(name, estimator, *arguments, data=(X, Y), fit=None, **options):
    """Our search and scikit-learn's, each fitted."""
    return [
        getattr(home, name)(clone(estimator), *arguments, **options).fit(*data, **fit or {})
        for home in (search, model_selection)
    ]


@pytest.mark.parametrize(("estimator", "grid"), [(NET, GRID), (PIPE, PIPE_GRID)], ids=["network", "pipeline"])
@pytest.mark.parametrize(
    ("scoring", "refit"), [(None, True), (["accuracy", "neg_log_loss"], "neg_log_loss"), ("roc_auc", False)]
)
def test_the_results_are_scikit_learns(estimator, grid, scoring, refit):
    options = {"cv": 3, "scoring": scoring, "refit": refit, "return_train_score": True}
    ours, theirs = both("GridSearchCV", estimator, grid, **options)
    assert_same_results(ours, theirs)
    if refit:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert type(ours.best_estimator_) is type(estimator)
    assert type(ours.estimator) is type(estimator)
    assert clone(ours).get_params()["n_jobs"] is None


def test_all_networks_train_together(monkeypatch):
    calls, train = [], search.fit_nets
    monkeypatch.setattr(
        search, "fit_nets", lambda where, nets, *a, **k: calls.append(len(nets)) or train(where, nets, *a, **k)
    )
    GridSearchCV(NET, GRID, cv=3).fit(X, Y)
    GridSearchCV(PIPE, PIPE_GRID, cv=3).fit(X, Y)
    assert calls == [24, 24]


def test_the_steps_before_the_network_are_fitted_once_for_each_fold_and_setting(monkeypatch):
    fits, fit = [], StandardScaler.fit
    monkeypatch.setattr(StandardScaler, "fit", lambda self, *a, **k: fits.append(1) or fit(self, *a, **k))
    GridSearchCV(PIPE, PIPE_GRID, cv=3, refit=False).fit(X, Y)
    assert len(fits) == 3 * 2  # and not 24


@pytest.mark.parametrize("cv", [KFold(4), ShuffleSplit(3, random_state=1), GroupKFold(3)], ids=str)
def test_weights_groups_and_splitters(cv):
    fit = {"sample_weight": np.linspace(0.1, 2.0, 200), "groups": np.arange(200) % 7}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        assert_same_results(*both("GridSearchCV", NET, {"alpha": [1e-4, 1.0]}, cv=cv, fit=fit))


def test_a_splitter_without_a_seed_is_asked_once():
    """The networks are trained on the rows of the same splits that score them."""
    scores = GridSearchCV(NET, {"alpha": [1e-4]}, cv=ShuffleSplit(2, test_size=0.5), scoring=_trained_rows).fit(X, Y)
    assert scores.cv_results_["mean_test_score"][0] == 0.0


def _trained_rows(estimator, X_scored, y_scored):
    """0 if no row that is scored was trained on, which the number of samples in an epoch tells of half of them."""
    return float(estimator.t_ / estimator.n_iter_ - (len(X) - len(X_scored)))


def test_regressions_and_ensembles():
    data = load_diabetes(return_X_y=True)
    net = MLPRegressor(hidden_layer_sizes=(5,), max_iter=8, random_state=0, n_networks=2)
    assert_same_results(*both("GridSearchCV", net, {"alpha": [1e-4, 1.0]}, cv=3, data=data))


def test_a_random_search():
    options = {"n_iter": 4, "random_state": 0, "cv": 3}
    assert_same_results(*both("RandomizedSearchCV", NET, GRID, **options))
    assert isinstance(RandomizedSearchCV(NET, GRID).set_params(n_iter=2), model_selection.RandomizedSearchCV)


def test_a_halving_search():
    options = {"random_state": 0, "cv": 3, "resource": "max_iter", "max_resources": 12, "min_resources": 4}
    ours, theirs = (
        kind(clone(NET), GRID, **options).fit(X, Y)
        for kind in (HalvingRandomSearchCV, model_selection.HalvingRandomSearchCV)
    )
    assert_same_results(ours, theirs)
    assert ours.n_resources_ == theirs.n_resources_


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_candidate_that_fails_fails_alone():
    grid = {"learning_rate_init": [1e-3, -1.0], "alpha": [1e-4, 1.0]}
    with pytest.warns(FitFailedWarning, match="6 fits failed out of a total of 12"):
        ours, theirs = both("GridSearchCV", NET, grid, cv=3)
    assert_same_results(ours, theirs)
    with pytest.raises(ValueError, match="learning_rate_init"):
        GridSearchCV(NET, grid, cv=3, error_score="raise").fit(X, Y)
    ours.set_params(param_grid={"alpha": [1e-4]}).fit(X, Y)  # and the search can be used again


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_candidate_that_diverges_fails_alone():
    net = MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0, solver="sgd")
    grid = {"learning_rate_init": [1e-3, 1e200]}
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
        found = GridSearchCV(net, grid, cv=3).fit(X, X[:, 0])
    assert found.best_params_ == {"learning_rate_init": 1e-3}
    assert np.isnan(found.cv_results_["mean_test_score"][1])


def test_steps_and_estimators_may_be_candidates():
    grid = [
        {"scale": [StandardScaler(), PCA(2, random_state=0)], "net__alpha": [1e-4, 1.0]},
        {"net": [LogisticRegression(), clone(NET).set_params(alpha=1.0)]},
    ]
    assert_same_results(*both("GridSearchCV", PIPE, grid, cv=3))


def test_other_estimators_are_searched_as_scikit_learn_does():
    ours, theirs = both("GridSearchCV", LogisticRegression(), {"C": [0.1, 1.0]}, cv=3)
    assert_same_results(ours, theirs)


def test_on_every_backend(backend):
    with backend.device_context():
        net = MLPClassifier((8,), max_iter=5, random_state=0, backend=backend)
        assert_same_results(*both("GridSearchCV", net, {"alpha": [1e-4, 1.0]}, cv=2))


def test_fit_many_takes_estimators(backend):
    """Each as its own fit; early stopping with a scorer, and the attributes of scikit-learn."""
    kinds = [
        {"early_stopping": True, "scoring": "neg_log_loss"}, {"alpha": 1.0}, {"solver": "lbfgs"}, {"tol": 0.1},
    ]  # fmt: skip
    nets, alone = ([clone(NET).set_params(backend=backend, **kind) for kind in kinds] for _ in range(2))
    assert xbackprop.fit_many(nets, X, Y) == nets
    for net, other in zip(nets, alone, strict=True):
        other.fit(X, Y)
        assert (net.n_iter_, net.t_) == (other.n_iter_, other.t_)
        np.testing.assert_allclose(net.loss_curve_, other.loss_curve_, rtol=1e-9)
        np.testing.assert_allclose(net.predict_proba(X), other.predict_proba(X), rtol=1e-7)
        assert net.best_validation_score_ == pytest.approx(other.best_validation_score_)
