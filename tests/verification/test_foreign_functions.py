"""Derivatives that people write for torch, JAX and SciPy: right ones pass, wrong ones are told, honestly."""

import numpy as np
import pytest

import xbackprop
from xbackprop import check_jax, check_scipy, check_torch


def torch_functions():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Product(torch.autograd.Function):
        """x³ y, with a factor on its derivative by y."""

        factor = 1.0

        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x**3 * y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return 3 * x**2 * y * g, Product.factor * x**3 * g

    return torch, Product


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_torch_function(dtype):
    torch, Product = torch_functions()
    x, y = (torch.tensor(a, dtype=getattr(torch, dtype)) for a in ([1.0, -2.0, 0.5], [2.0, 3.0, -1.0]))
    right = check_torch(Product, x, y)
    assert right
    assert ("in float64 where it was given float32" in right.header["function"]) == (dtype == "float32")
    Product.factor = 1.001
    wrong = check_torch(Product, x, y)
    assert wrong.verdicts == {"input 0": "PASS", "input 1": "FAIL"}
    assert x.dtype == getattr(torch, dtype)
    assert not x.requires_grad


def test_a_torch_module_and_what_is_wrong_inside_it():
    torch, Product = torch_functions()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.scale = torch.nn.Linear(3, 4), torch.nn.Parameter(torch.ones(4))

        def forward(self, x, offset):
            return Product.apply(torch.tanh(self.first(x)), self.scale.expand(len(x), 4)) + offset

    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 3)
    report = check_torch(net, x, 2)
    assert report
    assert set(report.verdicts) == {"first.weight", "first.bias", "scale", "input"}
    Product.factor = 0.99
    assert check_torch(net, x, 2).verdicts["scale"] == "FAIL"
    assert check_torch(net, x, 2, parameters=False).verdicts == {"input": "PASS"}
    assert all(p.dtype == torch.float32 and p.grad is None for p in net.parameters())


def test_what_torch_cannot_decide_is_said():
    torch, _ = torch_functions()
    torch.manual_seed(0)
    random = check_torch(torch.nn.Dropout(0.5), torch.ones(4, 3))
    assert random.verdict == "INCONCLUSIVE"
    assert "not deterministic" in random.short
    rounded = check_torch(lambda x: (x.float() ** 2).double(), torch.ones(3, dtype=torch.float64))
    assert rounded.verdict == "INCONCLUSIVE"
    unused = check_torch(lambda x, y: x**2, torch.ones(3), torch.ones(3))
    assert unused.verdicts["input 1"] == "VACUOUS"
    kink = check_torch(torch.nn.ReLU(), torch.zeros(3))
    assert kink  # any number between the slopes is right


def test_a_jax_function():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jnp = jax.numpy

    def make(factor):
        @jax.custom_vjp
        def f(x, k):
            return jnp.sin(x) * k, x + k

        def backward(residuals, gs):
            x, k = residuals
            return jnp.cos(x) * k * gs[0] + gs[1], factor * jnp.sin(x) * gs[0] + gs[1]

        f.defvjp(lambda x, k: (f(x, k), (x, k)), backward)
        return f

    x, k = jnp.array([0.5, 2.0]), jnp.array([1.0, -3.0])
    before = jax.config.jax_enable_x64
    assert check_jax(make(1.0), x, k)
    assert check_jax(make(1.01), x, k).verdicts == {"input 0": "PASS", "input 1": "FAIL"}
    assert jax.config.jax_enable_x64 == before
    assert check_jax(lambda x, n: x**n, x, 3)
    with pytest.raises(ValueError, match="check_jax: there must be an input of real floating type"):
        check_jax(lambda n: n, 3)


def test_scipy_s_functions():
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    x = np.array([0.5, 1.2, -0.3])
    assert check_scipy(optimize.rosen, x, jac=optimize.rosen_der)
    assert not check_scipy(optimize.rosen, x, jac=lambda x: 1.001 * optimize.rosen_der(x))
    assert check_scipy(lambda x, a: (a * np.sum(x**4), 4 * a * x**3), x, args=(3.0,))
    with pytest.raises(
        ValueError, match="jac must be True, where fun returns its gradient too, or a function, got '2-p"
    ):
        check_scipy(optimize.rosen, x, jac="2-point")


def test_options_and_missing_libraries(monkeypatch):
    from xbackprop import validation

    torch, Product = torch_functions()
    with pytest.raises(ValueError, match="check_torch: vectorized is of check_gradient alone"):
        check_torch(Product, torch.ones(1), torch.ones(1), vectorized=True)
    with pytest.raises(ValueError, match="check_torch: there must be an input of real floating type"):
        check_torch(lambda n: n, 3)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(validation, "import_module", missing)
    with pytest.raises(xbackprop.BackendError, match="check_jax needs jax, which is not installed: pip install jax"):
        check_jax(np.sin, np.ones(1))
