"""Bad input: an error that says where, what was expected and what came, and an object that is as it was."""

import re

import numpy as np
import pytest
from helpers import problem, weights_of

import xbackprop
from xbackprop import MLP
from xbackprop.errors import BackendError, NotFittedError

X, LABELS = problem("classification")
_, TARGETS = problem("regression")


def spoiled(value, index=(3, 1), data=X):
    data = data.copy()
    data[index] = value
    return data


# setting: (value, what the message must say was expected, and what came)
SETTINGS = {
    "hidden_layer_sizes=0": ("hidden_layer_sizes", 0, "at least 1, got 0"),
    "hidden_layer_sizes negative": ("hidden_layer_sizes", (5, -2), r"\[1\] must be .*at least 1, got -2"),
    "hidden_layer_sizes not whole": ("hidden_layer_sizes", (2.5,), "whole number.*got 2.5"),
    "hidden_layer_sizes=True": ("hidden_layer_sizes", (True,), "whole number.*got True"),
    "hidden_layer_sizes text": ("hidden_layer_sizes", "100", "whole numbers.*got '100'"),
    "hidden_layer_sizes=None": ("hidden_layer_sizes", None, "whole numbers.*got None"),
    "unknown activation": ("activation", "sigmoid", "'logistic'.*got 'sigmoid'"),
    "unknown activation in a list": ("activation", ["relu", "swish"], r"\[1\] must be .*'relu'.*got 'swish'"),
    "activations of the wrong number": ("activation", ["relu"], r"2 hidden layers.*got \['relu'\]"),
    "activation=None": ("activation", None, "got None"),
    "unknown scoring": ("scoring", "accuracy", "'loss' or a function.*got 'accuracy'"),
    "dropout of everything": ("dropout", 1.0, r"a number in \[0, 1\), got 1.0"),
    "one dropout too many": ("dropout", (0.1, 0.1, 0.1), r"one for each of \d hidden layers"),
    "l1_ratio above 1": ("l1_ratio", 1.5, r"a number in \[0, 1\], got 1.5"),
    "negative decay": ("weight_decay", -0.1, "a number of at least 0, got -0.1"),
    "no threads": ("threads", 0, "a whole number of at least 1, got 0"),
    "clipping to nothing": ("clip_norm", 0.0, "a positive number, got 0.0"),
    "unknown schedule": ("learning_rate", "linear", "'one_cycle', got 'linear'"),
    "negative warm-up": ("warmup", -1, "a number of at least 0, got -1"),
    "a quantile of 1": ("quantile", 1.0, "a number between 0 and 1, got 1.0"),
    "smoothing all away": ("label_smoothing", 1.0, r"a number in \[0, 1\), got 1.0"),
    "steps of no epochs": ("step_epochs", 0, "a whole number of at least 1, got 0"),
    "resume from nowhere": ("resume", True, "needs the folder of the checkpoint"),
    "unknown solver": ("solver", "newton", "'lbfgs', got 'newton'"),
    "unknown task": ("task", "ranking", "'classification', 'regression', got 'ranking'"),
    "unknown init": ("init", "orthogonal", "'he_normal'.*got 'orthogonal'"),
    "max_iter=0": ("max_iter", 0, "whole number of at least 1, got 0"),
    "max_iter not whole": ("max_iter", 1.5, "whole number.*got 1.5"),
    "batch_size=0": ("batch_size", 0, "whole number of at least 1, got 0"),
    "batch_size text": ("batch_size", "all", "whole number.*got 'all'"),
    "n_iter_no_change=0": ("n_iter_no_change", 0, "at least 1, got 0"),
    "negative rate": ("learning_rate_init", -1e-3, "positive number, got -0.001"),
    "rate=0": ("learning_rate_init", 0.0, "positive number, got 0.0"),
    "rate NaN": ("learning_rate_init", float("nan"), "positive number, got nan"),
    "rate infinite": ("learning_rate_init", float("inf"), "positive number, got inf"),
    "rate text": ("learning_rate_init", "0.1", "positive number, got '0.1'"),
    "negative alpha": ("alpha", -1.0, "at least 0, got -1.0"),
    "alpha NaN": ("alpha", float("nan"), "at least 0, got nan"),
    "momentum above 1": ("momentum", 1.5, "got 1.5"),
    "negative momentum": ("momentum", -0.1, "got -0.1"),
    "beta_1=1": ("beta_1", 1.0, r"\[0, 1\), got 1.0"),
    "negative beta_2": ("beta_2", -0.5, r"\[0, 1\), got -0.5"),
    "epsilon=0": ("epsilon", 0.0, "positive number, got 0.0"),
    "negative tol": ("tol", -1e-4, "at least 0, got -0.0001"),
    "unknown dtype": ("dtype", "int32", "'float32', 'float64', got 'int32'"),
    "half precision": ("dtype", "float16", "'float32', 'float64', got 'float16'"),
    "negative seed": ("random_state", -1, "at least 0, got -1"),
    "seed too large": ("random_state", 2**32, r"below 2\*\*32, got 4294967296"),
    "seed text": ("random_state", "0", "got '0'"),
    "backend of the wrong kind": ("backend", 3, "a name.*got 3"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(case):
    name, value, message = SETTINGS[case]
    sizes = {} if name == "hidden_layer_sizes" else {"hidden_layer_sizes": (4, 3)}
    with pytest.raises(ValueError, match=f"^MLP: .*{name}.*{message}"):
        MLP(**{**sizes, name: value})


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_are_changed_later_are_checked_by_fit(case, net):
    """And the network is the one it was, with its weights."""
    name, value, message = SETTINGS[case]
    if name == "activation":
        net.hidden_layer_sizes = (4, 3)
    setattr(net, name, value)
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.fit: .*{name}.*{message}"):
        net.fit(X, LABELS)


def test_an_unknown_backend():
    with pytest.raises(BackendError, match=r"unknown backend 'tensorflow'; expected one of: .*numpy.*torch"):
        MLP(backend="tensorflow")


DATA = {
    "one axis": (
        X[0],
        LABELS,
        r"X must have shape \(n_samples, n_features\), got \(4,\); for one sample, X.reshape\(1, -1\)",
    ),
    "three axes": (X[None], LABELS, r"X must have shape \(n_samples, n_features\), got \(1, 12, 4\)"),
    "a number": (3.0, LABELS, r"X must have shape .*got \(\)"),
    "no rows": (X[:0], LABELS[:0], r"X must have shape .*at least one of each, got \(0, 4\)"),
    "no columns": (X[:, :0], LABELS, r"at least one of each, got \(12, 0\)"),
    "rows of unequal length": ([[1, 2], [3]], [0, 1], "X must have rows of equal length"),
    "fewer labels": (X, LABELS[:5], r"y must have shape \(12,\).*got \(5,\)"),
    "more labels": (X[:5], LABELS, r"y must have shape \(5,\).*got \(12,\)"),
    "labels with two axes": (X, LABELS[:, None], r"y must have shape \(12,\).*got \(12, 1\)"),
    "NaN": (spoiled(np.nan), LABELS, r"X must be finite, got nan at \(3, 1\)"),
    "infinity": (spoiled(-np.inf), LABELS, r"X must be finite, got -inf at \(3, 1\)"),
    "None in a list": ([[1.0, None], [2.0, 3.0]], [0, 1], r"X .*(nan|None) at \(0, 1\)"),
    "complex": (X + 1j, LABELS, "X must have numbers, got .*j"),
    "text": (X.astype(str), LABELS, r"X must have numbers, got .* at \(0, 0\)"),
    "one word": (spoiled("abc", data=X.astype(object)), LABELS, r"X must have numbers, got 'abc' at \(3, 1\)"),
    "one class": (X, np.zeros(12, dtype=int), r"y must have at least two classes, got only .*0"),
    "a label that is NaN": (X, spoiled(np.nan, 3, LABELS.astype(float)), "y must have no missing labels.* row 3"),
    "labels that do not sort": (X, np.array([1, "a"] * 6, dtype=object), "y must have labels that can be sorted"),
}


@pytest.fixture
def net():
    """A network that is trained already."""
    net = MLP((5,), tol=0.5, n_iter_no_change=1, random_state=0)
    return net.fit(X, LABELS)


@pytest.fixture
def regression():
    net = MLP((5,), task="regression", tol=1e3, n_iter_no_change=1, random_state=0)
    return net.fit(X, TARGETS)


class untouched:
    """Whatever happens inside, the network has the weights, the predictions and the attributes that it had."""

    def __init__(self, net):
        self.net = net

    def state(self):
        net = self.net
        plain = {name: value for name, value in vars(net).items() if name != "_model"}
        return [*weights_of(net), net.predict(X)], repr(plain), net.n_outputs_

    def __enter__(self):
        self.before = self.state()

    def __exit__(self, *_):
        arrays, *rest = self.before
        arrays_now, *rest_now = self.state()
        assert rest_now == rest
        for a, b in zip(arrays, arrays_now, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("method", ["fit", "initialize"])
def test_data(case, method, net):
    bad_X, bad_y, message = DATA[case]
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.{method}: .*{message}"):
        getattr(net, method)(bad_X, bad_y)
    unfitted = MLP((5,))
    with pytest.raises(ValueError, match=rf"^MLP\.{method}: "):
        getattr(unfitted, method)(bad_X, bad_y)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


TARGET_CASES = {
    "text": (np.array(["low", "high"] * 6), "y must have numbers, got .*'low'"),
    "words among numbers": (
        spoiled("high", 3, TARGETS[:, 0].astype(object)),
        r"y must have numbers, got 'high' at \(3,\)",
    ),
    "NaN": (spoiled(np.nan, 3, TARGETS[:, 0]), r"y must be finite, got nan at \(3,\)"),
    "infinity": (spoiled(np.inf, 3, TARGETS[:, 0]), r"y must be finite, got inf at \(3,\)"),
    "fewer rows": (TARGETS[:5], r"y must have shape \(12,\) or \(12, n_outputs\).*got \(5, 3\)"),
    "three axes": (TARGETS[None], r"y must have shape .*got \(1, 12, 3\)"),
    "no outputs": (TARGETS[:, :0], r"y must have shape .*got \(12, 0\)"),
    "complex": (TARGETS * 1j, "y must have numbers"),
}


@pytest.mark.parametrize("case", TARGET_CASES)
def test_targets_of_a_regression(case, regression):
    y, message = TARGET_CASES[case]
    with untouched(regression), pytest.raises(ValueError, match=rf"^MLP\.fit: .*{message}"):
        regression.fit(X, y)


WEIGHTS = {
    "fewer": (np.ones(5), r"sample_weight must have shape \(12,\).*got \(5,\)"),
    "two axes": (np.ones((12, 1)), r"sample_weight must have shape \(12,\).*got \(12, 1\)"),
    "negative": (spoiled(-1.0, 3, np.ones(12)), "sample_weight must have no negative"),
    "all zero": (np.zeros(12), "sample_weight must have .* some positive"),
    "NaN": (spoiled(np.nan, 3, np.ones(12)), r"sample_weight must be finite, got nan at \(3,\)"),
    "text": (np.array(["1"] * 12), "sample_weight must have numbers"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_sample_weights(case, net):
    weight, message = WEIGHTS[case]
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.fit: .*{message}"):
        net.fit(X, LABELS, weight)
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.loss_and_gradient: .*{message}"):
        net.loss_and_gradient(X, LABELS, weight)


def test_numbers_that_the_dtype_cannot_hold(net):
    """1e300 is finite in float64 and infinite in float32, in which this network computes."""
    net.dtype = "float32"
    with (
        untouched(net),
        pytest.raises(
            ValueError, match=r"^MLP\.fit: X must be finite, got 1e\+300 \(infinite in float32\) at \(3, 1\)"
        ),
    ):
        net.fit(spoiled(1e300), LABELS)


CALLS = {
    "predict": lambda net, X: net.predict(X),
    "predict_proba": lambda net, X: net.predict_proba(X),
    "score": lambda net, X: net.score(X, LABELS),
    "loss_and_gradient": lambda net, X: net.loss_and_gradient(X, LABELS),
    "gradient_check": lambda net, X: net.gradient_check(X, LABELS),
}
calls = pytest.mark.parametrize("call", CALLS)


@calls
def test_before_fit(call):
    with pytest.raises(NotFittedError, match=rf"^MLP\.{call}: .*call fit or initialize first"):
        CALLS[call](MLP(), X)


@pytest.mark.parametrize(
    "name", ["coefs_", "intercepts_", "classes_", "n_features_in_", "n_outputs_", "loss_curve_", "n_iter_"]
)
def test_attributes_before_fit_are_missing(name):
    assert not hasattr(MLP(), name)


def test_save_before_fit(tmp_path):
    with pytest.raises(NotFittedError, match=r"^MLP\.save: "):
        MLP().save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


@calls
@pytest.mark.parametrize(
    ("bad_X", "message"),
    [
        (X[:, :3], r"X must have shape \(n_samples, 4\), got \(12, 3\)"),
        (X[0], r"X must have shape \(n_samples, 4\), got \(4,\)"),
        (X[:0], r"X must have shape \(n_samples, 4\).*got \(0, 4\)"),
        (spoiled(np.nan), r"X must be finite, got nan at \(3, 1\)"),
        (X.astype(str), "X must have numbers"),
    ],
    ids=["features", "axes", "no rows", "NaN", "text"],
)
def test_data_that_do_not_fit_the_network(call, bad_X, message, net):
    where = "predict" if call == "score" else call
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.({call}|{where}): .*{message}"):
        CALLS[call](net, bad_X)


@pytest.mark.parametrize("call", ["score", "loss_and_gradient", "gradient_check"])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (spoiled(7, 3, LABELS), "y must have the labels of fit, 0, 1, 2, got .*7"),
        (spoiled(-7, 3, LABELS), "y must have the labels of fit, 0, 1, 2, got .*-7"),
        (np.array(["a", "b"] * 6), "y must have the labels of fit, 0, 1, 2, got"),
        (LABELS[:5], r"y must have shape \(12,\).*got \(5,\)"),
    ],
    ids=["unseen", "unseen and small", "of another kind", "fewer"],
)
def test_labels_that_fit_has_not_seen(call, y, message, net):
    with untouched(net), pytest.raises(ValueError, match=rf"^MLP\.{call}: .*{message}"):
        getattr(net, call)(X, y)


@pytest.mark.parametrize("call", ["score", "loss_and_gradient", "gradient_check"])
def test_targets_of_another_width(call, regression):
    with (
        untouched(regression),
        pytest.raises(ValueError, match=rf"^MLP\.{call}: y must have shape .*\(12, 3\).*got \(12, 2\)"),
    ):
        getattr(regression, call)(X, TARGETS[:, :2])


def test_probabilities_of_a_regression_say_what_to_call(regression):
    with untouched(regression), pytest.raises(ValueError, match=r"^MLP\.predict_proba: .*regression.*call predict"):
        regression.predict_proba(X)
    assert not hasattr(regression, "classes_")


@pytest.mark.parametrize(
    ("name", "value"), [("epsilon", 0), ("epsilon", -1e-5), ("tolerance", 0), ("tolerance", float("nan"))]
)
def test_settings_of_the_check(name, value, net):
    with (
        untouched(net),
        pytest.raises(ValueError, match=rf"^MLP\.gradient_check: {name} must be .*got {re.escape(repr(value))}"),
    ):
        net.gradient_check(X, LABELS, **{name: value})


def test_a_column_of_a_frame_is_named():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: frames are accepted, not required")
    frame = pandas.DataFrame({"age": [1.0, 2.0], "town": ["Bern", "Rome"]})
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must have numbers, got 'Bern' at \(0, 1\) of column 'town'"):
        MLP().fit(frame, [0, 1])


def test_sparse_targets_and_weights_are_refused_with_a_hint():
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the sparse matrix")
    with pytest.raises(ValueError, match=r"^MLP\.fit: y must be a dense array.*toarray"):
        MLP(task="regression").fit(X, sparse.csr_matrix(X))


def test_a_sparse_table_is_checked_like_a_dense_one():
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the sparse matrix")
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must be finite, got nan at \(3, 1\)"):
        MLP().fit(sparse.csr_matrix(spoiled(np.nan)), LABELS)
    with pytest.raises(ValueError, match=r"^MLP\.predict: X must have shape \(n_samples, 2\), got"):
        MLP().initialize(X[:, :2], LABELS).predict(sparse.csr_matrix(X[:, :1]))


def test_bad_data_on_a_device_are_told_the_same_way(backend):
    bad = backend.asarray(spoiled(np.nan))
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must be finite, got nan at \(3, 1\)"):
        MLP(backend=backend).fit(bad, LABELS)
    with pytest.raises(ValueError, match=r"^MLP\.fit: X must have shape \(n_samples, n_features\), got \(4,\)"):
        MLP(backend=backend).fit(backend.asarray(X[0]), LABELS)
    with pytest.raises(ValueError, match=r"^MLP\.fit: .*sample_weight must have no negative"):
        MLP(backend=backend).fit(backend.asarray(X), LABELS, backend.asarray(-np.ones(12)))


def test_every_error_of_the_library_is_also_a_built_in_one():
    """So that a caller who knows only Python's catches them."""
    errors = xbackprop.errors
    pairs = {
        errors.BackendError: ImportError, errors.DivergenceError: ArithmeticError, errors.NotFittedError: ValueError,
        errors.GradientCheckError: AssertionError, errors.ModelFileError: ValueError,
        errors.ConvergenceWarning: UserWarning,
    }  # fmt: skip
    assert all(issubclass(ours, theirs) for ours, theirs in pairs.items())
    assert issubclass(errors.NotFittedError, AttributeError)
