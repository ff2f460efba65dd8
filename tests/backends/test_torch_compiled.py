"""torch with its steps compiled: the weights are NumPy's, nothing is compiled twice, what cannot be is an error."""

import importlib
import pickle
import warnings

import numpy as np
import pytest
from helpers import problem, weights_of
from numpy.random import RandomState

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.losses import Loss, cross_entropy

torch = pytest.importorskip("torch", reason="torch is not installed")
compiled = importlib.import_module("xbackprop_torch_compiled")

#: torch, importing its own compiler.
pytestmark = [pytest.mark.backends("torch"), pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]


@pytest.fixture(autouse=True, scope="module")
def cpp_compiler():
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        pytest.skip("torch finds no C++ compiler to compile steps with")


def fit(backend=None, n=40, weight=None, **how):
    X, y = problem("classification", n=n)
    settings = {"max_iter": 4, "batch_size": 8, "random_state": 0, **how}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        net = xbackprop.MLP((6, 5), "tanh", backend=backend or compiled.CompiledTorchBackend(), **settings)
        return net.fit(X, y, weight)


ALL = {"dropout": 0.2, "clip_norm": 0.5, "solver": "adamw", "weight_decay": 0.1, "l1_ratio": 0.3, "alpha": 0.01}


@pytest.mark.parametrize(
    "how",
    [{"n": 43}, ALL, {"shuffle": False, "solver": "sgd", "weight": RandomState(1).random_sample(40)}],
    ids=["a short last batch", "all that a step may do", "slices and sample weights"],
)
def test_it_trains_to_numpys_weights(how):
    ours, numpys = fit(**how), fit("numpy", **how)
    for a, b in zip(weights_of(ours), weights_of(numpys), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.loss_curve_, numpys.loss_curve_, rtol=1e-12)
    assert all(isinstance(W, torch.Tensor) and not W.requires_grad for W in ours.coefs_)


def test_float32_stays_float32():
    ours, numpys = fit(dtype="float32"), fit("numpy", dtype="float32")
    assert {W.dtype for W in ours.coefs_} == {torch.float32}
    for a, b in zip(weights_of(ours), weights_of(numpys), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_a_second_fit_of_equal_shapes_compiles_nothing():
    first = fit(learning_rate_init=0.01)
    misses = compiled._compiled.cache_info().misses
    assert misses
    second = fit(learning_rate="cosine", learning_rate_init=0.02, warmup=2.0, random_state=7)
    assert compiled._compiled.cache_info().misses == misses
    assert not np.allclose(weights_of(first)[0], weights_of(second)[0])


def test_training_on_writes_to_nothing_that_was_handed_out():
    net = fit()
    X, y = map(torch.as_tensor, problem("classification", n=40))
    held, given = [W.clone() for W in net.coefs_], X.clone()
    before = list(net.coefs_)
    net.partial_fit(X, y)
    assert all(torch.equal(a, b) for a, b in zip(before, held, strict=True))
    assert torch.equal(X, given)
    assert not torch.equal(net.coefs_[0], held[0])


def test_no_derivative_is_torchs(monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("autograd computes no gradient here")

    for module, name in ((torch.Tensor, "backward"), (torch.autograd, "grad"), (torch.autograd, "backward")):
        monkeypatch.setattr(module, name, forbidden)
    for name in ("grad", "vjp", "jvp", "linearize", "jacrev", "jacfwd"):
        monkeypatch.setattr(torch.func, name, forbidden)
    net = fit(alpha=0.123)
    assert net.loss_curve_[-1] < net.loss_curve_[0]


def test_a_step_that_cannot_be_compiled_is_named():
    def asks_for_a_number(xp, z, y, share):
        return cross_entropy(xp, z, y, share) if float(xp.sum(z)) > -np.inf else None

    loss = Loss("asking", asks_for_a_number, lambda xp, z: z)
    with pytest.raises(xbackprop.BackendError, match=r"'torch-compiled': torch .* could not compile a step: \w+"):
        fit(loss=loss)


def test_it_can_be_pickled():
    home = compiled.CompiledTorchBackend()
    again = pickle.loads(pickle.dumps(home))
    assert again == home
    assert again != backend_class("torch")()


def test_steps_that_are_replayed_are_the_steps(monkeypatch):
    """A graph does nothing when it is captured, and when it is replayed works on the same memory as then. Here, one
    that a CPU can have: all that a CUDA graph promises, without the capturing itself."""
    captured = []

    def capture(call, arrays):
        cost = torch.full((), torch.nan, dtype=torch.float64)
        captured.append(arrays)
        return lambda: cost.copy_(call(*arrays)[0]), (cost,)

    plain = fit(n=67, dropout=0.2, weight_decay=0.1)
    monkeypatch.setattr(compiled, "_captured", capture)
    monkeypatch.setattr(compiled.CompiledTorchBackend, "graphs", True)
    replayed = fit(n=67, dropout=0.2, weight_decay=0.1)
    assert len(captured) == 4  # an epoch's eight batches of eight; not the last one, of three
    assert replayed.loss_curve_ == plain.loss_curve_
    for a, b in zip(weights_of(replayed), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)
