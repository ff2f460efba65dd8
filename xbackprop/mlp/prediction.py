"""Compute predictions in the library and on the device of X, for a bounded number of rows at a time.

Every function takes `where`, the user's call, for errors; and `known_finite`, see `read_samples`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xbackprop.arrays.backend import Array, Namespace, is_sparse
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.data import tables
from xbackprop.data.dataset import read_rows, read_targets
from xbackprop.mlp.model import Model
from xbackprop.nn.backprop import forward
from xbackprop.nn.losses import linear

LEAST_ROWS = 256  # the smallest chunk: matrix products of fewer rows are slow


def predict(where: str, model: Model, X: Any, *, known_finite: bool = False) -> Array:
    """Predict the label with the largest probability, 0 or 1 for each label, or the regression's output."""
    targets, loss = model.targets, model.objective.loss
    X = _table(where, model, X)
    outputs = _outputs(
        where, model, X, lambda xp, z: targets.predict_from_logits(xp, z, loss), known_finite=known_finite
    )
    if targets.kind == "numbers":
        if targets.scaling is not None:
            home = backend_of(X)
            with home.device_context():
                outputs = targets.scaling.undo(home.xp, outputs, home)
        return outputs[:, 0] if targets.vector else outputs
    if targets.kind == "multilabel":
        return outputs
    home, classes = backend_of(X), targets.classes
    assert classes is not None
    if classes.dtype.kind not in "biuf":
        return classes[home.to_host(outputs)]
    with home.device_context():
        return home.xp.take(home.asarray(classes), outputs, axis=0)


def predict_proba(where: str, model: Model, X: Any, *, known_finite: bool = False) -> Array:
    """Predict probabilities (n_samples, n_classes); raise ValueError for a regression."""
    return _of_classes(where, model, X, model.targets.probabilities, known_finite)


def predict_log_proba(where: str, model: Model, X: Any, *, known_finite: bool = False) -> Array:
    """Predict log-probabilities (n_samples, n_classes), from the logits; raise ValueError for a regression."""
    return _of_classes(where, model, X, model.targets.log_probabilities, known_finite)


def score(where: str, model: Model, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return the accuracy, of whole rows if y has two axes, or R² for a regression; see `data.metrics`."""
    plain = model.targets._replace(smoothing=0.0, weights=None)
    X = _table(where, model, X)
    n, backend, dtype = X.shape[0], model.backend, model.dtype
    y, _ = plain.encode(where, y, n, dtype)
    y = read_targets(where, backend, dtype, y, plain)
    weight = None if sample_weight is None else tables.sample_weights(where, sample_weight, n)
    if weight is not None:
        weight = tables.weights_to_device(where, weight, backend, dtype)
    z = _logits(where, model, X, linear)
    with backend.device_context():
        return plain.score(backend, z, y, model.objective.loss, weight)


def _of_classes(where: str, model: Model, X: Any, function: Callable[..., Array], known_finite: bool) -> Array:
    """Return function(xp, z_L, loss) for the rows of X; raise ValueError for a regression."""
    if model.targets.kind == "numbers":
        raise ValueError(f"{where}: a regression has no probabilities; call predict")
    loss, X = model.objective.loss, _table(where, model, X)
    return _outputs(where, model, X, lambda xp, z: function(xp, z, loss), known_finite=known_finite)


def _table(where: str, model: Model, X: Any) -> Any:
    return tables.feature_table(where, X, model.n_features, model.feature_names)


def _outputs(
    where: str, model: Model, X: Any, function: Callable[[Namespace, Array], Array], *, known_finite: bool
) -> Array:
    """Return function(xp, z_L) for the rows of X, in the library and on the device of X."""
    outputs = _logits(where, model, X, function, known_finite)
    return transfer(outputs, model.backend, backend_of(X))


def _logits(
    where: str, model: Model, X: Array, function: Callable[[Namespace, Array], Array], known_finite: bool = False
) -> Array:
    """Return function(xp, z_L) for the rows of X, as an array of the network's backend."""
    objective, backend, theta = model.objective, model.backend, model.theta
    n, layers, buffers, chunks = X.shape[0], model.layers(), None, []
    rows = min(n, max(LEAST_ROWS, backend.prediction_chunk // (2 * sum(objective.layout.sizes))))
    with backend.device_context():
        for start in range(0, n, rows):
            part = X[start : start + rows] if is_sparse(X) else X[start : min(start + rows, n), ...]
            x = read_rows(where, backend, model.dtype, part, model.inputs, known_finite, start)
            if n > rows and (buffers is None or x.shape[0] != rows):  # at the first chunk, and at a short last one
                buffers = objective.forward_buffers(theta, x.shape[0])
            z = forward(backend, layers, objective.activations, x, buffers=buffers).z[-1]
            outputs = function(backend.xp, z)
            chunks.append(backend.copy(outputs) if buffers else outputs)  # outputs may be a view of a buffer
        return backend.xp.concat(chunks) if len(chunks) > 1 else chunks[0]
