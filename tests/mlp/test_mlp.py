"""`MLP`: what people call, hand in and get back."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from helpers import problem, relative, weights_of
from numpy.random import RandomState

import xbackprop
from xbackprop import MLP
from xbackprop.arrays.discovery import backend_of

tasks = pytest.mark.parametrize("task", ["classification", "regression"])


def quiet_fit(net, *data):
    """Fit a network that is meant to stop at max_iter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(*data)


def fitted(backend, task="classification", X=None, y=None, **settings):
    given_X, given_y = problem(task)
    net = MLP(
        **{"hidden_layer_sizes": (6,), "task": task, "backend": backend, "max_iter": 5, "random_state": 0, **settings}
    )
    return quiet_fit(net, given_X if X is None else X, given_y if y is None else y)


def host(x):
    return np.asarray(backend_of(x).to_host(x))


def test_as_it_stands():
    """The first line of the issue."""
    X, y = problem("classification")
    net = xbackprop.MLP(backend="numpy")
    assert net is quiet_fit(net, X, y)
    assert net.predict(X).shape == (12,)


def test_learns_xor(backend):
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = [0, 1, 1, 0]
    net = quiet_fit(MLP((8,), "tanh", learning_rate_init=0.05, max_iter=300, backend=backend, random_state=0), X, y)
    np.testing.assert_array_equal(net.predict(X), y)
    assert net.score(X, y) == 1.0
    assert net.loss_curve_[-1] < 0.1 * net.loss_curve_[0]


def test_without_a_hidden_layer_it_learns_a_linear_map(backend):
    """The least squares solution is known."""
    rng = RandomState(0)
    X, A, c = rng.standard_normal((40, 3)), rng.standard_normal((3, 2)), np.array([1.0, -2.0])
    net = MLP(
        (),
        task="regression",
        solver="sgd",
        learning_rate_init=0.1,
        max_iter=400,
        alpha=0,
        backend=backend,
        tol=0.0,
        n_iter_no_change=400,
        random_state=0,
    )
    quiet_fit(net, X, X @ A + c)
    W, b = weights_of(net)
    np.testing.assert_allclose(W, A, atol=1e-6)
    np.testing.assert_allclose(b, c, atol=1e-6)
    np.testing.assert_allclose(net.predict(X), X @ A + c, atol=1e-5)
    assert net.score(X, X @ A + c) == pytest.approx(1.0)


@pytest.mark.parametrize("hidden", [(), 4, (4,), [4, 3], np.array([4, 3])], ids=str)
def test_attributes(backend, hidden):
    X, y = problem("classification")
    net = fitted(backend, hidden_layer_sizes=hidden)
    sizes = (4, *np.atleast_1d(np.array(hidden, dtype=int)), 3)
    assert [tuple(W.shape) for W in net.coefs_] == list(pairwise(sizes))
    assert [tuple(b.shape) for b in net.intercepts_] == [(n,) for n in sizes[1:]]
    np.testing.assert_array_equal(net.classes_, [0, 1, 2])
    assert net.n_iter_ == len(net.loss_curve_) == 5
    assert all(isinstance(loss, float) for loss in net.loss_curve_)
    assert (net.n_features_in_, net.n_outputs_) == (4, 3)


def test_predict_proba_is_the_softmax_of_the_network_and_predict_its_largest(backend):
    X, y = problem("classification")
    net = fitted(backend, activation="tanh")
    W1, W2, b1, b2 = weights_of(net)
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict_proba(X), p, rtol=1e-12)
    np.testing.assert_array_equal(net.predict(X), net.classes_[p.argmax(axis=1)])


def test_two_classes_have_two_outputs(backend):
    X, _ = problem("classification")
    net = fitted(backend, y=np.arange(12) % 2)
    assert net.predict_proba(X).shape == (12, 2)
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1)


LABELS = {
    "text": ["no", "perhaps", "yes"],
    "objects": np.array(["b", "a", "c"], dtype=object),
    "bool": [True, False],
    "negative": [-7, 3, -1],
    "float": [0.5, -1.5, 2.0],
    "gaps": [10, 1000, 3],
    "uint8": np.array([200, 3], dtype=np.uint8),
    "dates": np.array(["2020-01-01", "1999-12-31"], dtype="datetime64[D]"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_may_be_anything_that_sorts(backend, kind):
    """The network is the one for the numbers 0 … K-1 in the order of the labels."""
    labels = np.asarray(LABELS[kind])
    X, numbers = problem("classification", outputs=len(labels))
    y = np.sort(labels)[numbers]
    net, plain = fitted(backend, y=y), fitted(backend, y=numbers)
    np.testing.assert_array_equal(net.classes_, np.sort(labels))
    predicted = net.predict(X)
    np.testing.assert_array_equal(predicted, np.sort(labels)[host(plain.predict(X))])
    assert predicted.dtype == labels.dtype
    assert net.score(X, y) == np.mean(predicted == y)
    for a, b in zip(weights_of(net), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)


@tasks
@pytest.mark.parametrize("given_in", ["numpy", "torch", "array_api_strict"])
def test_results_come_back_in_the_library_and_dtype_and_on_the_device_of_X(backend, task, given_in):
    module = pytest.importorskip(given_in, reason=f"{given_in} holds X here")
    X, y = problem(task)
    for dtype in ("float64", "float32"):
        theirs = module.asarray(X.astype(dtype))
        target = module.asarray(y) if task == "classification" else module.asarray(y.astype(dtype))
        net = fitted(backend, task, theirs, target)
        results = [net.predict(theirs)] + ([net.predict_proba(theirs)] if task == "classification" else [])
        for result in results:
            assert type(result) is type(theirs)
            assert result.device == theirs.device
        assert results[-1].dtype == theirs.dtype
        assert [str(w.dtype) for w in weights_of(net)] == [dtype] * 4
        expected = fitted(backend, task, X.astype(dtype), y if task == "classification" else y.astype(dtype))
        np.testing.assert_array_equal(host(results[0]), expected.predict(X.astype(dtype)))


def test_on_another_device_results_go_back_to_it(backend):
    strict = pytest.importorskip("array_api_strict", reason="its devices hold X here")
    X, y = problem("classification")
    there = strict.asarray(X, device=strict.Device("device2"))
    net = fitted(backend, X=there, y=y)
    assert net.predict(there).device == net.predict_proba(there).device == strict.Device("device2")


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_without_a_backend_the_network_lives_where_X_lives(library):
    module = pytest.importorskip(library, reason=f"{library} holds X here")
    X, y = problem("classification")
    X = module.asarray(X)
    net = fitted(None, X=X, y=y)
    assert all(type(w) is type(X) for w in (*net.coefs_, *net.intercepts_))
    assert all(w.device == X.device for w in net.coefs_)


def test_a_tensor_that_wants_gradients_gets_none():
    torch = pytest.importorskip("torch", reason="only torch has such tensors")
    X, y = problem("regression")
    X = torch.tensor(X, requires_grad=True)
    net = fitted(None, "regression", X, torch.tensor(y, requires_grad=True))
    assert not net.predict(X).requires_grad
    assert not any(w.requires_grad for w in net.coefs_)
    assert X.grad is None


DTYPES = {
    "float32": "float32", "float64": "float64", "float16": "float32", "int64": "float64", "int8": "float64",
    "uint8": "float64", "bool": "float64", ">f8": "float64", ">f4": "float32",
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_which_dtype_a_network_computes_in(backend, dtype):
    X, y = problem("classification")
    X = np.round(3 * np.abs(X)).astype(dtype)
    net = fitted(backend, X=X, y=y)
    assert [w.dtype for w in weights_of(net)] == [np.dtype(DTYPES[dtype])] * 4
    assert host(net.predict_proba(X)).dtype == DTYPES[dtype]
    same = fitted(backend, X=X.astype(DTYPES[dtype]), y=y)
    np.testing.assert_array_equal(net.predict_proba(X), same.predict_proba(X.astype(DTYPES[dtype])))


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32])
def test_a_dtype_that_is_named_is_used(backend, dtype):
    assert {w.dtype for w in weights_of(fitted(backend, dtype=dtype))} == {np.dtype(dtype)}


FORMS = {
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "list of lists": lambda X: X.tolist(),
    "tuple of arrays": tuple,
    "objects": lambda X: X.astype(object),
}


@tasks
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_data_does_not_matter(backend, task, form):
    """Every form holds the same numbers, so it gives the same network and predictions; nothing is written into it."""
    X, y = problem(task)
    formed, target = FORMS[form](X), (FORMS[form](y) if task == "regression" or "list" in form else y)
    net, plain = fitted(backend, task, formed, target), fitted(backend, task, X, y)
    for a, b in zip(weights_of(net), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(net.predict(formed), plain.predict(X))
    assert net.score(formed, target) == plain.score(X, y)
    np.testing.assert_array_equal(np.asarray(formed, dtype=float), problem(task)[0])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(backend, library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed: frames are accepted, not required")
    X, y = problem("classification")
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate(names)})
    series = frames.Series([["no", "yes", "?"][k] for k in y])
    net = fitted(backend, X=frame, y=series)
    assert list(net.feature_names_in_) == names
    predicted = net.predict(frame)
    assert isinstance(predicted, np.ndarray)
    assert set(predicted) <= {"no", "yes", "?"}
    np.testing.assert_array_equal(net.predict(frame.to_numpy()), predicted)
    with pytest.raises(ValueError, match=r"MLP\.predict: X must have the columns"):
        net.predict(frame[["b", "a", "c", "d"]])
    assert fitted(backend).feature_names_in_ is None


@tasks
def test_fit_starts_anew(backend, task):
    X, y = problem(task)
    net = fitted(backend, task)
    once = weights_of(net)
    quiet_fit(net, X, y)
    for a, b in zip(once, weights_of(net), strict=True):
        np.testing.assert_array_equal(a, b)
    assert net.n_iter_ == 5


def test_a_random_state_goes_on_where_it_stands(backend):
    X, y = problem("classification")
    net = fitted(backend, random_state=RandomState(0))
    first = weights_of(net)
    assert all(np.array_equal(a, b) for a, b in zip(first, weights_of(fitted(backend, random_state=0)), strict=True))
    quiet_fit(net, X, y)
    assert not np.array_equal(first[0], weights_of(net)[0])


@tasks
def test_initialize_gives_the_weights_that_fit_starts_from(backend, task):
    X, y = problem(task)
    settings = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1e-300}  # steps to nowhere
    start = MLP((6,), task=task, backend=backend, random_state=0, **settings).initialize(X, y)
    assert (start.loss_curve_, start.n_iter_) == ([], 0)
    for a, b in zip(weights_of(start), weights_of(fitted(backend, task, **settings)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-290)
    assert not any(b.any() for b in weights_of(start)[2:])


@tasks
def test_loss_and_gradient(backend, task):
    """The loss is the one that fit reports; lists are shaped like the weights; weights are copies."""
    X, y = problem(task)
    net = MLP((6,), task=task, backend=backend, alpha=0.3, random_state=0).initialize(X, y)
    loss, dW, db = net.loss_and_gradient(X, y)
    assert isinstance(loss, float)
    assert loss == pytest.approx(fitted(backend, task, alpha=0.3).loss_curve_[0], rel=1e-13)
    assert [a.shape for a in dW] == [a.shape for a in net.coefs_]
    assert [a.shape for a in db] == [a.shape for a in net.intercepts_]
    copies = np.arange(12) % 3
    weighted, wW, wb = net.loss_and_gradient(X, y, copies)
    repeated, rW, rb = net.loss_and_gradient(np.repeat(X, copies, axis=0), np.repeat(y, copies, axis=0))
    assert weighted == pytest.approx(repeated, rel=1e-12)
    for a, b in zip((*wW, *wb), (*rW, *rb), strict=True):
        assert relative(backend.to_host(a), backend.to_host(b)) < 1e-12


def test_writing_into_coefs_changes_the_network(backend):
    X, y = problem("regression")
    net = fitted(backend, "regression")
    try:
        net.coefs_[1][...] = 0.0
    except TypeError:
        pytest.skip(f"the arrays of {backend!r} cannot be written to")
    net.intercepts_[1][...] = backend.asarray(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(net.predict(X), np.tile([1.0, 2.0, 3.0], (12, 1)))


@tasks
def test_what_loss_and_gradient_returns_is_the_callers_own(backend, task):
    """Nothing public hands out memory that a later call writes over."""
    X, y = problem(task)
    net = fitted(backend, task)
    _, dW, _ = net.loss_and_gradient(X, y)
    kept = np.array(backend.to_host(dW[0]))
    before = weights_of(net)
    net.loss_and_gradient(2 * X, y)
    quiet_fit(net, X, y)
    np.testing.assert_array_equal(backend.to_host(dW[0]), kept)
    for a, b in zip(before, weights_of(net), strict=True):
        np.testing.assert_array_equal(a, b)


@tasks
def test_a_sample_weight_is_a_number_of_copies(backend, task):
    X, y = problem(task)
    copies = np.array([1, 2, 0, 3, 1, 1, 0, 4, 1, 2, 1, 1])

    def fit(*data):
        return weights_of(quiet_fit(MLP((6,), task=task, backend=backend, max_iter=20, random_state=0), *data))

    for a, b in zip(fit(X, y, copies), fit(np.repeat(X, copies, axis=0), np.repeat(y, copies, axis=0)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    assert relative(fit(X, y, copies)[0], fit(X, y)[0]) > 1e-3


@tasks
@pytest.mark.parametrize("floats", [1, 100, 170])
def test_predictions_in_chunks_are_predictions_in_one_piece(backend, task, floats, monkeypatch):
    X, _ = problem(task, n=23)
    net = fitted(backend, task)
    whole = net.predict(X)
    whole_proba = net.predict_proba(X) if task == "classification" else whole
    monkeypatch.setattr("xbackprop.mlp.model.LEAST_ROWS", 1)
    monkeypatch.setattr(type(backend), "prediction_chunk", floats)
    chunk_proba = net.predict_proba(X) if task == "classification" else net.predict(X)
    np.testing.assert_allclose(chunk_proba, whole_proba, rtol=1e-13)
    assert net.predict(X).shape == whole.shape
    np.testing.assert_allclose(net.predict(X), whole, rtol=1e-13)


def test_score_is_scikit_learns(backend):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    X, y = problem("classification")
    net = fitted(backend)
    assert net.score(X, y) == pytest.approx(metrics.accuracy_score(y, net.predict(X)))
    X, y = problem("regression")
    net = fitted(backend, "regression")
    assert net.score(X, y) == pytest.approx(metrics.r2_score(y, net.predict(X)), rel=1e-12)
    y[:, 1] = 3.0  # R² of a constant target is 0 unless it is met
    assert net.score(X, y) == pytest.approx(metrics.r2_score(y, net.predict(X)), rel=1e-12)


def test_the_shape_of_y_comes_back(backend):
    X, y = problem("regression")
    assert fitted(backend, "regression", X, y[:, 0]).predict(X).shape == (12,)
    assert fitted(backend, "regression", X, y[:, :1]).predict(X).shape == (12, 1)
    assert fitted(backend, "regression", X, y).predict(X).shape == (12, 3)


def test_repr_shows_what_is_not_a_default():
    assert repr(MLP((3,), alpha=0.5)) == "MLP(hidden_layer_sizes=(3,), alpha=0.5)"


def test_verbose_prints_a_line_per_epoch(capsys):
    fitted("numpy", verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {k}" for k in range(1, 6)]
