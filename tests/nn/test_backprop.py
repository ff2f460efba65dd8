"""The two passes against Algorithm 1 in scalars, and every faster version of their parts against the readable one."""

import inspect
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, relative
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

import xbackprop_numpy
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn import backprop
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.backprop import backward, forward
from xbackprop.nn.dropout import uniform_bits
from xbackprop.nn.objective import make_batch
from xbackprop.nn.parameters import Layout
from xbackprop.optim.optimizers import (
    adagrad_step,
    adam_step,
    average_step,
    momentum_step,
    nesterov_step,
    rmsprop_step,
    sgd_step,
)

STEPS = [sgd_step, momentum_step, nesterov_step, adam_step, rmsprop_step, adagrad_step, average_step]
SIZES = ((4, 3), (4, 5, 3), (4, 6, 5, 3), (2, 3, 4, 5, 2), (1, 1, 1))


@given(st.lists(st.integers(1, 7), min_size=2, max_size=6))
def test_layout_cuts_theta_and_joins_it_again(sizes):
    layout = Layout(sizes)
    theta = np.arange(layout.n_parameters, dtype=float)
    layers = layout.layers(np, theta)
    shapes = [(W.shape, b.shape) for W, b in layers]
    assert shapes == [((m, n), (1, n)) for m, n in pairwise(sizes)]
    assert layout.n_parameters == sum(W.size + b.size for W, b in layers)
    np.testing.assert_array_equal(layout.flatten(np, layers), theta)
    every_element = np.concatenate([a.ravel() for layer in layers for a in layer])
    np.testing.assert_array_equal(np.sort(every_element), theta)
    assert all(np.shares_memory(a, theta) for layer in layers for a in layer)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_tensors_name_the_same_ranges(sizes):
    layout = Layout(sizes)
    theta = RandomState(0).standard_normal(layout.n_parameters)
    tensors = layout.tensors()
    for l, (W, b) in enumerate(layout.layers(np, theta)):
        for name, expected in ((f"coefs_[{l}]", W), (f"intercepts_[{l}]", b[0])):
            where, shape = tensors[name]
            np.testing.assert_array_equal(theta[where].reshape(shape), expected)
    assert len(tensors) == 2 * (len(sizes) - 1)


def algorithm_1(layers, x, y):
    """The paper's Algorithm 1 for one sample, as examples/algorithm_1.py has it."""
    path = Path(__file__).parent.parent.parent / "examples" / "algorithm_1.py"
    return runpy.run_path(str(path))["algorithm_1"](layers, x, y)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_passes_are_algorithm_1(backend, sizes):
    objective = make_objective(backend, sizes, "tanh", "regression", alpha=0.0)
    X, y = problem("regression", n=5, features=sizes[0], outputs=sizes[-1])
    theta = random_theta(objective)
    layers = [(W.tolist(), b[0].tolist()) for W, b in objective.layout.layers(np, theta)]
    samples = [algorithm_1(layers, x.tolist(), t.tolist()) for x, t in zip(X, y, strict=True)]

    on_device = backend.asarray(theta)
    cache = objective.forward(on_device, backend.asarray(X))
    for l in range(len(layers)):
        np.testing.assert_allclose(backend.to_host(cache.z[l]), [z[l] for z, _, _ in samples], rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(backend.to_host(cache.h[l]), [h[l] for _, h, _ in samples], rtol=1e-13, atol=1e-14)

    batch = make_batch(backend, backend.asarray(X), backend.asarray(y))
    _, gradient = objective.value_and_gradient(on_device, batch)
    for l, (dW, db) in enumerate(objective.layout.layers(np, backend.to_host(gradient))):
        mean_dW = np.mean([gradients[l][0] for _, _, gradients in samples], axis=0)
        mean_db = np.mean([gradients[l][1] for _, _, gradients in samples], axis=0)
        assert relative(dW, mean_dW) < 1e-13
        assert relative(db[0], mean_db) < 1e-13


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("lead", [(3,), (2, 3), (1,)])
def test_a_stack_of_networks_is_a_loop_over_them(backend, sizes, lead):
    objective = make_objective(backend, sizes, "silu")
    X, labels = problem("classification", features=sizes[0], outputs=sizes[-1])
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(labels, sizes[-1])))
    thetas = random_theta(objective, stack=lead)
    stack = backend.asarray(thetas)
    outputs = backend.to_host(objective.forward(stack, batch.X).z[-1])
    costs = backend.to_host(objective.value(stack, batch))
    assert costs.shape == lead
    assert outputs.shape == (*lead, len(X), sizes[-1])
    for index in np.ndindex(lead):
        one = backend.asarray(thetas[index])
        np.testing.assert_allclose(outputs[index], backend.to_host(objective.forward(one, batch.X).z[-1]), rtol=1e-12)
        assert costs[index] == pytest.approx(float(backend.to_host(objective.value(one, batch))), rel=1e-13)


def test_the_backward_pass_of_a_stack_is_a_loop_too(backend):
    objective = make_objective(backend, (4, 6, 5, 3), "gelu")
    X = backend.asarray(problem("regression")[0])
    thetas = random_theta(objective, stack=(3,))
    deltas = RandomState(1).standard_normal((3, X.shape[0], 3))

    def gradients(theta, delta):
        layers = objective.layout.layers(backend.xp, backend.asarray(theta))
        cache = forward(backend, layers, objective.activations, X)
        found = backward(backend, layers, objective.activations, cache, backend.asarray(delta))
        return [backend.to_host(a) for pair in found for a in pair]

    stacked = gradients(thetas, deltas)
    for i in range(3):
        for all_three, one in zip(stacked, gradients(thetas[i], deltas[i]), strict=True):
            assert relative(all_three[i], one) < 1e-13


N, N_IN, N_OUT = 7, 5, 4


def arguments(function, share=1 / N):
    """Random NumPy arrays and floats for a generic function, by the names of its parameters."""
    rng = RandomState(0)
    shapes = {
        "h": (N, N_IN), "X": (N, N_IN), "W": (N_IN, N_OUT), "b": (1, N_OUT), "delta": (N, N_OUT),
        "slope": (N, N_IN), "z": (N, N_OUT), "x": (N, N_OUT),
        "average": (200_000,), "theta": (200_000,),
        "g": (200_000,), "w": (200_000,), "m": (200_000,), "velocity": (200_000,),
    }  # fmt: skip
    constants = {
        "rate": 1e-2, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "momentum": 0.9, "share": share,
        "rows": np.array([3, 1, 6, 0]), "v": rng.uniform(0, 1, 200_000), "y": rng.dirichlet(np.ones(N_OUT), N),
        "weights": [rng.standard_normal(200_000)], "l2": 0.3, "l1": None if isinstance(share, float) else 0.2,
        "decay": 0.9, "rho": 0.9, "n": 150_000,
        "factor": 0.99, "key": (12345, 2), "step": 7, "device": None,
    }  # fmt: skip
    names = [name for name in inspect.signature(function).parameters if name not in ("xp", "out")]
    found = {name: constants[name] if name in constants else rng.standard_normal(shapes[name]) for name in names}
    if "h" in found and "z" in found:  # an activation's derivative
        found["h"] = found["z"]
    return found


def call(backend, function, values, dtype, out=None):
    """The results on the host; arrays go in as copies, since an override may write into what it updates."""

    def moved(value):
        if isinstance(value, list):
            return [moved(part) for part in value]
        if not isinstance(value, np.ndarray):
            return value
        return backend.asarray(value.copy(), None if value.dtype.kind == "i" else dtype)

    inputs = {name: moved(value) for name, value in values.items()}
    results = function(backend.xp, *inputs.values(), **({} if out is None else {"out": out}))
    results = tuple(results) if isinstance(results, tuple | list) else (results,)
    return [np.array(backend.to_host(r)) for r in results], results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [1 / N, np.linspace(0, 0.2, N)[:, None]], ids=["mean", "weighted"])
def test_every_override_gives_what_the_generic_function_gives(backend, dtype, share):
    for generic, override in backend.overrides.items():
        values = arguments(generic, share)
        expected, _ = call(backend, generic, values, dtype)
        results, _ = call(backend, override, values, dtype)
        assert len(results) == len(expected), generic.__name__
        for ours, theirs in zip(results, expected, strict=True):
            assert (ours.dtype == theirs.dtype == dtype) or generic is uniform_bits, generic.__name__
            assert relative(ours, theirs) < 8 * np.finfo(dtype).eps, generic.__name__


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("z", [[np.nan, 1], [np.inf, 1], [-np.inf, 1], [0.0, -0.0], [200, -200], [1e-30, 2]])
def test_an_override_of_an_elementwise_function_meets_every_number_as_the_generic_one_does(backend, dtype, z):
    for generic, override in backend.overrides.items():
        if list(inspect.signature(generic).parameters)[1] != "z":
            continue
        values = arguments(generic) | {"z": np.tile(np.array(z, dtype=np.float64), (N, N_OUT // 2))}
        values |= {"h": values["z"]} if "h" in values else {}
        expected, _ = call(backend, generic, values, dtype)
        results, _ = call(backend, override, values, dtype)
        eps = np.finfo(dtype).eps  # h - y is a difference of numbers up to 1
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=8 * eps, atol=eps, err_msg=generic.__name__)


@pytest.mark.backends("numba")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", STEPS)
def test_a_compiled_update_gives_numpys_bits(step, dtype):
    pytest.importorskip("numba", reason='numba is not installed; nox -s "tests(numba)" brings its own')
    home, compiled = backend_class("numpy")(), backend_class("numba")()
    ours, numpys = (call(b, b.overrides[step], arguments(step), dtype)[0] for b in (compiled, home))
    for a, b in zip(ours, numpys, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("step", STEPS)
def test_an_update_is_the_same_whole_in_blocks_and_over_threads(monkeypatch, step):
    home, values = xbackprop_numpy.NumpyBackend(), arguments(step)
    found = []
    for block_bytes, threaded in ((2**30, 2**30), (2**15, 2**30), (2**15, 1)):
        monkeypatch.setattr(xbackprop_numpy, "BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(xbackprop_numpy, "THREADED_SIZE", threaded)
        found.append(call(home, home.overrides[step], values, "float32")[0])
    for results in found[1:]:
        for ours, whole in zip(results, found[0], strict=True):
            assert np.array_equal(ours, whole)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_override_takes_a_buffer_and_fills_it(backend, dtype):
    """The promise of `reuses_buffers`: what comes back lies in the memory that was lent, whatever was there before."""
    if not backend.reuses_buffers:
        pytest.skip(f"{backend!r} reuses no buffers")

    lenders = [
        f for _, f in inspect.getmembers(backprop, inspect.isfunction) if "out" in inspect.signature(f).parameters
    ]
    assert lenders
    for generic in lenders:
        values = arguments(generic)
        (expected,), _ = call(backend, generic, values, dtype)
        out = backend.asarray(np.full(expected.shape, np.nan), dtype)
        (result,), (same,) = call(backend, backend.overrides.get(generic, generic), values, dtype, out)
        assert same is out, generic.__name__
        assert relative(backend.to_host(out), expected) < 8 * np.finfo(dtype).eps, generic.__name__


def test_overrides_name_functions_of_the_core(backend):
    """A key that the core never binds would be an override that nothing runs."""
    for generic, override in backend.overrides.items():
        assert generic.__module__.startswith("xbackprop.")
        assert next(iter(inspect.signature(generic).parameters)) == "xp"
        assert override is not generic


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_workspace_changes_no_result(backend, name, task, dtype):
    """The same buffers, used for one batch after the other, the last one short."""
    objective = make_objective(backend, (4, 6, 5, 3), name, task)
    X, y = problem(task, n=10)
    X, y = backend.asarray(X, dtype), backend.asarray(one_hot(y, 3) if task == "classification" else y, dtype)
    theta = backend.copy(backend.asarray(random_theta(objective), dtype))
    workspace = objective.workspace(theta, 4)
    assert (workspace is not None) == backend.reuses_buffers
    if workspace is None:
        pytest.skip("a backend that reuses no buffers lends none, and both results come from one and the same call")
    for start, stop in ((0, 4), (4, 8), (8, 10), (0, 4), (9, 10)):
        batch = make_batch(backend, X[start:stop, :], y[start:stop, :])
        cost, gradient = objective.value_and_gradient(theta, batch)
        lent = workspace.rows(stop - start)
        cost_lent, gradient_lent = objective.value_and_gradient(theta, batch, lent)
        assert relative(backend.to_host(cost_lent), backend.to_host(cost)) < 8 * np.finfo(dtype).eps
        assert relative(backend.to_host(gradient_lent), backend.to_host(gradient)) < 16 * np.finfo(dtype).eps
        assert cost_lent.dtype == gradient_lent.dtype == theta.dtype


def test_the_passes_write_into_nothing_they_are_given(backend):
    objective = make_objective(backend, (4, 6, 3), "relu")
    X, labels = problem("classification")
    given = [backend.asarray(np.array(a)) for a in (random_theta(objective), X, one_hot(labels, 3))]
    before = [np.array(backend.to_host(a)) for a in given]
    theta, *samples = given
    objective.value_and_gradient(theta, make_batch(backend, *samples))
    for a, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(backend.to_host(a), b)
