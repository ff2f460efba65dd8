"""A step and an epoch of them: its batches, that nothing waits for the device, its dtypes, its memory."""

import typing
from contextlib import nullcontext
from dataclasses import replace

import array_api_compat.numpy
import numpy as np
import pytest
from helpers import make_backend, make_objective, one_hot, problem, random_theta, relative
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class
from xbackprop.data.batches import batch_groups, take_batch
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.losses import LOSSES, quantile_loss
from xbackprop.optim.optimizers import SGD, Adagrad, Adam, RMSProp
from xbackprop.training.plan import Plan
from xbackprop.training.step import Step, StepNumbers, run_epoch

OPTIMIZERS = {
    "adam": Adam(),
    "sgd": SGD(momentum=0.0),
    "momentum": SGD(nesterovs_momentum=False),
    "nesterov": SGD(),
    "rmsprop": RMSProp(),
    "adagrad": Adagrad(),
}
ETA = 1e-3


def numbers(i, t, m):
    """A constant rate, and all else that a step may need."""
    return StepNumbers(np.full(m, ETA), np.full(m, 0.1 * ETA), np.arange(t, t + m), np.full(m, 7), np.full(m, 0.9))


def minibatches(backend, X, y, weight, batch_size, order):
    """The batches of an epoch."""
    for samples, rows, sizes in batch_groups(backend, (X, y, weight), batch_size, order):
        for i in range(len(sizes)):
            row = rows[i] if isinstance(rows, list) else rows[i, ...]
            yield take_batch(backend, samples, row)


tasks = pytest.mark.parametrize("task", ["classification", "regression"])


@given(st.integers(1, 40), st.integers(1, 45), st.booleans(), st.booleans())
def test_an_epoch_visits_every_row_once(n, batch_size, shuffled, weighted):
    backend = backend_class("numpy")()
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
FULL = {"clip_norm": 1.0, "decays": True, "dropout": (0.2, 0.1), "averages": True}


def one_epoch(backend, activation, loss, optimizer, weighted, extras=None, kind=Step):
    """What `train` does inside an epoch, in float32, on whatever device the backend stands for."""
    objective = replace(make_objective(backend, (4, 6, 5, 3), activation), loss=LOSSES.get(loss, loss), l1_ratio=0.3)
    X, y = problem("classification", n=10)
    weight = np.arange(30.0).reshape(10, 3) % 4 if weighted == "targets" else np.arange(10.0)
    X, y, weight = (backend.asarray(a, "float32") for a in (X, one_hot(y, 3), weight))
    theta = backend.copy(backend.asarray(random_theta(objective), "float32"))
    plan = Plan(optimizer, ema_decay=0.9 if extras else None)
    state, lent = plan.start(backend, theta), objective.workspace(theta, 4)
    step, samples, order = kind(objective, optimizer, **(extras or {})), (X, y, weight), RandomState(0).permutation(10)
    samples = samples if weighted else (X, y, None)
    return run_epoch(step, theta, state, samples, 4, order, numbers, lent)


def cases_of_an_epoch():
    """Every activation with one loss, and every loss and every optimizer with all that there is beside it.

    An update is given g, however it came about, and a gradient knows no optimizer: to combine the three shows no more.
    """
    yield from ((activation, "cross_entropy", None, "adam") for activation in ACTIVATIONS)
    yield from (("tanh", loss, FULL, "adam") for loss in LOSSES)
    yield from (("tanh", "cross_entropy", FULL, solver) for solver in OPTIMIZERS if solver != "adam")


each_case = pytest.mark.parametrize(("activation", "loss", "extras", "solver"), list(cases_of_an_epoch()))


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
        state = optimizer.start(backend, theta)
        workspace = objective.workspace(theta, 5) if lend else None
        samples, step = (backend.asarray(X), backend.asarray(y), None), Step(objective, optimizer)
        theta, _, costs, _ = run_epoch(step, theta, state, samples, 5, None, numbers, workspace)
        return backend.to_host(theta), backend.read(costs)

    (lent, lent_costs), (plain, plain_costs) = run(True), run(False)
    assert relative(lent, plain) < 1e-13
    np.testing.assert_allclose(lent_costs, plain_costs, rtol=1e-12)


@each_case
@pytest.mark.parametrize("generic", [False, True], ids=["torch backend", "generic backend"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_nothing_in_an_epoch_waits_for_the_device(activation, loss, extras, solver, generic, weighted):
    """Tensors on torch's meta device have no values: float(), item(), bool() and copies to the host raise."""
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    compat = pytest.importorskip("array_api_compat.torch")
    backend = Backend(compat, torch.device("meta")) if generic else backend_class("torch")(device="meta")
    with torch.no_grad():
        theta, _, costs, _ = one_epoch(backend, activation, loss, OPTIMIZERS[solver], weighted, extras)
    assert theta.device.type == "meta"
    assert len(costs) == 3


@pytest.mark.parametrize("generic", [False, True], ids=["torch backend", "generic backend"])
@pytest.mark.parametrize("loss", ["squared_error", quantile_loss((0.1, 0.5, 0.9))], ids=["squares", "quantiles"])
def test_neither_missing_targets_nor_quantiles_wait_for_the_device(loss, generic):
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    compat = pytest.importorskip("array_api_compat.torch")
    backend = Backend(compat, torch.device("meta")) if generic else backend_class("torch")(device="meta")
    with torch.no_grad():
        theta, _, costs, _ = one_epoch(backend, "tanh", loss, OPTIMIZERS["adam"], "targets", FULL)
    assert theta.device.type == "meta"
    assert len(costs) == 3


def test_the_meta_device_would_notice():
    """The stand-in does what the test above relies on."""
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    x = torch.ones(1, device="meta")
    for wait in (float, bool, int, torch.Tensor.item, torch.Tensor.tolist):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait(x)


class StepThatMustNotWait(Step):
    """A step during which torch raises an error where the host waits for the GPU."""

    def __call__(self, *arguments):
        import torch

        torch.cuda.set_sync_debug_mode("error")
        try:
            return super().__call__(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")


#: What torch says once of the mode.
PROTOTYPE = "ignore:Synchronization debug mode is a prototype:UserWarning"


@pytest.mark.backends("torch-cuda")
@pytest.mark.filterwarnings(PROTOTYPE)
@each_case
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_no_step_waits_for_a_gpu(activation, loss, extras, solver, weighted):
    backend = make_backend("torch-cuda")
    case = backend, activation, loss, OPTIMIZERS[solver], weighted, extras
    with backend.device_context():
        one_epoch(*case)  # the first of its kind in a process sets the GPU's libraries up, and may wait
        _, _, costs, _ = one_epoch(*case, StepThatMustNotWait)
    assert np.isfinite(backend.read(costs)).all()


@pytest.mark.backends("torch-cuda")
@pytest.mark.filterwarnings(PROTOTYPE)
def test_a_step_that_waits_for_a_gpu_would_be_noticed():
    backend = make_backend("torch-cuda")

    class Waiting(Adam):
        def update(self, backend, theta, g, moments, rate):
            float(g[0])
            return super().update(backend, theta, g, moments, rate)

    with backend.device_context(), pytest.raises(RuntimeError, match="synchroniz"):
        one_epoch(backend, "tanh", "cross_entropy", Waiting(), False, None, StepThatMustNotWait)


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

        return backend_class("torch")(device="cpu"), Watch
    if request.param == "numpy":
        return watched(backend_class("numpy"))(), nullcontext
    return watched(Backend)(array_api_compat.numpy), nullcontext


@each_case
def test_a_float32_network_does_no_float64_work(dtype_watch, activation, loss, extras, solver):
    backend, watch = dtype_watch
    for weighted in (False, True):
        Watched.seen = set()
        with watch():
            one_epoch(backend, activation, loss, OPTIMIZERS[solver], weighted, extras)
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
