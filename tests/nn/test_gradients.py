"""The cross-checks: differences of C(θ) on every backend, torch.autograd as oracle, and backends against each other."""

import functools
import itertools
import warnings

import numpy as np
import pytest
from helpers import make_backend, one_hot, problem, relative, selected_backends, weights_of

import xbackprop
from xbackprop import MLP, Activation, GradientCheckError
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.objective import make_batch
from xbackprop.verification.methods.oracle import torch_gradient
from xbackprop.verification.methods.paper import paper_check, relative_error
from xbackprop.verification.network import network_claim

tasks = pytest.mark.parametrize("task", ["classification", "regression"])
LAYERS = {0: (), 1: (5,), 2: (5, 4), 3: (5, 4, 3)}


def network(backend, task="classification", hidden=(5,), activation="tanh", n=8, biases=0.1, **settings):
    """A network with biases that are not zero, and its data."""
    X, y = problem(task, n=n)
    net = MLP(hidden, activation, task=task, backend=backend, alpha=0.5, random_state=1, **settings).initialize(X, y)
    return (with_biases(net, biases) if biases else net), X, y


def with_biases(net, size):
    """The same network with other biases, put in as a checkpoint would: some libraries' arrays cannot be written."""
    model = net._model
    layout, backend = model.objective.layout, model.objective.backend
    theta = np.array(backend.to_host(model.theta))
    rng = np.random.RandomState(5)
    theta[layout.n_weights :] = size * rng.standard_normal(layout.n_parameters - layout.n_weights)
    net._model = model._replace(theta=backend.asarray(theta, str(theta.dtype)))
    return net


# (1) The paper's check.


@tasks
@pytest.mark.parametrize("hidden", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_papers_check(backend, activation, task, hidden):
    net, X, y = network(backend, task, LAYERS[hidden], activation)
    error = net.gradient_check(X, y)
    found = net.gradient_check_
    assert 0 < error < 1e-7
    assert error == found.error
    assert max(found.per_tensor.values()) < 1e-6
    assert found.checked == sum(w.size for w in weights_of(net))
    assert found.crossed < found.checked / 2
    assert found.undecided == 0
    assert not found.wrong


@tasks
def test_the_check_of_a_float32_network_runs_in_float64(backend, task):
    net, X, y = network(backend, task, dtype="float32")
    assert net.gradient_check(X, y) < 1e-7
    assert all(w.dtype == np.float32 for w in weights_of(net))


def test_many_outputs(backend):
    X, y = problem("regression", outputs=7)
    net = MLP((4,), "elu", task="regression", backend=backend, random_state=0).initialize(X, y)
    assert net.gradient_check(X, y) < 1e-7


def test_the_check_changes_nothing(backend):
    net, X, y = network(backend)
    before = weights_of(net)
    net.gradient_check(X, y)
    for a, b in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_error_is_that_of_the_papers_loop(backend):
    """Eq. 17 and 18 as the paper has them: one parameter at a time, in place, on weights that can be written."""
    net, X, y = network(backend, hidden=(3,))
    here = MLP((3,), "tanh", backend="numpy", alpha=0.5, random_state=1).initialize(X, y)
    for target, source in zip((*here.coefs_, *here.intercepts_), weights_of(net), strict=True):
        target[...] = source
    _, dW, db = here.loss_and_gradient(X, y)
    numeric, analytic = [], []
    for parameter, gradient in zip((*here.coefs_, *here.intercepts_), (*dW, *db), strict=True):
        for index in np.ndindex(parameter.shape):
            saved = parameter[index]
            parameter[index] = saved + 1e-5
            up, _, _ = here.loss_and_gradient(X, y)
            parameter[index] = saved - 1e-5
            down, _, _ = here.loss_and_gradient(X, y)
            parameter[index] = saved
            numeric.append((up - down) / 2e-5)
            analytic.append(gradient[index])
    numeric, analytic = np.array(numeric), np.array(analytic)
    error = np.linalg.norm(numeric - analytic) / (np.linalg.norm(numeric) + np.linalg.norm(analytic) + 1e-12)
    assert error < 1e-9
    assert net.gradient_check(X, y) < 1e-9  # both are rounding noise, of the same size


# Kinks.


@tasks
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_dead_relu_rows_sit_exactly_at_zero_and_are_no_error(backend, activation, task):
    """Zero biases and a zero row of X: every unit of every layer is at its kink for that sample."""
    net, X, y = network(backend, task, (5, 4), activation, biases=0)
    X[0] = 0
    assert net.gradient_check(X, y) < 1e-7
    assert net.gradient_check_.crossed > 0
    assert not net.gradient_check_.wrong


def at_kink(backend, distance, activation="relu"):
    """A network with one unit whose z is `distance` from 0 for the first sample."""
    net, X, y = network(backend, "regression", (5,), activation, n=6)
    model = net._model
    theta = np.array(model.objective.backend.to_host(model.theta))
    (W, b), _ = model.objective.layout.layers(np, theta)
    b[0, 2] = 0
    X[0] = 0  # its z is then the bias, to the last bit
    b[0, 2] = distance
    net._model = model._replace(theta=backend.asarray(theta))
    z = backend.to_host(net._model.objective.forward(net._model.theta, backend.asarray(X)).z[0])
    assert z[0, 2] == distance
    return net, X, y


@pytest.mark.parametrize("distance", [0.0, 1e-6, -1e-6, 9e-6, -9e-6, 1e-7, -1e-7])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_an_element_across_a_kink_is_checked_on_one_side_and_counted(backend, activation, distance):
    net, X, y = at_kink(backend, distance, activation)
    assert net.gradient_check(X, y) < 1e-7
    found = net.gradient_check_
    assert found.crossed == 1  # the bias alone moves this z: the sample is zero
    assert found.undecided == 0
    assert not found.wrong


def test_without_the_rule_the_kink_would_be_an_error(backend):
    """The case is one that needs the rule: the plain difference across the kink is far off."""
    net, X, y = at_kink(backend, 1e-6)
    model = net._model
    batch = make_batch(backend, backend.asarray(X), backend.asarray(y))
    _, gradient = model.objective.value_and_gradient(model.theta, batch)
    p = model.objective.layout.tensors()["intercepts_[0]"][0].start + 2
    theta = np.array(backend.to_host(model.theta))
    step = 1e-5 * (np.arange(len(theta)) == p)
    up, down = (
        float(backend.to_host(model.objective.value(backend.asarray(theta + s * step), batch))) for s in (1, -1)
    )
    assert abs((up - down) / 2e-5 - backend.to_host(gradient)[p]) > 1e-4


WRONG = {
    "tanh without its square": Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: 1.0 - h),
    "the sign": Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: h * h - 1.0),
    "left out": Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: xp.ones_like(z)),
    "at h for z": Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: 1.0 - xp.tanh(h) ** 2),
    "a part in 100,000": Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: (1.0 - h * h) * 1.00001),
    "the leaky slope": Activation(ACTIVATIONS["leaky_relu"].f, ACTIVATIONS["relu"].df, kinks=(0.0,)),
}
RIGHT = Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: 1.0 - h * h, name="mine")


@tasks
def test_a_users_own_activation_passes(backend, task):
    net, X, y = network(backend, task, (5, 4), ["relu", RIGHT])
    assert net.gradient_check(X, y) < 1e-7


@tasks
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_derivative_is_caught(backend, fault, task):
    net, X, y = network(backend, task, (5, 4), [WRONG[fault], "tanh"])
    with pytest.raises(GradientCheckError, match=r"MLP\.gradient_check: .*(coefs|intercepts)_\[0\]\["):
        net.gradient_check(X, y)
    assert net.gradient_check_.worst.tensor in ("coefs_[0]", "intercepts_[0]")


@pytest.mark.parametrize("distance", [0.0, 1e-6, -1e-6])
def test_a_derivative_that_is_wrong_only_at_the_kink_is_caught(backend, distance):
    """These elements are left out of eq. 18, so they must be judged on their own."""
    relu = ACTIVATIONS["relu"]
    half = Activation(
        relu.f, lambda xp, z, h: xp.where(xp.abs(z) < 2e-6, 0.5 * xp.ones_like(z), relu.df(xp, z, h)), "half", (0.0,)
    )
    net, X, y = at_kink(backend, distance, half)
    with pytest.raises(GradientCheckError, match=r"intercepts_\[0\]\[2\]"):
        net.gradient_check(X, y)
    assert net.gradient_check_.error < 1e-7
    assert [(e.tensor, e.position) for e in net.gradient_check_.wrong] == [("intercepts_[0]", (2,))]


@pytest.mark.parametrize("fault", ["sign", "missing 1/n", "no penalty", "transposed", "one element"])
def test_a_wrong_gradient_of_any_cost_is_caught(backend, fault):
    """The checker sees θ and C(θ) alone; here it is handed a wrong gradient of a right cost."""
    net, X, y = network(backend, "regression", (4,), n=8)
    objective, theta = net._model.objective, net._model.theta
    batch = make_batch(backend, backend.asarray(X), backend.asarray(y))
    _, right = objective.value_and_gradient(theta, batch)
    wrong = np.array(backend.to_host(right))
    n_weights = objective.layout.n_weights
    if fault == "no penalty":
        wrong[:n_weights] -= 0.5 / 8 * backend.to_host(theta)[:n_weights]
    elif fault == "transposed":
        wrong[:16] = wrong[:16].reshape(4, 4).T.ravel()
    elif fault == "one element":
        wrong[3] += 1e-3
    else:
        wrong *= {"sign": -1, "missing 1/n": 8}[fault]

    def check(gradient):
        return paper_check(network_claim(objective, theta, batch, gradient))

    assert check(backend.to_host(right)).error < 1e-8
    assert check(wrong).error > 1e-6


def test_a_check_that_fails_is_an_assertion_error_and_tells_more(backend):
    net, X, y = network(backend, activation=WRONG["the sign"])
    with pytest.raises(AssertionError):
        net.gradient_check(X, y)
    assert isinstance(net.gradient_check_.error, float)
    tight, X, y = network(backend)
    with pytest.raises(GradientCheckError, match="expected less than 1e-20"):
        tight.gradient_check(X, y, tolerance=1e-20)


def test_relative_error_is_eq_18():
    a, b = np.array([3.0, 0.0]), np.array([0.0, 4.0])
    assert relative_error(a, b) == pytest.approx(5 / 7)
    assert relative_error(a, -a) == pytest.approx(1)
    assert relative_error(0 * a, 0 * a) == 0


# (2) torch.autograd as oracle.


@tasks
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-13), ("float32", 1e-5)])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_autograd_agrees_tensor_by_tensor(backend, activation, task, dtype, limit, weighted):
    pytest.importorskip("torch", reason="torch.autograd is the oracle")
    net, X, y = network(backend, task, (5, 4), activation, dtype=dtype)
    weight = np.linspace(0.5, 3, len(X)) if weighted else None
    cost, dW, db = net.loss_and_gradient(X, y, weight)
    total = len(X) if weight is None else weight.sum()
    share = (np.ones((len(X), 1)) / total if weight is None else weight[:, None] / total).astype(dtype)
    weights = weights_of(net)
    layers = list(zip(weights[:3], weights[3:], strict=True))
    oracle_cost, oracle = torch_gradient(
        layers, [activation] * 2, TASKS[task], X.astype(dtype),
        (one_hot(y, 3) if task == "classification" else y).astype(dtype), share, 0.5 / total,
    )  # fmt: skip
    assert cost == pytest.approx(oracle_cost, rel=limit)
    for ours, expected in zip(zip(dW, db, strict=True), oracle, strict=True):
        for a, b in zip(ours, expected, strict=True):
            a = backend.to_host(a)
            assert a.dtype == dtype
            assert relative(a, np.reshape(b, a.shape)) <= limit


# (3) The same seed gives the same run on every backend.


PAIRS = list(itertools.combinations(dict.fromkeys(["numpy", *selected_backends()]), 2))


@functools.cache
def trained(name, solver):
    """The weights after 20 epochs, and the losses."""
    X, y = problem("classification", n=90, features=8)
    backend = make_backend(name)
    net = MLP((12, 7), ["relu", "silu"], solver=solver, batch_size=32, max_iter=20, learning_rate_init=0.01,
              tol=0.0, n_iter_no_change=20, backend=backend, random_state=0)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        net.fit(X, y)
    assert net.n_iter_ == 20
    return weights_of(net), net.loss_curve_


@pytest.mark.backends(*selected_backends())
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_backends_train_the_same_network(pair, solver):
    (ours, our_curve), (theirs, their_curve) = (trained(name, solver) for name in pair)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
    np.testing.assert_allclose(our_curve, their_curve, rtol=1e-9)
    assert our_curve[-1] < 0.9 * our_curve[0]
