"""C(θ) as a whole: the penalty, weights, and what a checker sees of it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_objective, one_hot, problem, random_theta, relative

from xbackprop.nn.objective import make_batch

SIZES = (4, 5, 3)
tasks = pytest.mark.parametrize("task", ["classification", "regression"])


def evaluate(backend, task, alpha, weight=None, rows=None, dtype="float64", theta_seed=0):
    """C and ∂C/∂θ at a random θ, and θ."""
    objective = make_objective(backend, SIZES, "tanh", task, alpha)
    X, y = problem(task)
    y = one_hot(y, 3) if task == "classification" else y
    rows = slice(None) if rows is None else rows
    theta = random_theta(objective, theta_seed)
    weight = None if weight is None else backend.asarray(np.asarray(weight, dtype=dtype), dtype)
    batch = make_batch(backend, backend.asarray(X[rows], dtype), backend.asarray(y[rows], dtype), weight)
    cost, gradient = objective.value_and_gradient(backend.asarray(theta, dtype), batch)
    assert float(backend.to_host(objective.value(backend.asarray(theta, dtype), batch))) == pytest.approx(
        float(backend.to_host(cost)), rel=1e-6 if dtype == "float32" else 1e-14
    )
    assert gradient.dtype == cost.dtype == batch.X.dtype
    return float(backend.to_host(cost)), np.array(backend.to_host(gradient)), theta, objective.layout


@tasks
@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 2, 12)], ids=["unweighted", "weighted"])
def test_penalty_is_alpha_over_2n_times_the_squared_weights_and_biases_are_free(backend, task, weight):
    alpha = 0.7
    n = 12 if weight is None else weight.sum()
    cost, gradient, theta, layout = evaluate(backend, task, alpha, weight)
    plain_cost, plain_gradient, *_ = evaluate(backend, task, 0.0, weight)
    layers = layout.layers(np, theta)
    squares = sum(float((W**2).sum()) for W, _ in layers)
    assert cost - plain_cost == pytest.approx(alpha / (2 * n) * squares, rel=1e-12)
    for (dW, db), (W, b) in zip(layout.layers(np, gradient - plain_gradient), layers, strict=True):
        np.testing.assert_allclose(dW, alpha / n * W, rtol=1e-10, atol=1e-15)
        np.testing.assert_array_equal(db, np.zeros_like(b))


@tasks
def test_with_a_penalty_the_gradient_is_still_the_slope(backend, task):
    objective = make_objective(backend, SIZES, "tanh", task, alpha=2.0)
    X, y = problem(task)
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(y, 3) if task == "classification" else y))
    theta = random_theta(objective)
    _, gradient = objective.value_and_gradient(backend.asarray(theta), batch)
    h = 1e-5 * np.eye(len(theta))
    up, down = (backend.to_host(objective.value(backend.asarray(theta + s * h), batch)) for s in (1, -1))
    assert relative((up - down) / 2e-5, backend.to_host(gradient)) < 1e-8


@tasks
def test_a_batch_that_weighs_nothing_costs_nothing(backend, task):
    """A batch of weights that are all zero must not stop a run with 0/0; filterwarnings makes a warning an error."""
    cost, gradient, *_ = evaluate(backend, task, 0.5, np.zeros(12))
    assert cost == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@tasks
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weight_is_a_number_of_copies(backend, task, dtype):
    copies = np.array([1, 2, 0, 3, 1, 1, 0, 4, 1, 2, 1, 1])
    cost, gradient, *_ = evaluate(backend, task, 0.3, copies, dtype=dtype)
    repeated_cost, repeated, *_ = evaluate(backend, task, 0.3, rows=np.repeat(np.arange(12), copies), dtype=dtype)
    tolerance = 32 * float(np.finfo(dtype).eps)
    assert cost == pytest.approx(repeated_cost, rel=tolerance)
    assert relative(gradient, repeated) < tolerance


@tasks
def test_equal_weights_are_no_weights(backend, task):
    cost, gradient, *_ = evaluate(backend, task, 0.0, np.full(12, 2.5))
    plain_cost, plain, *_ = evaluate(backend, task, 0.0)
    assert cost == pytest.approx(plain_cost, rel=1e-14)
    assert relative(gradient, plain) < 1e-14


@tasks
def test_the_order_of_samples_does_not_matter(backend, task):
    cost, gradient, *_ = evaluate(backend, task, 0.3, rows=np.arange(12)[::-1])
    plain_cost, plain, *_ = evaluate(backend, task, 0.3)
    assert cost == pytest.approx(plain_cost, rel=1e-14)
    assert relative(gradient, plain) < 1e-14


@pytest.mark.parametrize(
    ("activation", "has_branches"), [("relu", True), ("leaky_relu", True), ("elu", True), ("tanh", False)]
)
def test_branches_tell_on_which_side_of_a_kink_or_joint_each_unit_is(backend, activation, has_branches):
    objective = make_objective(backend, (4, 5, 6, 3), activation, "regression")
    X, y = (backend.asarray(a) for a in problem("regression"))
    theta = backend.asarray(random_theta(objective))
    cost, branches = objective.value_and_branches(theta, make_batch(backend, X, y))
    assert float(backend.to_host(cost)) > 0
    z = objective.forward(theta, X).z
    assert len(branches) == (2 if has_branches else 0)
    for branch, layer in zip(branches, z[:-1], strict=False):
        np.testing.assert_array_equal(backend.to_host(branch), backend.to_host(layer) > 0)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.4])
def test_layers_have_the_cost_and_the_gradient_of_the_vector(backend, l1_ratio):
    """(W_l, b_l) that do not lie in one θ, as compilers like them: the same numbers."""
    backend = backend.generic()  # overrides may have been written for one vector, where that is what a backend takes
    objective = replace(make_objective(backend, (4, 6, 5, 3)), l1_ratio=l1_ratio)
    X, y = problem("classification")
    batch = make_batch(backend, backend.asarray(X), backend.asarray(one_hot(y, 3)))
    theta = backend.copy(backend.asarray(random_theta(objective)))
    layers = [(backend.copy(W), backend.copy(b)) for W, b in objective.layers(theta)]
    cost, gradient = objective.value_and_gradient(theta, batch)
    cost_of_layers, gradients = objective.layer_gradients(layers, batch)
    assert float(backend.to_host(cost_of_layers)) == pytest.approx(float(backend.to_host(cost)), rel=1e-14)
    assert relative(backend.to_host(objective.flatten(gradients)), backend.to_host(gradient)) < 1e-14
