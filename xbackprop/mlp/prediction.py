"""Compute predictions in the library and on the device of X, for a bounded number of rows at a time.

Every function takes `where`, the user's call, for errors; the networks whose outputs are averaged, often a single one;
and `known_finite`, see `read_samples`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xbackprop.arrays.backend import Array, Namespace
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.data import tables
from xbackprop.data.dataset import read_rows, read_targets, weigh_targets
from xbackprop.data.on_disk import comes_in_rows
from xbackprop.data.targets import Targets
from xbackprop.mlp.many import ensemble
from xbackprop.mlp.model import Model, rows_at_a_time
from xbackprop.nn.backprop import Cache, forward
from xbackprop.nn.losses import Loss


def predict(
    where: str, models: Sequence[Model], X: Any, *, return_std: bool = False, known_finite: bool = False
) -> Any:
    """Predict the label with the largest probability, 0 or 1 for each label, or the regression's output.

    return_std : for a regression, whether to return the standard deviation over the networks too.
    """
    model = models[0]
    targets, X = model.targets, _table(where, model, X)
    if targets.kind == "numbers":
        return _values(where, models, X, return_std, known_finite)
    if return_std:
        raise ValueError(f"{where}: return_std is for a regression; of a classification there is disagreement")
    outputs = _transferred(model, _decided(where, models, X, known_finite), X)
    if targets.kind == "multilabel":
        return outputs
    home, classes = backend_of(X), targets.classes
    assert classes is not None
    if classes.dtype.kind not in "biuf":
        return classes[home.to_host(outputs)]
    with home.device_context():
        return home.xp.take(home.asarray(classes), outputs, axis=0)


def predict_proba(where: str, models: Sequence[Model], X: Any, *, known_finite: bool = False) -> Array:
    """Predict probabilities (n_samples, n_classes); raise ValueError for a regression."""
    return _of_classes(where, models, X, Targets.probabilities, ensemble.mean, known_finite)


def predict_log_proba(where: str, models: Sequence[Model], X: Any, *, known_finite: bool = False) -> Array:
    """Predict log-probabilities (n_samples, n_classes), from the logits; raise ValueError for a regression."""
    return _of_classes(where, models, X, Targets.log_probabilities, ensemble.log_mean, known_finite)


def disagreement(where: str, models: Sequence[Model], X: Any, *, known_finite: bool = False) -> Array:
    """Return how far the networks' probabilities are from their mean (n_samples,): `ensemble.disagreement`."""
    both = models[0].targets.kind == "multilabel"  # a label and its opposite

    def probabilities(targets: Targets, xp: Namespace, z: Array, loss: Loss) -> Array:
        p = targets.probabilities(xp, z, loss)
        return xp.concat([p, 1.0 - p], axis=-1) if both else p

    return _of_classes(where, models, X, probabilities, ensemble.disagreement, known_finite)


def transform(where: str, model: Model, X: Any, layer: int) -> Array:
    """Return h_l (n_samples, n_l), the activations of hidden layer l, counted from 1, or from the last one, -1."""
    n_hidden = len(model.objective.hidden)
    if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= abs(layer) <= n_hidden:
        raise ValueError(f"{where}: layer must be 1 to {n_hidden}, or -1 to -{n_hidden} from the last, got {layer!r}")
    l, X = layer if layer > 0 else n_hidden + 1 + layer, _table(where, model, X)
    return _transferred(model, _forward(where, model, X, lambda _, cache: cache.h[l]), X)


def score(where: str, models: Sequence[Model], X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return the accuracy, of whole rows if y has two axes, or R² for a regression; see `data.metrics`."""
    model = models[0]
    plain = model.targets._replace(smoothing=0.0, weights=None)
    X = _table(where, model, X)
    n, backend, dtype = X.shape[0], model.backend, model.dtype
    y, own_weight = plain.encode(where, y, n, dtype)
    y = read_targets(where, backend, dtype, y, plain)
    weight = None if sample_weight is None else tables.sample_weights(where, sample_weight, n)
    if weight is not None:
        weight = tables.weights_to_device(where, weight, backend, dtype)
    y, weight = weigh_targets(backend, dtype, y, weight, own_weight)
    if plain.kind == "numbers":
        decided = _averaged(models, _each(where, models, X, _outputs_of), ensemble.mean)
    else:
        decided = _decided(where, models, X)
    with backend.device_context():
        return plain.score_decided(backend, decided, y, weight)


def _values(where: str, models: Sequence[Model], X: Any, return_std: bool, known_finite: bool) -> Any:
    """Return the values of a regression, and with `return_std` their standard deviation."""
    each = _each(where, models, X, _outputs_of, known_finite)
    home, targets = backend_of(X), models[0].targets
    results = []
    for function in (ensemble.mean, ensemble.deviation)[: 1 + return_std]:
        found = _transferred(models[0], _averaged(models, each, function), X)
        if targets.scaling is not None:
            with home.device_context():
                undo = targets.scaling.undo if function is ensemble.mean else targets.scaling.undo_deviation
                found = undo(home.xp, found, home)
        results.append(found[:, 0] if targets.vector else found)
    return tuple(results) if return_std else results[0]


def _decided(where: str, models: Sequence[Model], X: Any, known_finite: bool = False) -> Array:
    """Return the number of the class with the largest probability, or 0 or 1 for each label."""
    if len(models) == 1:
        (decided,) = _each(where, models, X, Targets.predict_from_logits, known_finite)
        return decided
    targets, xp = models[0].targets, models[0].backend.xp
    p = _averaged(models, _each(where, models, X, Targets.probabilities, known_finite), ensemble.mean)
    with models[0].backend.device_context():
        return xp.astype(p > 0.5, xp.int64) if targets.kind == "multilabel" else xp.argmax(p, axis=-1)


def _of_classes(
    where: str,
    models: Sequence[Model],
    X: Any,
    function: Callable[[Targets, Namespace, Array, Loss], Array],
    average: Callable[[Namespace, list[Array]], Array],
    known_finite: bool,
) -> Array:
    """Return the average of function(targets, xp, z_L, loss) for the rows of X; ValueError for a regression."""
    if models[0].targets.kind == "numbers":
        raise ValueError(f"{where}: a regression has no probabilities; call predict")
    X = _table(where, models[0], X)
    return _transferred(models[0], _averaged(models, _each(where, models, X, function, known_finite), average), X)


def _outputs_of(targets: Targets, xp: Namespace, z: Array, loss: Loss) -> Array:
    return loss.output(xp, z)


def _each(
    where: str,
    models: Sequence[Model],
    X: Any,
    function: Callable[[Targets, Namespace, Array, Loss], Array],
    known_finite: bool = False,
) -> list[Array]:
    """Return function(targets, xp, z_L, loss) of each network, as arrays of their backend."""

    def of(model: Model) -> Array:
        loss, targets = model.objective.loss, model.targets
        return _forward(where, model, X, lambda xp, cache: function(targets, xp, cache.z[-1], loss), known_finite)

    return [of(model) for model in models]


def _averaged(models: Sequence[Model], each: list[Array], average: Callable[[Namespace, list[Array]], Array]) -> Array:
    """Return the average of the outputs of some networks; of one network its outputs."""
    if len(each) == 1 and average in (ensemble.mean, ensemble.log_mean):
        return each[0]
    with models[0].backend.device_context():
        return average(models[0].backend.xp, each)


def _transferred(model: Model, outputs: Array, X: Any) -> Array:
    """Return outputs in the library and on the device of X."""
    return transfer(outputs, model.backend, backend_of(X))


def _table(where: str, model: Model, X: Any) -> Any:
    return tables.feature_table(where, X, model.n_features, model.feature_names)


def _forward(
    where: str, model: Model, X: Array, function: Callable[[Namespace, Cache], Array], known_finite: bool = False
) -> Array:
    """Return function(xp, cache) of the forward pass of the rows of X, as an array of the network's backend."""
    objective, backend, theta = model.objective, model.backend, model.theta
    n, layers, buffers, chunks = X.shape[0], model.layers(), None, []
    rows = min(n, rows_at_a_time(model))
    with backend.device_context():
        for start in range(0, n, rows):
            part = X[start : start + rows] if comes_in_rows(X) else X[start : min(start + rows, n), ...]
            x = read_rows(where, backend, model.dtype, part, model.inputs, known_finite, start)
            if n > rows and (buffers is None or x.shape[0] != rows):  # at the first chunk, and at a short last one
                buffers = objective.forward_buffers(theta, x.shape[0])
            outputs = function(backend.xp, forward(backend, layers, objective.activations, x, buffers=buffers))
            chunks.append(backend.copy(outputs) if buffers else outputs)  # outputs may be a view of a buffer
        return backend.xp.concat(chunks) if len(chunks) > 1 else chunks[0]
