"""Derivatives of a network's cost C(θ) and of its logits z_L(X; θ), on the samples that users hand in.

Lists of weights and biases have the shapes of `MLP.coefs_` and `MLP.intercepts_` and are in the network's library;
arrays with a row per sample are returned in the library and on the device of X.
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
    """Check the samples and return them as one batch on the network's device."""
    data = same_samples(where, model, X, y, sample_weight, dtype=dtype)
    with data.backend.device_context():
        return data.batch()


def loss_and_gradient(model: Model, X: Any, y: Any, sample_weight: Any) -> tuple[float, list[Array], list[Array]]:
    """Return C, ∂C/∂W_l and ∂C/∂b_l, see `MLP.loss_and_gradient`."""
    batch, backend = batch_of("MLP.loss_and_gradient", model, X, y, sample_weight), model.backend
    with backend.device_context():
        cost, gradient = model.objective.value_and_gradient(model.theta, batch)
    return float(backend.to_host(cost)), *tensors_of(model, gradient)


def jvp(model: Model, X: Any, coef_directions: Any, intercept_directions: Any) -> Array:
    """Return ż_L = Jv (n_samples, n_outputs), the Jacobian of the logits times v; see `MLP.jvp`."""
    where, backend = "MLP.jvp", model.backend
    X = tables.feature_table(where, X, model.n_features, model.feature_names)
    direction = vector_of(where, model, _DIRECTIONS, coef_directions, intercept_directions)
    with backend.device_context():
        rows = read_rows(where, backend, model.dtype, X, model.inputs)
        return transfer(derivatives.jvp(model.objective, model.theta, direction, rows), backend, backend_of(X))


def hvp(model: Model, X: Any, y: Any, coef_directions: Any, intercept_directions: Any, sample_weight: Any) -> Tensors:
    """Return Hv, the Hessian of C times v; see `MLP.hvp`."""
    batch = batch_of("MLP.hvp", model, X, y, sample_weight)
    direction = vector_of("MLP.hvp", model, _DIRECTIONS, coef_directions, intercept_directions)
    with model.backend.device_context():
        product = derivatives.hvp(model.objective, model.theta, direction, batch)
    return tensors_of(model, product)


def input_gradient(model: Model, X: Any, y: Any, sample_weight: Any) -> Array:
    """Return ∂C/∂X (n_samples, n_features), see `MLP.input_gradient`."""
    batch = batch_of("MLP.input_gradient", model, X, y, sample_weight)
    with model.backend.device_context():
        gradient = derivatives.input_gradient(model.objective, model.theta, batch)
        if model.inputs is not None:  # ∂x′/∂x = 1/σ
            gradient = gradient / model.backend.asarray(model.inputs.deviation, model.dtype)
    return transfer(gradient, model.backend, backend_of(X))


def per_sample_gradients(model: Model, X: Any, y: Any) -> Tensors:
    """Return ∂C_x/∂W_l and ∂C_x/∂b_l for every sample x, see `MLP.per_sample_gradients`."""
    batch = batch_of("MLP.per_sample_gradients", model, X, y)
    with model.backend.device_context():
        layers = derivatives.per_sample_gradients(model.objective, model.theta, batch)
    return [W for W, _ in layers], [b[:, 0, :] for _, b in layers]


def per_sample_gradient_norms(model: Model, X: Any, y: Any) -> Array:
    """Return ‖∂C_x/∂θ‖ (n_samples,) for every sample x, see `MLP.per_sample_gradient_norms`."""
    batch = batch_of("MLP.per_sample_gradient_norms", model, X, y)
    with model.backend.device_context():
        norms = derivatives.per_sample_gradient_norms(model.objective, model.theta, batch)
    return transfer(norms, model.backend, backend_of(X))


def gradient_check(model: Model, X: Any, y: Any, epsilon: float, tolerance: float) -> GradientCheck:
    """Check every weight and bias as the paper does (Section 6), in float64; see `MLP.gradient_check`."""
    from xbackprop.verification.methods.paper import paper_check  # imported here, since training does not need it
    from xbackprop.verification.network import network_claim

    where, backend = "MLP.gradient_check", model.backend
    epsilon = validation.positive(where, "epsilon", epsilon)
    tolerance = validation.positive(where, "tolerance", tolerance)
    batch = batch_of(where, model, X, y, dtype="float64")
    with backend.device_context(), one_thread(batch.X.shape[0] * model.objective.layout.n_weights):
        theta = backend.asarray(model.theta, "float64")
        return paper_check(network_claim(model.objective, theta, batch), epsilon=epsilon, tolerance=tolerance)
