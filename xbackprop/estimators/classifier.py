"""`MLPClassifier`: a classifier with scikit-learn's interface, on any array library, with more options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from xbackprop.arrays.backend import Array, Backend, is_host_array
from xbackprop.arrays.discovery import on_host
from xbackprop.distributed.communicator import Communicator
from xbackprop.estimators.base import BaseMLP, step_by_step
from xbackprop.mlp import prediction
from xbackprop.mlp.setting_table import parameters_in_words
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A classifier with the parameters, the attributes and the results of `sklearn.neural_network.MLPClassifier`.

    Two classes share one logistic output, more have a softmax, labels in columns (n_samples, n_labels) one logistic
    output each.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    network_ : the `MLP` inside, with gradients, Hessian-vector products, `gradient_check` and `complexity`.
    classes_ : the labels, sorted.
    coefs_, intercepts_ : the weights W_1, …, W_L (n_in, n_out) and biases b_1, …, b_L (n_out,): views, writing into
        which changes the network.
    loss_curve_, loss_, best_loss_ : the loss of each epoch, the last and the smallest; with `early_stopping` best_loss_
        is None.
    validation_scores_, validation_loss_curve_, best_validation_score_ : with `early_stopping`, score and loss of the
        held-out samples after each epoch, and the best score; else None.
    n_iter_, t_ : the epochs of the last call of `fit`, and the samples seen in training so far.
    networks_ : the networks of an ensemble, each an `MLP`; weights, curves and derivatives are theirs.
    n_layers_, n_outputs_, out_activation_ : the number of layers, the input counted; the width of the output, and the
        name of its function.
    n_features_in_, feature_names_in_ : the number of X's columns, and their names if X was a frame.

    Raises
    ------
    ValueError : for parameters and data that are not valid, and for weights that are no longer finite.
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
        shuffle: bool | str = True,
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
        scale_inputs: bool = False,
        init: str = "sklearn",
        l1_ratio: float = 0.0,
        weight_decay: float | str = "auto",
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        ema_decay: float | None = None,
        n_networks: int = 1,
        checkpoint_activations: int | str | None = None,
        rho: float = 0.9,
        step_epochs: int = 10,
        step_factor: float = 0.1,
        warmup: float = 0.0,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_minutes: float | None = None,
        checkpoint_required: bool = False,
        resume: bool = False,
        backend: str | Backend | None = None,
        device: Any = None,
        threads: int | None = None,
        communicator: str | Communicator | None = None,
        shard: bool = False,
        dtype: str | None = None,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    @available_if(step_by_step)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch from the present weights, or from new ones in the first call.

        classes : all the classes; needed in the first call, except for labels in columns.
        """
        if on_host(y).ndim != 2 or classes is not None:
            _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities (n_samples, n_classes), in the library and on the device of X."""
        return self._predicted(prediction.predict_proba, "predict_proba", X)

    def predict_log_proba(self, X: Any) -> Array:
        """Predict log-probabilities (n_samples, n_classes): finite also where a probability underflows to 0."""
        return self._predicted(prediction.predict_log_proba, "predict_log_proba", X)

    def disagreement(self, X: Any) -> Array:
        """Return how far the probabilities of an ensemble's networks are from their mean; see `MLP.disagreement`."""
        return self._predicted(prediction.disagreement, "disagreement", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, of whole rows for labels in columns."""
        if is_host_array(X):
            return super().score(X, y, sample_weight)
        return self._score_on_device(X, y, sample_weight)

    def _publish(self, network: Any, library: str) -> None:
        super()._publish(network, library)
        self.classes_ = network.classes_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


MLPClassifier.__doc__ = (MLPClassifier.__doc__ or "").replace(
    "{parameters}", parameters_in_words("MLPClassifier").replace("\n", "\n    ")
)
