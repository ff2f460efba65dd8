"""Estimators that are fitted again or partly, that diverge, and what of theirs a file does not hold."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

import xbackprop
from xbackprop import MLP, MLPClassifier, MLPRegressor

RNG = np.random.RandomState(0)
X = RNG.standard_normal((90, 4))
LABELS = np.arange(90) % 3


def quiet(function, *arguments, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments, **how)


def test_a_loss_that_gives_the_outputs_another_meaning_is_refused():
    y = (X[:, 0] > 0).astype(int)
    net = quiet(MLPClassifier((4,), warm_start=True, max_iter=3, random_state=0).fit, X, y)
    with pytest.raises(ValueError, match=r"^MLPClassifier\.fit: the network was trained with 1 outputs for binary"):
        net.set_params(loss="cross_entropy").fit(X, y)
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_changed_class_weights_hold_from_now_on(method):
    """A class that weighs ever more is predicted ever more often."""
    net = quiet(
        MLPClassifier((4,), warm_start=True, max_iter=100, random_state=0, learning_rate_init=0.05).fit, X, LABELS
    )
    before = np.mean(net.predict(X) == 2)
    net.set_params(class_weight={2: 1e3})
    for _ in range(100 if method == "partial_fit" else 1):
        quiet(getattr(net, method), X, LABELS)
    assert np.mean(net.predict(X) == 2) > max(before, 0.9)


def test_balanced_weights_are_refused_by_partial_fit():
    net = MLPClassifier(class_weight="balanced")
    with pytest.raises(ValueError, match=r"^MLPClassifier\.partial_fit: class_weight='balanced' needs all the samples"):
        net.partial_fit(X[LABELS < 2], LABELS[LABELS < 2], classes=[0, 1, 2])


def test_a_fold_without_a_weighted_class():
    y = np.r_[np.zeros(60, dtype=int), np.ones(26, dtype=int), [2] * 4]
    net = MLPClassifier((4,), class_weight={0: 1, 1: 1, 2: 10}, max_iter=3, random_state=0)
    folds = [(np.arange(86), np.arange(86, 90))]  # all of class 2 are in the test part
    assert quiet(cross_val_score, net, X, y, cv=folds, error_score="raise").tolist() == [0.0]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_other_data_are_learned_as_long_as_they_need(early_stopping):
    rng = np.random.RandomState(0)
    A, B = rng.standard_normal((200, 4)), rng.standard_normal((200, 4))
    a, b = (A[:, 0] > 0).astype(int), (B[:, 1] > 0).astype(int)
    how = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "random_state": 0, "max_iter": 400}
    net = quiet(MLPClassifier(**how, early_stopping=early_stopping, warm_start=True).fit, A, a)
    quiet(net.fit, B, b)
    cold = quiet(MLPClassifier(**how, early_stopping=early_stopping).fit, B, b)
    assert net.n_iter_ > 10
    assert net.score(B, b) > cold.score(B, b) - 0.03


def test_bags_of_few_rows_with_early_stopping():
    """Where the rows that are held out weigh nothing there is an error in words, and otherwise a score."""
    net = MLPClassifier((4,), early_stopping=True, max_iter=5, random_state=0)
    bags = quiet(BaggingClassifier(net, 5, random_state=0).fit, X, LABELS)
    assert all(np.isfinite(each.validation_scores_).all() for each in bags.estimators_)


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", lambda net, X, y: -np.abs(net.predict(X)).max()])
def test_a_regression_that_diverges_says_so_whatever_scores_it(scoring):
    net = MLPRegressor(
        hidden_layer_sizes=(4,),
        solver="sgd",
        learning_rate_init=1e300,
        early_stopping=True,
        scoring=scoring,
        random_state=0,
    )
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        quiet(net.fit, X, X[:, 0])


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr"])
def test_a_classification_that_diverges_says_so_whatever_scores_it(scoring):
    net = MLPClassifier(
        (4,), activation="identity", solver="sgd", learning_rate_init=1e300, early_stopping=True, scoring=scoring,
        random_state=0,
    )  # fmt: skip
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        quiet(net.fit, X, LABELS)


def test_copies_of_an_estimator_have_curves_of_their_own():
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier((4,), random_state=0).partial_fit(X[:200], y[:200], classes=range(10))
    curve = net.loss_curve_
    curve.append(0.0)
    assert len(net.partial_fit(X[:200], y[:200]).loss_curve_) == 2


def test_the_name_of_a_scorer_comes_back(tmp_path):
    net = quiet(MLPClassifier((4,), max_iter=2, scoring="f1_macro", early_stopping=True).fit, X, LABELS)
    net.save(tmp_path / "net.safetensors")
    again = MLPClassifier.load(tmp_path / "net.safetensors")
    assert again.scoring == "f1_macro"
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))
    plain = MLP.load(tmp_path / "net.safetensors")
    assert plain.scoring is None
    plain.save(tmp_path / "again.safetensors")
    assert MLPClassifier.load(tmp_path / "again.safetensors").scoring == "f1_macro"


def test_functions_that_a_file_does_not_hold_are_named(tmp_path):
    inner = quiet(MLP((3,), learning_rate=lambda epoch, epochs: 1.0, max_iter=2).fit, X, LABELS)
    with pytest.warns(UserWarning, match=r"^MLP\.save: .* does not hold learning_rate=<function"):
        inner.save(tmp_path / "inner.safetensors")
    assert MLP.load(tmp_path / "inner.safetensors").learning_rate == "constant"
    outer = quiet(MLPClassifier((3,), scoring=lambda *_: 1.0, max_iter=2).fit, X, LABELS)
    with pytest.warns(UserWarning, match=r"^MLPClassifier\.save: .* does not hold scoring=<function"):
        outer.save(tmp_path / "outer.safetensors")


@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_tensors_of_labels_in_a_column_are_scored_as_they_are_fitted():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = torch.tensor(X), torch.tensor(LABELS)
    for cls, target in ((MLPClassifier, y), (MLPRegressor, x[:, 0])):
        net = quiet(cls(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit, x, target[:, None])
        assert net.score(x, target[:, None]) == net.score(x, target)


def test_a_plain_array_takes_the_short_way_to_the_same_predictions():
    """What scikit-learn's checks would return as it is, is not sent through them; all else is, errors included."""
    net = quiet(MLPClassifier((4,), max_iter=3, random_state=0).fit, X, LABELS)
    assert net._is_plain(X[:1])
    expected = net.predict_proba(X[:1])
    for other in (X[:1].tolist(), X[:1].astype(object), np.asfortranarray(np.repeat(X[:1], 2, axis=0))[:1]):
        np.testing.assert_array_equal(net.predict_proba(other), expected)
    for bad, words in (
        (np.full((1, 4), np.nan), "contains NaN"),
        (np.full((1, 4), np.inf), "contains infinity"),
        (X[:1, :3], "X has 3 features, but MLPClassifier is expecting 4"),
        (X[0], "Expected 2D array, got 1D array"),
        (X[:0], "Found array with 0 sample"),
        (np.array(1.0), "Expected 2D array, got scalar array"),
        (1j * X[:1], "Complex data not supported"),
    ):
        assert not net._is_plain(bad)
        with pytest.raises(ValueError, match=words):
            net.predict(bad)


def test_layers_in_the_place_of_the_loss_are_pointed_to_their_parameter():
    """The loss is the first parameter of scikit-learn's MLPRegressor too."""
    with pytest.raises(ValueError, match=r"^MLPRegressor: .*for layers write hidden_layer_sizes=\(128, 64\)"):
        MLPRegressor((128, 64)).fit(X, X[:, 0])
