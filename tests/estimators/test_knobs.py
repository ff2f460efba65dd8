"""What scikit-learn's users do with an estimator, and what ours has beyond it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import xbackprop
from xbackprop import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X_DIGITS, Y_DIGITS = X_DIGITS[:400] / 16, Y_DIGITS[:400]
X_CANCER, Y_CANCER = load_breast_cancer(return_X_y=True)
X_CANCER, Y_CANCER = scale(X_CANCER)[:250], Y_CANCER[:250]
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
X_DIABETES, Y_DIABETES = scale(X_DIABETES), scale(Y_DIABETES)
HOW = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 20}


def classifier(**how):
    return MLPClassifier(**{**HOW, **how})


def regressor(**how):
    return MLPRegressor(**{**HOW, **how})


def equal(a, b):
    for ours, theirs in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_the_worked_example_of_scikit_learn():
    """One step of plain SGD by hand: the figures are those of its test_fit."""
    X, y = np.array([[0.6, 0.8, 0.7]]), np.array([0])
    net = MLPClassifier(
        2, "logistic", solver="sgd", learning_rate_init=0.1, alpha=0.1, max_iter=1, momentum=0, random_state=1
    )
    net.partial_fit(X, y, classes=[0, 1])
    net.coefs_ = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), np.array([[0.1], [0.2]])]
    net.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    net.partial_fit(X, y)
    np.testing.assert_allclose(
        net.coefs_[0], [[0.098, 0.195756], [0.2956664, 0.096008], [0.4939998, -0.002244]], atol=1e-3
    )
    np.testing.assert_allclose(net.coefs_[1], [[0.04706], [0.154089]], atol=1e-3)
    np.testing.assert_allclose(net.intercepts_[0], [0.098333, 0.09626], atol=1e-3)
    np.testing.assert_allclose(net.intercepts_[1], [0.9235], atol=1e-3)


@pytest.mark.parametrize(("make", "X", "y"), [(classifier, X_DIGITS, Y_DIGITS), (regressor, X_DIABETES, Y_DIABETES)])
@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_pickled_and_copied(make, X, y, way):
    net = make(early_stopping=True).fit(X, y)
    again = way(net)
    equal(again, net)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    before = [np.array(W) for W in net.coefs_]
    again.set_params(warm_start=True).fit(X, y)
    for W, kept in zip(net.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, kept)


def test_joblib_and_the_network_itself(tmp_path):
    import joblib

    net = classifier(loss=xbackprop.LOSSES["cross_entropy"], activation=xbackprop.ACTIVATIONS["mish"]).fit(
        X_DIGITS, Y_DIGITS
    )
    joblib.dump(net, tmp_path / "net.joblib")
    equal(joblib.load(tmp_path / "net.joblib"), net)
    again = pickle.loads(pickle.dumps(net.network_))
    np.testing.assert_array_equal(again.predict_proba(X_DIGITS), net.predict_proba(X_DIGITS))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_saved_without_pickle(tmp_path, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    net = classifier(class_weight={3: 2.0}, backend=backend, dropout=0.1).fit(X_DIGITS, Y_DIGITS)
    net.save(tmp_path / "net.safetensors")
    again = MLPClassifier.load(tmp_path / "net.safetensors")
    np.testing.assert_allclose(again.predict_proba(X_DIGITS), net.predict_proba(X_DIGITS), rtol=1e-12)
    for name in ("hidden_layer_sizes", "class_weight", "dropout", "max_iter", "loss", "init"):
        assert again.get_params()[name] == net.get_params()[name], name
    assert again.n_features_in_ == 64
    assert isinstance(xbackprop.MLP.load(tmp_path / "net.safetensors"), xbackprop.MLP)
    with pytest.raises(ValueError, match=r"MLPRegressor\.load: .*has a classification"):
        MLPRegressor.load(tmp_path / "net.safetensors")


def test_a_pipeline_in_a_grid_search():
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=30, learning_rate_init=0.01))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__dropout": [0.0, 0.2]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X_DIGITS, Y_DIGITS)
    assert search.best_score_ > 0.85
    assert cross_val_score(regressor(max_iter=100), X_DIABETES, Y_DIABETES, cv=3).mean() > 0.2


def test_clone_takes_every_parameter_and_no_state():
    net = classifier(dropout=0.25, class_weight="balanced", clip_norm=2.0).fit(X_DIGITS, Y_DIGITS)
    fresh = clone(net)
    assert fresh.get_params() == net.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X_DIGITS)


def test_frames_names_and_metadata():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X_CANCER[:, :4], columns=list("abcd"))
    weight = np.linspace(0.1, 1, len(frame))
    net = classifier().fit(frame, Y_CANCER)
    assert list(net.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        net.predict(frame[list("dcba")])
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), classifier().set_fit_request(sample_weight=True)
        )
        routed.fit(frame, Y_CANCER, sample_weight=weight)
    by_hand = classifier().fit(StandardScaler().fit_transform(frame), Y_CANCER, weight)
    equal(routed[-1], by_hand)
    named = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas").fit(frame, Y_CANCER)
    assert list(named[-1].feature_names_in_) == list("abcd")


@pytest.mark.parametrize("make", [classifier, regressor])
def test_torch_in_torch_out(make):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X, y = (X_DIGITS, Y_DIGITS) if make is classifier else (X_DIABETES, Y_DIABETES)
    tensors = torch.from_numpy(X), torch.from_numpy(y)
    net, expected = make().fit(*tensors), make().fit(X, y)
    assert all(isinstance(W, torch.Tensor) for W in net.coefs_)
    assert isinstance(net.predict(tensors[0]), torch.Tensor)
    assert net.score(*tensors) == pytest.approx(expected.score(X, y), abs=1e-12)
    if make is classifier:
        assert isinstance(net.predict_proba(tensors[0]), torch.Tensor)
        np.testing.assert_allclose(net.predict_log_proba(tensors[0]), expected.predict_log_proba(X), atol=1e-9)
    on_torch = make(backend="torch").fit(X, y)  # and trained there for arrays of NumPy
    assert isinstance(on_torch.predict(X), np.ndarray)
    np.testing.assert_allclose(on_torch.coefs_[0], expected.coefs_[0], atol=1e-9)


def test_two_warm_starts_are_one_run_where_scikit_learns_forget_the_moments():
    whole = classifier(max_iter=10).fit(X_DIGITS, Y_DIGITS)
    net = classifier(max_iter=5, warm_start=True).fit(X_DIGITS, Y_DIGITS)
    net.fit(X_DIGITS, Y_DIGITS)
    equal(net, whole)
    assert net.loss_curve_ == whole.loss_curve_


def test_multilabel_partial_fit_needs_no_classes():
    X, y = make_multilabel_classification(100, n_classes=3, random_state=0)
    net = classifier(learning_rate_init=0.01)
    for _ in range(100):
        net.partial_fit(scale(X), y)
    assert net.score(scale(X), y) > 0.8
    assert net.predict(X).shape == y.shape


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "loss", "neg_log_loss"])
def test_early_stopping_by_a_scorer_or_by_the_loss(scoring):
    net = classifier(early_stopping=True, scoring=scoring, max_iter=15).fit(X_CANCER, Y_CANCER)
    assert len(net.validation_scores_) == len(net.validation_loss_curve_) == net.n_iter_
    assert net.best_validation_score_ == max(net.validation_scores_)
    held_out = net.network_._fitted("test").progress.validation_rows
    X, y = X_CANCER[held_out], Y_CANCER[held_out]
    plain = net.network_.loss_and_gradient(X, y)[0]
    found = {
        "balanced_accuracy": lambda: balanced_accuracy_score(y, net.predict(X)),
        "loss": lambda: -plain,
        "neg_log_loss": lambda: np.mean(net.predict_log_proba(X)[np.arange(len(y)), y]),
    }[scoring]()
    assert net.best_validation_score_ == pytest.approx(found, rel=1e-9)


def test_a_scorer_of_ones_own():
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator.predict(X).shape)
        return estimator.score(X, y)

    net = regressor(early_stopping=True, scoring=scorer, max_iter=6).fit(X_DIABETES, Y_DIABETES)
    assert len(seen) == net.n_iter_
    equal(net, regressor(early_stopping=True, max_iter=6).fit(X_DIABETES, Y_DIABETES))


def test_log_probabilities_stay_finite_where_scikit_learns_are_minus_infinity():
    net = classifier(alpha=0.0).fit(X_CANCER, Y_CANCER)
    logs = net.predict_log_proba(1e4 * X_CANCER)
    assert np.isfinite(logs).all()
    assert logs.min() < -1000
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)


def test_weights_of_zero_in_a_whole_batch_are_no_error():
    weight = np.ones(len(X_CANCER))
    weight[:100] = 0.0
    net = classifier(shuffle=False, batch_size=50, alpha=0.0).fit(X_CANCER, Y_CANCER, weight)
    assert np.isfinite(net.loss_curve_).all()


def test_numbers_that_overflow_are_scikit_learns_error():
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"), np.errstate(all="ignore"):
        regressor(solver="sgd", learning_rate_init=1e3).fit(X_DIABETES, 1e6 * Y_DIABETES)


def test_ctrl_c_keeps_the_model():
    def interrupt(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        net = classifier().fit(X_DIGITS, Y_DIGITS, callback=interrupt)
    assert net.predict(X_DIGITS).shape == Y_DIGITS.shape


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"dropout": 1.0}, "dropout must be a number in"),
        ({"dropout": (0.1, 0.1)}, "one for each of 1 hidden layers"),
        ({"l1_ratio": 2}, "l1_ratio must be a number in"),
        ({"class_weight": {99: 1.0}}, "class_weight has the label 99"),
        ({"class_weight": "even"}, "class_weight must be 'balanced'"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"learning_rate": "linear"}, "learning_rate must be one of"),
        ({"clip_norm": 0}, "clip_norm must be a positive number"),
        ({"solver": "lbfgs", "dropout": 0.1}, "'lbfgs' has no dropout"),
        ({"backend": "abacus"}, "unknown backend"),
        ({"scoring": "acc"}, "'acc' is not a valid scoring value"),
        ({"checkpoint": 3}, "checkpoint must be a folder"),
    ],
)
def test_bad_parameters_are_named(bad, words):
    with pytest.raises((ValueError, xbackprop.BackendError), match=words) as error:
        classifier(**bad).fit(X_DIGITS, Y_DIGITS)
    assert str(error.value).startswith("MLPClassifier") or "backend" in bad or "scoring" in bad


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    import subprocess
    import sys

    code = "import sys; sys.modules['sklearn'] = None; import xbackprop; xbackprop.MLP(); xbackprop.MLPClassifier"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install scikit-learn" in done.stderr


def test_warnings_are_scikit_learns():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier(max_iter=1).fit(X_DIGITS, Y_DIGITS)
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__


def test_digits_with_dropout_and_a_schedule():
    X, y = load_digits(return_X_y=True)
    accuracies = []
    for seed in range(5):
        kept, held_out = train_test_split(np.arange(len(y)), random_state=seed, stratify=y)
        net = MLPClassifier(
            (256, 128), dropout=0.3, label_smoothing=0.05, learning_rate="one_cycle", learning_rate_init=0.005,
            batch_size=64, max_iter=60, n_iter_no_change=60, random_state=seed,
        )  # fmt: skip
        net.fit(X[kept] / 16, y[kept])
        accuracies.append(net.score(X[held_out] / 16, y[held_out]))
    assert np.mean(accuracies) >= 0.98


def test_copies_keep_their_own_rows(tmp_path):
    """Copied and unpickled networks know xbackprop's losses and activations for what they are."""
    net = classifier().fit(X_CANCER, Y_CANCER)
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert np.isfinite(again.predict_log_proba(1e5 * X_CANCER)).all()
        again.save(tmp_path / "net.safetensors")
        np.testing.assert_array_equal(
            MLPClassifier.load(tmp_path / "net.safetensors").predict_proba(X_CANCER), net.predict_proba(X_CANCER)
        )


def test_names_of_columns_go_into_the_file(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X_CANCER[:, :3], columns=list("abc"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        net = classifier(early_stopping=True, scoring="accuracy").fit(frame, Y_CANCER)
    net.save(tmp_path / "net.safetensors")
    again = MLPClassifier.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict(frame), net.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[list("cba")])
    with pytest.raises(ValueError, match="must have the columns"):
        xbackprop.MLP.load(tmp_path / "net.safetensors").predict(frame[list("cba")])


def test_a_scorer_that_fails_leaves_the_estimator_as_it_was():
    calls = []

    def scorer(estimator, X, y):
        calls.append(1)
        return 1 / (4 - len(calls))

    net = classifier().fit(X_CANCER, Y_CANCER)
    before = [np.array(W) for W in net.coefs_]
    with pytest.raises(ZeroDivisionError):
        net.set_params(early_stopping=True, scoring=scorer).fit(X_CANCER, Y_CANCER)
    for W, kept in zip(net.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, kept)


def test_a_target_far_from_unit_size_is_learned_with_scale_target():
    X, y = load_diabetes(return_X_y=True)
    how = {"random_state": 0, "max_iter": 50}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain, scaled = (
            cross_val_score(xbackprop.MLPRegressor(**how, scale_inputs=True, scale_target=which), X, y, cv=3).mean()
            for which in (False, True)
        )
    assert scaled > 0.35 > plain
