"""A stack of networks takes the steps that each would take alone, whatever the steps do, on every backend."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, relative
from numpy.random import RandomState

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.losses import LOSSES
from xbackprop.nn.objective import make_batch
from xbackprop.optim.optimizers import SGD, Adagrad, Adam, RMSProp, State
from xbackprop.training.plan import Plan
from xbackprop.training.stack import shared_part
from xbackprop.training.step import Step, StepNumbers, read_epoch, run_epoch

K, N, SIZES = 3, 10, (4, 6, 5, 3)
OPTIMIZERS = {
    "adam": Adam(),
    "sgd": SGD(momentum=0.0),
    "momentum": SGD(nesterovs_momentum=False),
    "nesterov": SGD(),
    "rmsprop": RMSProp(),
    "adagrad": Adagrad(),
}
PLANS = {optimizer: Plan(optimizer, ema_decay=0.5) for optimizer in OPTIMIZERS.values()}
RATES, DECAYS, SEEDS, STEPS = np.array([1e-3, 3e-3, 1e-2]), np.array([0.0, 1e-3, 1e-2]), np.array([7, 8, 9]), 5
EMAS = np.array([0.5, 0.9, 0.0])
STRENGTHS = [(0.2, 0.3), (0.5, 0.5), (1.0, 0.1)]  # α and ρ of each
FULL = {"clip_norm": 0.05, "decays": True, "dropout": (0.2, 0.1), "averages": True}
cases = pytest.mark.parametrize(
    ("loss", "solver"),
    [*((loss, "adam") for loss in LOSSES), *(("cross_entropy", s) for s in OPTIMIZERS if s != "adam")],
)


def objective_of(backend, loss, i=0):
    alpha, l1_ratio = STRENGTHS[i]
    return replace(make_objective(backend, SIZES, "tanh"), loss=LOSSES[loss], alpha=alpha, l1_ratio=l1_ratio)


def samples_of(backend, dtype, weighted):
    X, y = problem("classification", n=N)
    weight = np.arange(float(N)) if weighted else None
    return tuple(None if a is None else backend.asarray(a, dtype) for a in (X, one_hot(y, 3), weight))


def thetas(backend):
    return np.stack([random_theta(objective_of(backend, "cross_entropy"), seed) for seed in range(K)])


def numbers_of(i):
    """The numbers of the steps of network i, or of all of them as columns (m, k)."""

    def at(first, t, m):
        def each(x):
            return np.tile(x[i], (m, 1)) if isinstance(i, slice) else np.full(m, x[i])

        l2, l1 = (np.array(x) for x in zip(*((a * (1 - r), a * r) for a, r in STRENGTHS), strict=True))
        penalty = (each(l2), each(l1)) if isinstance(i, slice) else (None, None)
        steps = np.arange(t, t + m)
        t_of_each = steps[:, None] + STEPS * np.arange(K) if isinstance(i, slice) else steps + STEPS * i
        return StepNumbers(each(RATES), each(DECAYS), t_of_each, each(SEEDS), each(EMAS), *penalty)

    return at


def epoch(backend, step, theta, samples, order, at):
    """The θ, the moments and the costs that an epoch leads to, as NumPy has them."""
    theta = backend.copy(backend.asarray(theta))
    state, workspace = PLANS[step.optimizer].start(backend, theta), step.objective.workspace(theta, 4)
    theta, state, costs, rows = run_epoch(step, theta, state, samples, 4, order, at, workspace)
    losses, finite = read_epoch(backend, theta, costs, rows)
    assert all(finite)
    return np.array(backend.to_host(theta)), [np.array(backend.to_host(m)) for m in state.moments], losses


@cases
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_an_epoch_of_a_stack_is_the_epoch_of_each(backend, loss, solver, weighted):
    """Rates, decays, masks, penalties, the norm that is clipped and the order of the rows are each network's own."""
    samples, start = samples_of(backend, "float64", weighted), thetas(backend)
    # Numba's compiled epoch is held to these steps elsewhere, and takes seconds to compile for every case
    home = backend_class("numpy")() if backend.name == "numba" else backend
    orders = np.stack([RandomState(i).permutation(N) for i in range(K)])
    steps = [Step(objective_of(home, loss, i), OPTIMIZERS[solver], **FULL) for i in range(K)]
    shared = shared_part(Step(objective_of(backend, loss), OPTIMIZERS[solver], **FULL))
    whole = epoch(backend, shared, start, samples, orders, numbers_of(slice(None)))
    for i, step in enumerate(steps):
        theta, moments, losses = epoch(home, step, start[i], samples, orders[i], numbers_of(i))
        assert relative(whole[0][i], theta) < 1e-13
        assert not np.allclose(theta, start[i], rtol=1e-6)
        for of_stack, alone in zip(whole[1], moments, strict=True):
            assert relative(of_stack[i], alone) < 1e-12
        assert whole[2][i] == pytest.approx(losses[0], rel=1e-13)


@pytest.mark.parametrize("generic", [False, True], ids=["torch backend", "generic backend"])
@cases
def test_nothing_in_an_epoch_of_a_stack_waits_for_the_device(loss, solver, generic):
    """Tensors on torch's meta device have no values: float(), item(), bool() and copies to the host raise."""
    torch = pytest.importorskip("torch", reason="its meta device stands in for a GPU")
    compat = pytest.importorskip("array_api_compat.torch")
    backend = Backend(compat, torch.device("meta")) if generic else backend_class("torch")(device="meta")
    with torch.no_grad():
        samples = samples_of(backend, "float32", weighted=True)
        theta = backend.asarray(thetas(backend), "float32")
        step = shared_part(Step(objective_of(backend, loss), OPTIMIZERS[solver], **FULL))
        order = np.tile(np.arange(N), (K, 1))
        state, workspace = PLANS[step.optimizer].start(backend, theta), step.objective.workspace(theta, 4)
        theta, state, costs, _ = run_epoch(step, theta, state, samples, 4, order, numbers_of(slice(None)), workspace)
    assert {tuple(cost.shape) for cost in costs} == {(K,)}
    assert isinstance(state, State)
    assert {(x.device.type, x.dtype, tuple(x.shape)) for x in (theta, *state.moments)} == {
        ("meta", torch.float32, (K, step.objective.layout.n_parameters))
    }


@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "a batch for each"])
@pytest.mark.parametrize("checkpoint_every", [0, 2])
def test_the_gradient_of_a_stack_is_the_gradient_of_each(backend, shared, checkpoint_every):
    objective = replace(objective_of(backend, "cross_entropy"), checkpoint_every=checkpoint_every)
    X, y = problem("classification", n=N)
    rows = [np.arange(N) if shared else RandomState(i).permutation(N)[:6] for i in range(K)]
    each = [(backend.asarray(X[r]), backend.asarray(one_hot(y, 3)[r])) for r in rows]
    stacked = each[0] if shared else tuple(map(backend.xp.stack, zip(*each, strict=True)))
    theta = thetas(backend)
    costs, g = objective.value_and_gradient(backend.asarray(theta), make_batch(backend, *stacked))
    assert tuple(costs.shape) == (K,)
    assert tuple(g.shape) == theta.shape
    costs, g = np.array(backend.to_host(costs)), np.array(backend.to_host(g))
    for i in range(K):
        cost, gradient = objective.value_and_gradient(backend.asarray(theta[i]), make_batch(backend, *each[i]))
        assert costs[i] == pytest.approx(float(backend.to_host(cost)), rel=1e-13)
        assert relative(g[i], backend.to_host(gradient)) < 1e-13
