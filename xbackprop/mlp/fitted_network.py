"""The methods and attributes of `MLP` that need its weights: predictions, and all that training has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.mlp import prediction
from xbackprop.mlp.derivative_methods import Derivatives
from xbackprop.mlp.exports import Exports
from xbackprop.mlp.model import Model, fitted, tensors_of, with_weights


class FittedNetwork(Derivatives, Exports):
    """A network with weights, or an ensemble of networks: then `_model` is None."""

    _model: Model | None
    _networks: tuple[Self, ...] = ()

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the label with the largest probability, 0 or 1 for each label, or the regression's output.

        Of several networks the probabilities, or the values, are averaged. With `return_std` a regression returns the
        standard deviation over the networks as a second array.

        The result, of shape (n_samples,), or (n_samples, n_outputs) where y had two axes, is in the library and on the
        device of X; labels that are text come as a NumPy array.
        """
        return prediction.predict("MLP.predict", self.models_("MLP.predict"), X, return_std=return_std)

    def predict_stream(self, chunks: Callable[[], Iterable[Any]]) -> Iterator[Any]:
        """Yield what `predict` gives for each chunk of a table that comes in chunks.

        chunks : a function that returns an iterable of X, or, as for `fit_stream`, of (X, y, …), of which X is used.
        """
        for chunk in chunks():
            yield self.predict(chunk[0] if isinstance(chunk, tuple) else chunk)

    def disagreement(self, X: Any) -> Array:
        """Return 1/M Σ_m KL(p_m ‖ p̄) (n_samples,) of the M networks of a classification, in nats, p̄ their mean.

        It is 0 where the networks give the same probabilities, as one network does, and at most log M
        (Lakshminarayanan, Pritzel and Blundell, 2017).
        """
        return prediction.disagreement("MLP.disagreement", self.models_("MLP.disagreement"), X)

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities (n_samples, n_classes); with labels in columns, the probability of each label."""
        return prediction.predict_proba("MLP.predict_proba", self.models_("MLP.predict_proba"), X)

    def predict_log_proba(self, X: Any) -> Array:
        """Predict log-probabilities, from the logits: they stay finite also where a probability underflows to 0."""
        return prediction.predict_log_proba("MLP.predict_log_proba", self.models_("MLP.predict_log_proba"), X)

    def transform(self, X: Any, layer: int = -1) -> Array:
        """Return h_l (n_samples, n_l), the activations of hidden layer l: what a network has learned of X.

        layer : from 1, the first hidden layer, or from -1, the last one, down.
        """
        return prediction.transform("MLP.transform", self._fitted("MLP.transform"), X, layer)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, of whole rows if y has two axes, or R² for a regression."""
        return prediction.score("MLP.score", self.models_("MLP.score"), X, y, sample_weight)

    @property
    def coefs_(self) -> list[Array]:
        """W_1 … W_L: views of θ, writing into which changes the network; the list can be assigned, from any library."""
        model = self._fitted("MLP.coefs_")
        return tensors_of(model, model.theta)[0]

    @coefs_.setter
    def coefs_(self, arrays: Sequence[Array]) -> None:
        self._model = with_weights("MLP.coefs_", self._fitted("MLP.coefs_"), arrays, self.intercepts_)

    @property
    def intercepts_(self) -> list[Array]:
        """b_1 … b_L: views of θ; the list can be assigned, as `coefs_` can."""
        model = self._fitted("MLP.intercepts_")
        return tensors_of(model, model.theta)[1]

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[Array]) -> None:
        self._model = with_weights("MLP.intercepts_", self._fitted("MLP.intercepts_"), self.coefs_, arrays)

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted; a regression raises AttributeError."""
        classes = self.models_("MLP.classes_")[0].targets.classes
        if classes is None:
            raise AttributeError("MLP.classes_: a regression has no classes")
        return classes

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch, penalty included, as a list of the caller's own."""
        return self._fitted("MLP.loss_curve_").progress.loss_curve.tolist()

    @property
    def n_features_in_(self) -> int:
        """The number of columns of X."""
        return self.models_("MLP.n_features_in_")[0].n_features

    @property
    def n_outputs_(self) -> int:
        """The width of the output layer."""
        return self.models_("MLP.n_outputs_")[0].objective.layout.sizes[-1]

    @property
    def feature_names_in_(self) -> list[str] | None:
        """The names of X's columns, or None; the list can be assigned."""
        return self.models_("MLP.feature_names_in_")[0].feature_names

    @feature_names_in_.setter
    def feature_names_in_(self, names: list[str] | None) -> None:
        for net in self.networks_:
            net._model = net._fitted("MLP.feature_names_in_")._replace(feature_names=names)

    @property
    def networks_(self) -> list[Self]:
        """The networks of an ensemble, each an `MLP`; of a single network, the network itself."""
        self.models_("MLP.networks_")
        return list(self._networks) or [self]

    def _repr_html_(self) -> str | None:
        """Return a drawing of the layers, for notebooks; without weights there is none."""
        from xbackprop.display.network import network_html

        if self._model is None and not self._networks:
            return None
        models = self.models_("MLP._repr_html_")
        objective, progress = models[0].objective, models[0].progress
        facts = [
            ("parameters", f"{objective.layout.n_parameters:,}"),
            ("loss", objective.loss.name),
            ("trained", f"{progress.epoch} epochs on {models[0].backend.name}, {models[0].dtype}"),
        ]
        if progress.loss_curve:
            facts.append(("loss of the last epoch", f"{progress.loss_curve[-1]:.4g}"))
        if len(models) > 1:
            facts.append(("networks", str(len(models))))
        names = ["X", *(f.name for f in objective.hidden), objective.loss.output.__name__]
        return network_html(objective.layout.sizes, names, facts)

    def models_(self, where: str) -> list[Model]:
        """Return the networks as `Model`s; raise NotFittedError, which names the call `where`, if there is none yet."""
        return [net._fitted(where) for net in self._networks or (self,)]

    @property
    def model_(self) -> Model:
        """The network as a `Model`, for the functions of `xbackprop.mlp`; NotFittedError if it has no weights yet."""
        return self._fitted("MLP.model_")

    def _fitted(self, where: str) -> Model:
        if self._networks:
            raise AttributeError(
                f"{where}: this is an ensemble; each of its {len(self._networks)} networks_ has its own"
            )
        return fitted(where, self._model)
