"""The optimizers against scikit-learn's and torch's own, and against their equations."""

import numpy as np
import pytest
from helpers import make_objective, relative
from numpy.random import RandomState

from xbackprop.optim.optimizers import SGD, Adagrad, Adam, RMSProp, State, clip_norm

theirs = pytest.importorskip("sklearn.neural_network._stochastic_optimizers", reason="scikit-learn is the oracle")

RATE, FAST = 0.03, 0.3


def torch_s(name, rate=RATE, **how):
    """An optimizer of torch's, with scikit-learn's way of calling it."""

    def make(parameters):
        torch = pytest.importorskip("torch", reason="torch is the oracle")
        tensors = [torch.from_numpy(p) for p in parameters]  # which share the memory of the arrays
        optimizer = getattr(torch.optim, name)(tensors, lr=rate, eps=1e-8, **how)

        class Update:
            def update_params(self, _, gradients):
                for tensor, g in zip(tensors, gradients, strict=True):
                    tensor.grad = torch.from_numpy(np.array(g))
                optimizer.step()

        return Update()

    return make


CASES = {
    "sgd": (SGD(0.0), lambda p: theirs.SGDOptimizer(p, RATE, momentum=0.0, nesterov=False)),
    "momentum": (SGD(0.8, False), lambda p: theirs.SGDOptimizer(p, RATE, momentum=0.8, nesterov=False)),
    "nesterov": (SGD(0.8, True), lambda p: theirs.SGDOptimizer(p, RATE, momentum=0.8, nesterov=True)),
    "adam": (Adam(), lambda p: theirs.AdamOptimizer(p, RATE)),
    "adam, other constants": (Adam(0.7, 0.9, 1e-3), lambda p: theirs.AdamOptimizer(p, RATE, 0.7, 0.9, 1e-3)),
    "rmsprop": (RMSProp(0.9), torch_s("RMSprop", alpha=0.9)),
    "adagrad": (Adagrad(), torch_s("Adagrad", FAST)),
}
cases = pytest.mark.parametrize("case", CASES)


def update(backend, optimizer, theta, g, state):
    """A step at a constant η, for Adagrad, whose steps shorten, a larger one."""
    rate = optimizer.rate(state.t + 1, FAST if isinstance(optimizer, Adagrad) else RATE)
    theta, moments = optimizer.update(backend, theta, g, state.moments, rate)
    return theta, State(state.t + 1, moments)


def run_ours(backend, optimizer, start, gradients, dtype="float64"):
    """θ, on the host, after a step with each gradient."""
    theta = backend.copy(backend.asarray(start, dtype))
    state = optimizer.start(backend, theta)
    for g in gradients:
        theta, state = update(backend, optimizer, theta, backend.asarray(g, dtype), state)
    assert state.t == len(gradients)
    assert str(theta.dtype).endswith(dtype)
    return np.array(backend.to_host(theta))


def run_theirs(make, start, gradients, edges=()):
    """The same by another library; with `edges`, of θ cut there into arrays of their own."""
    parameters = [part.copy() for part in np.split(start, edges)]
    optimizer = make(parameters)
    for g in gradients:
        optimizer.update_params(parameters, np.split(g, edges))
    return np.concatenate(parameters)


def sequence(size, steps, seed=0):
    """A start value, and gradients of very different sizes."""
    rng = RandomState(seed)
    return rng.standard_normal(size), [10 ** rng.uniform(-6, 3) * rng.standard_normal(size) for _ in range(steps)]


@cases
def test_two_hundred_steps_as_scikit_learn_and_torch_do_them(backend, case):
    ours, make = CASES[case]
    start, gradients = sequence(37, 200)
    result = run_ours(backend, ours, start, gradients)
    assert relative(result, run_theirs(make, start, gradients)) < 1e-12
    assert relative(result, start) > 1e-2


@cases
def test_float32_follows_float64(backend, case):
    ours, make = CASES[case]
    start, gradients = sequence(37, 30)
    result = run_ours(backend, ours, start, gradients, "float32")
    assert relative(result, run_theirs(make, start, gradients)) < 1e-5


@cases
def test_a_vector_is_updated_as_its_parts_each_with_its_own_state(backend, case):
    """A step is elementwise, so a backend may take it on every W_l and b_l alone."""
    ours, make = CASES[case]
    start, gradients = sequence(9, 20)
    edges = [5, 8]
    expected = run_theirs(make, start, gradients, edges)
    parts = [run_ours(backend, ours, *sequence_part(start, gradients, i, edges)) for i in range(3)]
    assert relative(run_ours(backend, ours, start, gradients), expected) < 1e-12
    assert relative(np.concatenate(parts), expected) < 1e-12


def sequence_part(start, gradients, i, edges):
    """The i-th part of start value and gradients that are cut at `edges`."""
    return np.split(start, edges)[i], [np.split(g, edges)[i] for g in gradients]


@cases
@pytest.mark.parametrize("size", [2**21 + 17, 2**16 + 1, 8192, 8191])
def test_large_arrays_cut_into_blocks_or_shared_among_threads(backend, case, size):
    """Whatever a backend does to be fast on a large θ, every element, at the edges too, gets its step."""
    ours, make = CASES[case]
    start, gradients = sequence(size, 2)
    result, expected = run_ours(backend, ours, start, gradients), run_theirs(make, start, gradients)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_an_update_leaves_gradients_alone(backend):
    for optimizer, _ in CASES.values():
        theta = backend.copy(backend.asarray(np.ones(10)))
        gradient = backend.asarray(np.linspace(-1, 1, 10))
        update(backend, optimizer, theta, gradient, optimizer.start(backend, theta))
        np.testing.assert_array_equal(backend.to_host(gradient), np.linspace(-1, 1, 10))


def test_without_buffers_an_update_leaves_parameters_alone(backend):
    """Values in, values out; only a backend that says `reuses_buffers` may write into θ."""
    if backend.reuses_buffers:
        pytest.skip(f"{backend!r} updates in place, as it says")
    for optimizer, _ in CASES.values():
        theta = backend.copy(backend.asarray(np.ones(10)))
        after, _ = update(backend, optimizer, theta, theta, optimizer.start(backend, theta))
        np.testing.assert_array_equal(backend.to_host(theta), np.ones(10))
        assert (backend.to_host(after) < 1).all()


def test_adams_first_step_is_the_learning_rate_whatever_the_gradient(backend):
    """m̂/√v̂ = g/|g| at t = 1: the step is -η sign(g), but for ε."""
    g = np.array([1e-3, -1.0, 1e4])
    after = run_ours(backend, Adam(), np.zeros(3), [g])
    np.testing.assert_allclose(after, -RATE * np.sign(g), rtol=1e-3)


@cases
def test_finds_the_minimum_of_a_bowl(backend, case):
    optimizer, _ = CASES[case]
    minimum = np.array([1.0, -2.0, 0.5])
    theta = backend.copy(backend.asarray(np.zeros(3)))
    target = backend.asarray(minimum)
    state = optimizer.start(backend, theta)
    for _ in range(600):
        theta, state = update(backend, optimizer, theta, theta - target, state)
    assert relative(backend.to_host(theta), minimum) < 1e-2


def test_decay_shrinks_the_weights_and_leaves_the_biases(backend):
    theta = backend.copy(backend.asarray(np.arange(1.0, 9.0)))
    shrunk = make_objective(backend, (5, 1, 1)).decay(theta, 0.1)
    np.testing.assert_allclose(backend.to_host(shrunk), [0.9, 1.8, 2.7, 3.6, 4.5, 5.4, 7, 8], rtol=1e-15)


def test_adamw_is_torchs(backend):
    """With ε of no weight: torch adds it to the corrected √v, scikit-learn to the uncorrected."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    start, gradients = sequence(13, 50)
    weights, biases = torch.tensor(start[:9]), torch.tensor(start[9:])
    groups = [{"params": [weights]}, {"params": [biases], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.2, eps=1e-300)
    ours = backend.copy(backend.asarray(start))
    adam = Adam(epsilon=1e-300)
    state, objective = adam.start(backend, ours), make_objective(backend, (2, 3, 1))
    for g in gradients:
        weights.grad, biases.grad = torch.from_numpy(g[:9]), torch.from_numpy(g[9:])
        optimizer.step()
        ours, state = update(backend, adam, objective.decay(ours, RATE * 0.2), backend.asarray(g), state)
    assert relative(backend.to_host(ours), torch.cat([weights, biases]).numpy()) < 1e-12


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_clipping_shortens_what_is_too_long_and_turns_nothing(backend, limit):
    g = RandomState(0).standard_normal(50)
    clipped = backend.to_host(clip_norm(backend.xp, [backend.asarray(g)], limit)[0])
    assert np.linalg.norm(clipped) == pytest.approx(min(limit, np.linalg.norm(g)), rel=1e-13)
    np.testing.assert_allclose(clipped / np.linalg.norm(clipped), g / np.linalg.norm(g), rtol=1e-12)


def test_clipping_goes_by_the_norm_of_all_the_arrays(backend):
    g = RandomState(0).standard_normal(50)
    parts = clip_norm(backend.xp, [backend.asarray(g[:20]), backend.asarray(g[20:])], 1.0)
    (whole,) = clip_norm(backend.xp, [backend.asarray(g)], 1.0)
    joined = np.concatenate([backend.to_host(part) for part in parts])
    np.testing.assert_allclose(joined, backend.to_host(whole), rtol=1e-13)


def test_clipping_a_gradient_of_zero_gives_zero(backend):
    zero = backend.asarray(np.zeros(4))
    np.testing.assert_array_equal(backend.to_host(clip_norm(backend.xp, [zero], 1.0)[0]), 0.0)
