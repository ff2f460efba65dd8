"""What an `MLP` tells of its derivatives: values, places and shapes of the public methods. tests/nn/test_derivatives.py
holds the functions beneath them to torch."""

import numpy as np
import pytest
from helpers import problem, relative

from xbackprop import MLP, Activation, Loss
from xbackprop.arrays.discovery import backend_class, backend_of

tasks = pytest.mark.parametrize("task", ["classification", "regression"])


def network(backend, task="classification", hidden=(5, 4), activation="tanh", **settings):
    X, y = problem(task)
    net = MLP(hidden, activation, task=task, backend=backend, alpha=0.5, random_state=1, **settings)
    return net.initialize(X, y), X, y


def directions(net, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.standard_normal(W.shape) for W in net.coefs_], [rng.standard_normal(b.shape) for b in net.intercepts_]


def host(backend, arrays):
    return [np.asarray(backend.to_host(a)) for a in arrays]


def moved(backend, net, t, coefs, intercepts):
    """The same network at θ + t v."""
    model = net._model
    layers = zip(host(backend, net.coefs_), host(backend, net.intercepts_), coefs, intercepts, strict=True)
    theta = model.objective.layout.flatten(np, [(W + t * V, b + t * v) for W, b, V, v in layers])
    other = MLP(net.hidden_layer_sizes, net.activation, task=net.task, alpha=net.alpha, backend=backend)
    other._model, other.feature_names_in_ = model._replace(theta=backend.asarray(theta)), None
    return other


def slope(f, h=1e-3):
    """f′(0), by central differences extrapolated twice."""
    d = [(f(s) - f(-s)) / (2 * s) for s in (h, h / 2, h / 4)]
    first = [(4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3]
    return (16 * first[1] - first[0]) / 15


@tasks
def test_jvp_is_the_slope_of_the_logits(backend, task):
    net, X, _ = network(backend, task)
    along = directions(net)
    found = net.jvp(X, *along)
    assert isinstance(found, np.ndarray)

    def logits(t):
        at = moved(backend, net, t, *along)._model
        with backend.device_context():
            return backend.to_host(at.objective.forward(at.theta, backend.asarray(X)).z[-1])

    assert relative(found, slope(logits)) < 1e-10


@tasks
@pytest.mark.parametrize("weighted", [False, True])
def test_hvp_is_the_slope_of_the_gradient(backend, task, weighted):
    net, X, y = network(backend, task)
    weight = np.linspace(0.5, 2, len(X)) if weighted else None
    along = directions(net)
    found = net.hvp(X, y, *along, sample_weight=weight)

    def gradient(t):
        _, dW, db = moved(backend, net, t, *along).loss_and_gradient(X, y, weight)
        return np.concatenate([g.ravel() for g in host(backend, [*dW, *db])])

    flat = np.concatenate([g.ravel() for g in host(backend, [*found[0], *found[1]])])
    assert relative(flat, slope(gradient)) < 1e-10
    assert [tuple(g.shape) for g in found[0]] == [tuple(W.shape) for W in net.coefs_]
    assert [tuple(g.shape) for g in found[1]] == [tuple(b.shape) for b in net.intercepts_]


@tasks
def test_input_gradient_is_the_slope_of_the_cost(backend, task):
    net, X, y = network(backend, task)
    v = np.random.RandomState(3).standard_normal(X.shape)
    found = net.input_gradient(X, y)
    assert found.shape == X.shape
    expected = slope(lambda t: net.loss_and_gradient(X + t * v, y)[0])
    assert np.sum(found * v) == pytest.approx(expected, rel=1e-10)


@tasks
def test_the_gradient_is_the_mean_of_the_samples_and_the_penalty(backend, task):
    net, X, y = network(backend, task)
    _, dW, db = net.loss_and_gradient(X, y)
    W_each, b_each = net.per_sample_gradients(X, y)
    for each, W, whole in zip(W_each, net.coefs_, dW, strict=True):
        each, W, whole = host(backend, [each, W, whole])
        assert relative(each.mean(axis=0) + 0.5 / len(X) * W, whole) < 1e-14
    for each, whole in zip(b_each, db, strict=True):
        each, whole = host(backend, [each, whole])
        assert relative(each.mean(axis=0), whole) < 1e-14


@tasks
def test_norms_are_those_of_the_gradients_they_do_not_form(backend, task):
    net, X, y = network(backend, task)
    W_each, b_each = net.per_sample_gradients(X, y)
    squares = sum(np.sum(a.reshape(len(X), -1) ** 2, axis=1) for a in host(backend, [*W_each, *b_each]))
    found = net.per_sample_gradient_norms(X, y)
    assert found.shape == (len(X),)
    np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-14)


def test_what_has_a_row_per_sample_comes_home(backend):
    """In the library and on the device of X, whatever the network computes with."""
    net, X, y = network(backend_class("numpy")())
    there = backend.asarray(X)
    for found in (
        net.jvp(there, *directions(net)),
        net.input_gradient(there, y),
        net.per_sample_gradient_norms(there, y),
    ):
        assert backend_of(found).library == backend.library
        assert backend_of(found).device == backend.device


def test_float32_stays_float32(backend):
    net, X, y = network(backend, dtype="float32")
    along = directions(net)
    results = [net.jvp(X, *along), *net.hvp(X, y, *along)[0], net.input_gradient(X, y)]
    results += [*net.per_sample_gradients(X, y)[0], net.per_sample_gradient_norms(X, y)]
    assert {str(r.dtype).split(".")[-1] for r in results} == {"float32"}


def test_a_second_derivative_that_is_missing_is_asked_for(backend):
    own = Activation(lambda xp, z: xp.sin(z), lambda xp, z, h: xp.cos(z), "sine")
    net, X, y = network(backend, activation=own)
    with pytest.raises(ValueError, match=r"activation 'sine': .* needs its second derivative.*d2f="):
        net.hvp(X, y, *directions(net))
    assert net.jvp(X, *directions(net)).shape == (len(X), 3)
    loss = Loss(lambda xp, z, y, s: (xp.sum(s * (z - y) ** 2), 2.0 * s * (z - y)), lambda xp, z: z, "mine")
    net, X, y = network(backend, "regression", loss=loss)
    with pytest.raises(ValueError, match=r"loss 'mine': .*delta_tangent="):
        net.hvp(X, y, *directions(net))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda W, b: (W[:-1], b), "coef_directions must be a list of 3 arrays, got 2"),
        (lambda W, b: (W, 7), "intercept_directions must be a list of 3 arrays, got 'int'"),
        (lambda W, b: ([W[0].T, *W[1:]], b), r"coef_directions\[0\] must have shape \(4, 5\), got \(5, 4\)"),
        (lambda W, b: (W, [b[0] * np.nan, *b[1:]]), r"intercept_directions\[0\]"),
        (lambda W, b: ([np.full((4, 5), "x"), *W[1:]], b), r"coef_directions\[0\]"),
    ],
)
def test_directions_that_make_no_sense(backend, change, says):
    net, X, y = network(backend)
    wrong = change(*directions(net))
    with pytest.raises(ValueError, match=rf"MLP\.jvp: {says}"):
        net.jvp(X, *wrong)
    with pytest.raises(ValueError, match=rf"MLP\.hvp: {says}"):
        net.hvp(X, y, *wrong)


@pytest.mark.parametrize("method", ["hvp", "input_gradient", "per_sample_gradients", "per_sample_gradient_norms"])
def test_before_fit_and_with_the_wrong_data(method):
    net, X, y = network(backend_class("numpy")())
    rest = directions(net) if method == "hvp" else ()
    with pytest.raises(ValueError, match=rf"MLP\.{method}: .*no weights yet"):
        getattr(MLP(), method)(X, y, *rest)
    with pytest.raises(ValueError, match=rf"MLP\.{method}: X must have shape"):
        getattr(net, method)(X[:, :2], y, *rest)
