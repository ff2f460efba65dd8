"""What a network with weights says of new rows: the methods that `MLP` has of this kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xbackprop.arrays.backend import Array, Namespace, dtype_name, is_sparse
from xbackprop.arrays.discovery import backend_of, transfer
from xbackprop.data import tables
from xbackprop.data.batches import dense
from xbackprop.mlp.model import Holder
from xbackprop.nn.backprop import forward
from xbackprop.nn.losses import linear

LEAST_ROWS = 256  # of a chunk: matrix products of fewer are slow


class Prediction(Holder):
    """Predictions, in the library and on the device of X, a bounded number of rows at a time."""

    def predict(self, X: Any) -> Array:
        """The label with the largest probability, 0 or 1 for each label, or the regression's output.

        Shape (n_samples,); (n_samples, n_outputs) where y had two axes. Text labels come as a NumPy array.
        """
        return self._predict(self._table("MLP.predict", X))

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n_samples, n_classes); with labels in columns, that of each."""
        self._classifier("MLP.predict_proba")
        return self._predict_proba(self._table("MLP.predict_proba", X))

    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms, which stay finite where a probability is too small for a number."""
        self._classifier("MLP.predict_log_proba")
        return self._predict_log_proba(self._table("MLP.predict_log_proba", X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy, of whole rows where y has two axes; or for a regression R²: see `xbackprop.metrics`."""
        model = self._fitted("MLP.score")
        plain = model.targets._replace(smoothing=0.0, weights=None)
        X = self._table("MLP.score", X)
        n, backend, dtype = X.shape[0], model.objective.backend, dtype_name(model.theta)
        y, _ = plain.encode("MLP.score", y, n, dtype)
        weight = None if sample_weight is None else tables.sample_weights("MLP.score", sample_weight, n)
        z = self._logits(X)
        with backend.device_context():
            y, weight = (None if a is None else transfer(a, backend_of(a), backend, dtype) for a in (y, weight))
            return float(backend.to_host(plain.score(backend.xp, z, y, model.objective.loss, weight)))

    def _classifier(self, where: str) -> None:
        if self._fitted(where).targets.kind == "numbers":
            raise ValueError(f"{where}: a regression has no probabilities; call predict")

    def _table(self, where: str, X: Any) -> Any:
        """X, checked, in its own library."""
        self._fitted(where)
        return tables.feature_table(where, X, self.n_features_in_, self.feature_names_in_)

    # The same for a checked X.

    def _predict(self, X: Any) -> Array:
        targets, loss = self._fitted("MLP.predict").targets, self._fitted("MLP.predict").objective.loss
        decided = self._outputs(X, lambda xp, z: targets.predict_from_logits(xp, z, loss))
        if targets.kind == "numbers":
            return decided[:, 0] if targets.vector else decided
        if targets.kind == "multilabel":
            return decided
        home, classes = backend_of(X), targets.classes
        assert classes is not None
        if classes.dtype.kind not in "biuf":
            return classes[home.to_host(decided)]
        with home.device_context():
            return home.xp.take(home.asarray(classes), decided, axis=0)

    def _predict_proba(self, X: Any) -> Array:
        targets, loss = self._fitted("MLP.predict").targets, self._fitted("MLP.predict").objective.loss
        return self._outputs(X, lambda xp, z: targets.probabilities(xp, z, loss))

    def _predict_log_proba(self, X: Any) -> Array:
        targets, loss = self._fitted("MLP.predict").targets, self._fitted("MLP.predict").objective.loss
        return self._outputs(X, lambda xp, z: targets.log_probabilities(xp, z, loss))

    def _outputs(self, X: Any, function: Callable[[Namespace, Array], Array]) -> Array:
        """function(z_L) for the rows of X, where X lives."""
        return transfer(self._logits(X, function), self._fitted("MLP.predict").objective.backend, backend_of(X))

    def _logits(self, X: Array, function: Callable[[Namespace, Array], Array] = linear) -> Array:
        """z_L, or a function of it, for the rows of a checked X, on the network's backend."""
        model = self._fitted("MLP.predict")
        objective, backend, theta = model.objective, model.objective.backend, model.theta
        home, dtype, n = backend_of(X), dtype_name(theta), X.shape[0]
        rows = min(n, max(LEAST_ROWS, backend.prediction_chunk // (2 * sum(objective.layout.sizes))))
        layers, lent, chunks = model.layers(), None, []
        with backend.device_context():
            for start in range(0, n, rows):
                part = X[start : min(start + rows, n), ...] if not is_sparse(X) else X[start : start + rows]
                x = (
                    backend.asarray(dense(backend, part), dtype)
                    if is_sparse(X)
                    else transfer(part, home, backend, dtype)
                )
                if n > rows and (lent is None or x.shape[0] != rows):  # at the first chunk, and at a short last one
                    lent = objective.forward_buffers(theta, x.shape[0])
                z = forward(backend, layers, objective.activations, x, buffers=lent).z[-1]
                outputs = function(backend.xp, z)
                chunks.append(backend.copy(outputs) if lent else outputs)  # which may be a view of what is lent
            return backend.xp.concat(chunks) if len(chunks) > 1 else chunks[0]
