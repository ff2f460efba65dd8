"""scikit-learn's estimators: its contract to the last digit, on any array library, with more to choose from.

With scikit-learn's parameters, the same `random_state` and float64 on NumPy they start from the same weights, draw the
same random numbers in the same order and go the same way as scikit-learn's own. Beyond those they have the parameters
of `MLP`, where each is explained. What differs stands in docs/scikit-learn.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

from xbackprop.arrays.backend import Array, Backend, is_host_array
from xbackprop.arrays.discovery import on_host
from xbackprop.estimators.base import (
    ClassifierMixin,
    Perceptron,
    _check_partial_fit_first_call,
    available_if,
    check_is_fitted,
    step_by_step,
)
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss


class MLPClassifier(ClassifierMixin, Perceptron):
    """A classifier with the parameters, the attributes and the results of `sklearn.neural_network.MLPClassifier`.

    Two classes share one logistic output, more have a softmax, labels in columns (n_samples, n_labels) one logistic
    output each.

    Parameters
    ----------
    hidden_layer_sizes … max_fun : scikit-learn's. `activation`, `solver` and `learning_rate` take what `MLP` takes.
    loss : "log_loss", that of the classes; "cross_entropy", with two outputs for two classes; or an `xbackprop.Loss`.
    class_weight, label_smoothing, l1_ratio, weight_decay, dropout, clip_norm, checkpoint_activations, rho, step_epochs,
    step_factor, warmup, checkpoint, checkpoint_epochs, checkpoint_minutes, resume, backend, device, threads,
    dtype : as in `MLP`.
    scoring : of early stopping: None for accuracy, "loss", or any scorer of scikit-learn, by name or as a function.
    init : "sklearn", U(±√(6/(n_in + n_out))) for weights and biases; or as in `MLP`.

    Attributes
    ----------
    scikit-learn's; `network_`, the `MLP` inside; `validation_loss_curve_`.

    Raises
    ------
    ValueError : for parameters and data that make no sense, and for weights that are no longer finite.
    """

    _task = "classification"

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Callable[[float, int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Loss = "log_loss",
        class_weight: str | Mapping | None = None,
        label_smoothing: float = 0.0,
        scoring: str | Callable | None = None,
        init: str = "sklearn",
        l1_ratio: float = 0.0,
        weight_decay: float | str = "auto",
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        checkpoint_activations: int | str | None = None,
        rho: float = 0.9,
        step_epochs: int = 10,
        step_factor: float = 0.1,
        warmup: float = 0.0,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = None,
        resume: bool = False,
        backend: str | Backend | None = None,
        device: Any = None,
        threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    @available_if(step_by_step)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, on from where the network is.

        classes : all the labels there will be; needed in the first call, but for labels in columns.
        """
        if on_host(y).ndim != 2 or classes is not None:
            _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n_samples, n_classes), in the library and on the device of X."""
        X = self._table(X, "predict_proba")
        return self.network_._predict_proba(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Their logarithms, finite where a probability is too small for a number."""
        X = self._table(X, "predict_log_proba")
        return self.network_._predict_log_proba(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; of whole rows for labels in columns."""
        if is_host_array(X):
            return super().score(X, y, sample_weight)
        check_is_fitted(self)
        return self.network_.score(X, y, sample_weight)

    def _publish(self) -> None:
        super()._publish()
        self.classes_ = self.network_.classes_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
