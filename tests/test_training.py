"""The loop: its stopping rule, its batches, that it never waits for the device, its dtypes, and how it ends."""

import inspect
import math
import typing
import warnings
from contextlib import nullcontext
from dataclasses import replace

import array_api_compat.numpy
import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, relative, weights_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

import xbackprop
from xbackprop.activations import ACTIVATIONS
from xbackprop.backend import Backend, load
from xbackprop.batches import minibatches
from xbackprop.losses import LOSSES
from xbackprop.optimizers import SGD, Adagrad, Adam, RMSProp
from xbackprop.training import Plan, Plateau, run_epoch

OPTIMIZERS = {
    "adam": Adam(),
    "sgd": SGD(momentum=0.0),
    "momentum": SGD(nesterovs_momentum=False),
    "nesterov": SGD(),
    "rmsprop": RMSProp(),
    "adagrad": Adagrad(),
}
tasks = pytest.mark.parametrize("task", ["classification", "regression"])


def stop_epoch(losses, tol, patience):
    """The epoch after which training stops, stated over whole prefixes, not as a running count; None: it goes on."""
    best = [math.inf, *np.minimum.accumulate(losses)]
    improved = [loss <= best[k] - tol for k, loss in enumerate(losses)]
    for end in range(patience + 1, len(losses) + 1):
        if not any(improved[end - patience - 1 : end]):
            return end
    return None


curves = st.lists(st.sampled_from([1.0, 0.9, 0.8, 0.75, 0.5, 0.25, 2.0]), min_size=1, max_size=30)
tolerances = st.sampled_from([0.0, 0.05, 0.1, 0.25, -math.inf])


@given(curves, tolerances, st.integers(1, 4))
def test_stops_when_more_than_n_iter_no_change_epochs_improve_by_less_than_tol(losses, tol, patience):
    plateau = Plateau(tol, patience)
    stopped = next((k for k, loss in enumerate(losses, start=1) if plateau.reached(loss)), None)
    assert stopped == stop_epoch(losses, tol, patience)


@given(losses=curves, tol=tolerances, patience=st.integers(1, 4))
def test_stops_when_scikit_learn_stops(losses, tol, patience):
    neural_network = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is the oracle")
    net = neural_network.MLPClassifier(tol=tol, n_iter_no_change=patience)
    net._no_improvement_count, net.best_loss_, net.loss_curve_ = 0, np.inf, []
    note = net._update_no_improvement_count
    nothing = dict.fromkeys(inspect.signature(note).parameters)  # early_stopping, X, y: none of them is used
    plateau = Plateau(tol, patience)
    for loss in losses:
        net.loss_curve_.append(loss)
        note(**nothing)
        assert plateau.reached(loss) == (net._no_improvement_count > net.n_iter_no_change)


@given(st.integers(1, 40), st.integers(1, 45), st.booleans(), st.booleans())
def test_an_epoch_visits_every_row_once(n, batch_size, shuffled, weighted):
    backend = load("numpy")()
    X, weight = np.arange(n, dtype=float)[:, None], np.arange(1, n + 1, dtype=float) if weighted else None
    order = RandomState(0).permutation(n) if shuffled else None
    batches = list(minibatches(backend, X, 2 * X, weight, batch_size, order))
    full, rest = divmod(n, batch_size)
    assert [len(batch.X) for batch in batches] == [batch_size] * full + [rest] * (rest > 0)
    rows = np.concatenate([batch.X for batch in batches])[:, 0]
    np.testing.assert_array_equal(rows, np.arange(n) if order is None else order)
    for batch in batches:
        np.testing.assert_array_equal(batch.y, 2 * batch.X)
        expected = (batch.X + 1) / (batch.X + 1).sum() if weighted else 1 / len(batch.X)
        np.testing.assert_allclose(batch.share, expected, rtol=1e-14)


@pytest.mark.parametrize("order", [None, np.array([5, 0, 3, 1, 2, 4, 6])], ids=["in order", "shuffled"])
def test_batches_are_the_rows_on_every_backend(backend, order):
    X, y = RandomState(0).standard_normal((7, 3)), RandomState(1).standard_normal((7, 2))
    weight = np.arange(1.0, 8.0)
    batches = list(minibatches(backend, *map(backend.asarray, (X, y, weight)), 3, order))
    rows = np.arange(7) if order is None else order
    for got, expected in (("X", X), ("y", y)):
        joined = np.concatenate([backend.to_host(getattr(batch, got)) for batch in batches])
        np.testing.assert_array_equal(joined, expected[rows])
    assert [float(backend.to_host(batch.total)) for batch in batches] == [
        weight[rows[i : i + 3]].sum() for i in (0, 3, 6)
    ]


#: Everything that may be part of a step, beside gradient and update.
FULL = {"clip_norm": 1.0, "weight_decay": 0.1, "dropout": (0.2, 0.1)}


def one_epoch(backend, activation, loss, optimizer, weighted, plan=None):
    """What `train` does inside an epoch, in float32, on whatever device the backend stands for."""
    objective = replace(make_objective(backend, (4, 6, 5, 3), activation), loss=LOSSES[loss], l1_ratio=0.3)
    X, y = problem("classification", n=10)
    X, y, weight = (backend.asarray(a, "float32") for a in (X, one_hot(y, 3), np.arange(10.0)))
    theta = backend.copy(backend.asarray(random_theta(objective), "float32"))
    batches = minibatches(backend, X, y, weight if weighted else None, 4, RandomState(0).permutation(10))
    state, lent = optimizer.start(backend, [theta]), objective.workspace(theta, 4)
    return run_epoch(objective, optimizer, [theta], state, batches, lent, plan=plan and Plan(optimizer, **plan), seed=7)


def cases_of_an_epoch():
    """Every activation with one loss, and every loss, with all that there is beside it."""
    yield from ((activation, "cross_entropy", None) for activation in ACTIVATIONS)
    yield from (("tanh", loss, FULL) for loss in LOSSES)


@tasks
@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_steps_with_lent_memory_are_steps_without(backend, task, solver):
    """The trainer's views of θ must show every update: a step that rebinds θ would leave them behind."""

    def run(lend):
        objective = make_objective(backend, (4, 6, 3), "tanh", task)
        X, y = problem(task)
        y = one_hot(y, 3) if task == "classification" else y
        theta = backend.copy(backend.asarray(random_theta(objective)))
        optimizer = OPTIMIZERS[solver]
        state = optimizer.start(backend, [theta])
        workspace = objective.workspace(theta, 5) if lend else None
        batches = minibatches(backend, backend.asarray(X), backend.asarray(y), None, 5, None)
        (theta,), _, costs, _ = run_epoch(objective, optimizer, [theta], state, batches, workspace)
        return backend.to_host(theta), [float(backend.to_host(c)) for c in costs]

    (lent, lent_costs), (plain, plain_costs) = run(True), run(False)
    assert relative(lent, plain) < 1e-13
    np.testing.assert_allclose(lent_costs, plain_costs, rtol=1e-12)


@pytest.mark.parametrize("solver", OPTIMIZERS)
@pytest.mark.parametrize("generic", [False, True], ids=["torch backend", "generic backend"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_nothing_in_an_epoch_waits_for_the_device(solver, generic, weighted):
    """Tensors on torch's meta device have no values: float(), item(), bool() and copies to the host raise."""
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    compat = pytest.importorskip("array_api_compat.torch")
    backend = Backend(compat, torch.device("meta")) if generic else load("torch")(device="meta")
    with torch.no_grad():
        for activation, loss, plan in cases_of_an_epoch():
            parameters, _, costs, _ = one_epoch(backend, activation, loss, OPTIMIZERS[solver], weighted, plan)
            assert parameters[0].device.type == "meta"
            assert len(costs) == 3


def test_the_meta_device_would_notice():
    """The stand-in does what the test above relies on."""
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    x = torch.ones(1, device="meta")
    for wait in (float, bool, int, torch.Tensor.item, torch.Tensor.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait(x)


class Watched(np.ndarray):
    """A NumPy array that notes the dtypes of everything computed from it, or together with it."""

    seen: typing.ClassVar[set] = set()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [x.view(np.ndarray) if isinstance(x, Watched) else x for x in inputs]
        if out is not None:
            kwargs["out"] = tuple(x.view(np.ndarray) if isinstance(x, Watched) else x for x in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        Watched.note(*plain, result)
        return out[0] if out is not None else Watched.of(result)

    def __array_function__(self, func, types, args, kwargs):
        result = super().__array_function__(func, types, args, kwargs)
        Watched.note(result)
        return result

    @staticmethod
    def note(*arrays):
        Watched.seen |= {str(a.dtype) for a in arrays if isinstance(a, np.ndarray | np.generic)}

    @staticmethod
    def of(x):
        return np.asarray(x).view(Watched) if isinstance(x, np.ndarray | np.generic) else x


def watched(base):
    """A NumPy backend whose arrays are watched."""

    class WatchedBackend(base):
        def asarray(self, x, dtype=None):
            return Watched.of(np.array(super().asarray(x, dtype)))

        def copy(self, x):
            return Watched.of(np.array(x))

    return WatchedBackend


@pytest.fixture(params=["generic", "numpy", "torch"])
def dtype_watch(request):
    """A backend, and a context that gives the dtypes of all that is computed on it."""
    if request.param == "torch":
        torch = pytest.importorskip("torch", reason="the torch backend needs it")
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                result = func(*args, **(kwargs or {}))
                Watched.seen |= {
                    str(t.dtype)[6:] for t in tree_leaves(result) if isinstance(t, torch.Tensor) and t.ndim
                }
                return result

        return load("torch")(device="cpu"), Watch
    if request.param == "numpy":
        return watched(load("numpy"))(), nullcontext
    return watched(Backend)(array_api_compat.numpy), nullcontext


@pytest.mark.parametrize(("activation", "loss", "plan"), list(cases_of_an_epoch()))
@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_a_float32_network_does_no_float64_work(dtype_watch, activation, loss, plan, solver):
    backend, watch = dtype_watch
    for weighted in (False, True):
        Watched.seen = set()
        with watch():
            one_epoch(backend, activation, loss, OPTIMIZERS[solver], weighted, plan)
        assert "float32" in Watched.seen
        assert Watched.seen <= {"float32", "bool", "int64", "uint32"}


def test_the_watch_would_notice():
    """The paper's np.where(Z > 0, 1, 0) is what it is there for."""
    z = Watched.of(np.ones(3, dtype=np.float32))
    for slip in (
        lambda: np.where(z > 0, 1, 0) * z,
        lambda: z * np.float64(2),
        lambda: z @ np.eye(3),
        lambda: np.mean(z > 0),
    ):
        Watched.seen = set()
        slip()
        assert "float64" in Watched.seen


SETTINGS = {"hidden_layer_sizes": (5,), "activation": "tanh", "tol": 0.0, "random_state": 3}


def fit(task, backend, X=None, y=None, sample_weight=None, **settings):
    """A fitted network; that it stops at max_iter is what these tests want."""
    given_X, given_y = problem(task)
    net = xbackprop.MLP(task=task, backend=backend, **{**SETTINGS, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(given_X if X is None else X, given_y if y is None else y, sample_weight)


@tasks
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_training_is_the_papers_update_rule_batch_by_batch(backend, task, weighted):
    """θ ← θ - η ∂C/∂θ with loss_and_gradient on each slice of the rows, the last one short, on the host."""
    X, y = problem(task, n=10)
    weight = np.linspace(0.5, 2, 10) if weighted else None
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "alpha": 0.2, "learning_rate_init": 0.1}
    trained = fit(task, backend, X, y, weight, max_iter=3, batch_size=4, **settings)

    by_hand = xbackprop.MLP(task=task, backend="numpy", **{**SETTINGS, **settings}).initialize(X, y)
    curve = []
    for _ in range(3):
        costs, counts = [], []
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            part = None if weight is None else weight[rows]
            cost, dW, db = by_hand.loss_and_gradient(X[rows], y[rows], part)
            for parameter, slope in zip((*by_hand.coefs_, *by_hand.intercepts_), (*dW, *db), strict=True):
                parameter -= 0.1 * slope
            costs.append(cost)
            counts.append(len(X[rows]))  # as scikit-learn has it: by rows, whatever they weigh
        curve.append(np.average(costs, weights=counts))
    for ours, expected in zip(weights_of(trained), weights_of(by_hand), strict=True):
        assert relative(ours, expected) < 1e-12
    np.testing.assert_allclose(trained.loss_curve_, curve, rtol=1e-12)


@tasks
def test_the_first_loss_is_that_of_the_starting_weights(backend, task):
    """With one batch an epoch, the loss is taken before the step; it is computed here by hand."""
    X, y = problem(task)
    net = fit(task, backend, alpha=0.3, max_iter=1, batch_size=12)
    start = xbackprop.MLP(task=task, backend="numpy", **SETTINGS).initialize(X, y)
    (W1, W2), (b1, b2) = start.coefs_, start.intercepts_
    z = np.tanh(X @ W1 + b1) @ W2 + b2
    if task == "classification":
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(12), y]))
    else:
        loss = np.mean(np.sum((z - y) ** 2, axis=1))
    loss += 0.3 / (2 * 12) * ((W1**2).sum() + (W2**2).sum())
    assert net.loss_curve_[0] == pytest.approx(loss, rel=1e-13)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(backend, solver):
    one, same, other = (
        fit("classification", backend, solver=solver, max_iter=5, batch_size=5, random_state=seed) for seed in (1, 1, 2)
    )
    for a, b, c in zip(weights_of(one), weights_of(same), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert one.loss_curve_ == same.loss_curve_


def test_shuffling_changes_the_run_and_not_shuffling_makes_the_order_of_rows_matter(backend):
    X, y = problem("classification")
    settings = {"max_iter": 3, "batch_size": 5}
    plain = weights_of(fit("classification", backend, X, y, shuffle=False, **settings))
    shuffled = weights_of(fit("classification", backend, X, y, shuffle=True, **settings))
    reversed_rows = weights_of(fit("classification", backend, X[::-1], y[::-1], shuffle=False, **settings))
    assert relative(plain[0], shuffled[0]) > 1e-6
    assert relative(plain[0], reversed_rows[0]) > 1e-6


def test_in_one_full_batch_the_order_of_rows_does_not_matter(backend):
    X, y = problem("classification")
    settings = {"max_iter": 10, "batch_size": 12}
    plain = weights_of(fit("classification", backend, X, y, shuffle=False, **settings))
    for other in (
        weights_of(fit("classification", backend, X[::-1], y[::-1], shuffle=False, **settings)),
        weights_of(fit("classification", backend, X, y, shuffle=True, **settings)),
    ):
        for a, b in zip(plain, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_run_that_settles_stops_early_and_says_nothing(backend):
    net = xbackprop.MLP((), backend=backend, tol=1e-2, n_iter_no_change=3, max_iter=500, random_state=0)
    net.fit(*problem("classification"))  # a ConvergenceWarning would be an error here
    assert net.n_iter_ == len(net.loss_curve_) == stop_epoch(net.loss_curve_, 1e-2, 3) < 500


def test_a_run_that_does_not_settle_warns():
    with pytest.warns(xbackprop.ConvergenceWarning, match="max_iter=2"):
        xbackprop.MLP((3,), max_iter=2, random_state=0).fit(*problem("classification"))


def diverging(backend, max_iter):
    """A regression whose steps are far too long; its loss is finite for some epochs."""
    return xbackprop.MLP(
        (4,), "identity", task="regression", solver="sgd", momentum=0.0, learning_rate_init=2.0, max_iter=max_iter,
        tol=0.0, n_iter_no_change=max_iter, backend=backend, random_state=0,
    )  # fmt: skip


def test_a_run_that_diverges_says_when_and_keeps_its_last_finite_weights(backend):
    X, y = problem("regression")
    net = diverging(backend, 50)
    with pytest.raises(xbackprop.DivergenceError, match=r"MLP\.fit: .* epoch \d+;.*learning_rate_init") as raised:
        net.fit(X, y)
    epoch = int(str(raised.value).split("epoch ")[1].split(";")[0])
    assert 1 < epoch < 50
    assert net.n_iter_ == len(net.loss_curve_) == epoch - 1
    assert np.isfinite(net.loss_curve_).all()
    assert all(np.isfinite(w).all() for w in weights_of(net))

    before = diverging(backend, epoch - 1)
    with pytest.warns(xbackprop.ConvergenceWarning):
        before.fit(X, y)
    for a, b in zip(weights_of(net), weights_of(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_callback_hears_of_every_epoch(backend):
    heard = []
    X, y = problem("classification")
    net = xbackprop.MLP((3,), max_iter=4, backend=backend, random_state=0)
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X, y, callback=heard.append)
    assert [epoch.number for epoch in heard] == [1, 2, 3, 4]
    assert [epoch.loss for epoch in heard] == net.loss_curve_
    assert all(epoch.samples == 12 and epoch.seconds > 0 for epoch in heard)
