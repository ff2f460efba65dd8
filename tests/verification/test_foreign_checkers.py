"""Our gradient and our Hessian-vector product before the checkers of torch and SciPy, as their authors set them."""

import numpy as np
import pytest
from foreign import away_from_kinks, host_function, torch_function, torch_function_of, with_wrong_sign

from xbackprop.nn.activations import ACTIVATIONS

torch = pytest.importorskip("torch", reason="torch's gradcheck is one of the checkers")
optimize = pytest.importorskip("scipy.optimize", reason="SciPy's check_grad is one of the checkers")

ROOT_EPS = float(np.sqrt(np.finfo(np.float64).eps))  # SciPy's step

activations = pytest.mark.parametrize("activation", ACTIVATIONS)
tasks = pytest.mark.parametrize("task", ["classification", "regression"])
costs = pytest.mark.parametrize("full", [False, True], ids=["plain", "penalty and weights"])
modes = pytest.mark.parametrize("fast_mode", [False, True], ids=["slow", "fast"])
faults = pytest.mark.parametrize("tensor", [None, "coefs_[0]", "intercepts_[2]"], ids=["all", "W_1", "b_3"])


def leaf(theta):
    return torch.tensor(theta, dtype=torch.float64, requires_grad=True)


def gradcheck(function, theta, **settings):
    with torch.enable_grad():  # a torch backend's scope() records no graph
        return torch.autograd.gradcheck(function, (leaf(theta),), **settings)


def gradgradcheck(function, theta, **settings):
    with torch.enable_grad():
        return torch.autograd.gradgradcheck(function, (leaf(theta),), (leaf(0.7),), **settings)


@activations
@tasks
@costs
@modes
def test_torch_gradcheck_accepts_our_gradient(backend, activation, task, full, fast_mode):
    objective, batch, theta = away_from_kinks(backend, activation, task, full)
    assert gradcheck(torch_function(objective, batch), theta, fast_mode=fast_mode)


@activations
@tasks
@modes
def test_torch_gradgradcheck_accepts_our_hessian_vector_product(backend, activation, task, fast_mode):
    objective, batch, theta = away_from_kinks(backend, activation, task)
    assert gradgradcheck(torch_function(objective, batch), theta, fast_mode=fast_mode)


@faults
@modes
def test_torch_gradcheck_rejects_a_wrong_sign(backend, tensor, fast_mode):
    objective, batch, theta = away_from_kinks(backend)
    cost, gradient, _ = host_function(objective, batch)
    wrong = torch_function_of(cost, with_wrong_sign(objective, gradient, tensor))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(wrong, theta, fast_mode=fast_mode)


@faults
@modes
def test_torch_gradgradcheck_rejects_a_wrong_sign(backend, tensor, fast_mode):
    objective, batch, theta = away_from_kinks(backend)
    cost, gradient, product = host_function(objective, batch)
    wrong = torch_function_of(cost, gradient, with_wrong_sign(objective, product, tensor))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradgradcheck(wrong, theta, fast_mode=fast_mode)


def forward_difference_bound(function, theta):
    """What ‖forward difference - ∂C/∂θ‖ may be for a right gradient, with h = √ε, ε twice the unit roundoff.

    An element is off by ½ h |H_ii|, the curvature that a forward difference leaves out, and by the rounding of two
    costs over h: with a cost good to 4 ε |C|, by 8 ε |C| / h = 8 h |C|.
    """
    P = len(theta)
    curvature = max(abs(function.product(theta, e)[i]) for i, e in enumerate(np.eye(P)))
    return np.sqrt(P) * ROOT_EPS * (0.5 * curvature + 8 * abs(function.cost(theta)))


@activations
@tasks
@costs
def test_scipy_check_grad_accepts_our_gradient(backend, activation, task, full):
    objective, batch, theta = away_from_kinks(backend, activation, task, full)
    function = host_function(objective, batch)
    error = optimize.check_grad(function.cost, function.gradient, theta)
    assert 0 < error < forward_difference_bound(function, theta)


@faults
def test_scipy_check_grad_rejects_a_wrong_sign(backend, tensor):
    objective, batch, theta = away_from_kinks(backend)
    function = host_function(objective, batch)
    error = optimize.check_grad(function.cost, with_wrong_sign(objective, function.gradient, tensor), theta)
    assert error > 1000 * forward_difference_bound(function, theta)


def test_what_the_checkers_see_is_the_backends_own(backend):
    """No detour through another gradient: to the last bit what Objective and hvp return."""
    objective, batch, theta = away_from_kinks(backend)
    cost, gradient = objective.value_and_gradient(backend.asarray(theta), batch)
    with torch.enable_grad():
        at = leaf(theta)
        seen = torch_function(objective, batch)(at)
        (slope,) = torch.autograd.grad(seen, at)
    assert seen.item() == float(backend.to_host(objective.value(backend.asarray(theta), batch)))
    assert seen.item() == pytest.approx(float(backend.to_host(cost)), rel=1e-14)
    np.testing.assert_array_equal(slope.numpy(), backend.to_host(gradient))
