"""Derivatives of a network's cost C(θ) and of its logits z_L(X; θ), on the samples that users hand in.

Lists of weights and biases come and go in the shapes of `MLP.coefs_` and `MLP.intercepts_`, in the network's library;
arrays with a row per sample come back in the library and on the device of X.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xbackprop import validation
from xbackprop.arrays.backend import Array
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.arrays.threads import one_thread
from xbackprop.data import tables
from xbackprop.data.dataset import read_rows
from xbackprop.mlp.model import Model, same_samples, tensors_of, vector_of
from xbackprop.nn import derivatives
from xbackprop.nn.objective import Batch

if TYPE_CHECKING:
    from xbackprop.verification.methods.paper import GradientCheck

_DIRECTIONS = ("coef_directions", "intercept_directions")
Tensors = tuple[list[Array], list[Array]]


def batch_of(where: str, model: Model, X: Any, y: Any, sample_weight: Any = None, dtype: str | None = None) -> Batch:
    """All the samples as one batch."""
    data = same_samples(where, model, X, y, sample_weight, dtype=dtype)
    with data.backend.device_context():
        return data.batch()


def loss_and_gradient(model: Model, X: Any, y: Any, sample_weight: Any) -> tuple[float, list[Array], list[Array]]:
    """C, ∂C/∂W_l and ∂C/∂b_l."""
    batch, backend = batch_of("MLP.loss_and_gradient", model, X, y, sample_weight), model.backend
    with backend.device_context():
        cost, gradient = model.objective.value_and_gradient(model.theta, batch)
    return float(backend.to_host(cost)), *tensors_of(model, gradient)


def jvp(model: Model, X: Any, coef_directions: Any, intercept_directions: Any) -> Array:
    """ż_L = Jv."""
    where, backend = "MLP.jvp", model.backend
    X = tables.feature_table(where, X, model.n_features, model.feature_names)
    direction = vector_of(where, model, _DIRECTIONS, coef_directions, intercept_directions)
    with backend.device_context():
        rows = read_rows(where, backend, model.dtype, X, known_finite=False)
        return transfer(derivatives.jvp(model.objective, model.theta, direction, rows), backend, backend_of(X))


def hvp(model: Model, X: Any, y: Any, coef_directions: Any, intercept_directions: Any, sample_weight: Any) -> Tensors:
    """Hv."""
    batch = batch_of("MLP.hvp", model, X, y, sample_weight)
    direction = vector_of("MLP.hvp", model, _DIRECTIONS, coef_directions, intercept_directions)
    with model.backend.device_context():
        product = derivatives.hvp(model.objective, model.theta, direction, batch)
    return tensors_of(model, product)


def input_gradient(model: Model, X: Any, y: Any, sample_weight: Any) -> Array:
    """∂C/∂X."""
    batch = batch_of("MLP.input_gradient", model, X, y, sample_weight)
    with model.backend.device_context():
        gradient = derivatives.input_gradient(model.objective, model.theta, batch)
    return transfer(gradient, model.backend, backend_of(X))


def per_sample_gradients(model: Model, X: Any, y: Any) -> Tensors:
    """∂C_x/∂W_l and ∂C_x/∂b_l for every sample x."""
    batch = batch_of("MLP.per_sample_gradients", model, X, y)
    with model.backend.device_context():
        layers = derivatives.per_sample_gradients(model.objective, model.theta, batch)
    return [W for W, _ in layers], [b[:, 0, :] for _, b in layers]


def per_sample_gradient_norms(model: Model, X: Any, y: Any) -> Array:
    """‖∂C_x/∂θ‖ for every sample x."""
    batch = batch_of("MLP.per_sample_gradient_norms", model, X, y)
    with model.backend.device_context():
        norms = derivatives.per_sample_gradient_norms(model.objective, model.theta, batch)
    return transfer(norms, model.backend, backend_of(X))


def gradient_check(model: Model, X: Any, y: Any, epsilon: float, tolerance: float) -> GradientCheck:
    """The paper's check of every weight and bias, in float64."""
    from xbackprop.verification.methods.paper import paper_check  # which training has no need of
    from xbackprop.verification.network import network_claim

    where, backend = "MLP.gradient_check", model.backend
    epsilon = validation.positive(where, "epsilon", epsilon)
    tolerance = validation.positive(where, "tolerance", tolerance)
    batch = batch_of(where, model, X, y, dtype="float64")
    with backend.device_context(), one_thread(batch.X.shape[0] * model.objective.layout.n_weights):
        theta = backend.asarray(model.theta, "float64")
        return paper_check(network_claim(model.objective, theta, batch), epsilon=epsilon, tolerance=tolerance)
