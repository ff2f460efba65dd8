"""`MLPRegressor`: a regressor with scikit-learn's interface, on any array library, with more options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from sklearn.base import RegressorMixin

from xbackprop.arrays.backend import Backend, is_host_array
from xbackprop.distributed.communicator import Communicator
from xbackprop.estimators.base import BaseMLP
from xbackprop.estimators.fitted import gaps_of
from xbackprop.mlp import prediction
from xbackprop.mlp.setting_table import parameters_in_words
from xbackprop.nn.activations import Activation
from xbackprop.nn.losses import Loss


class MLPRegressor(RegressorMixin, BaseMLP):
    """A regressor with the parameters, the attributes and the results of `sklearn.neural_network.MLPRegressor`.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    network_ : the `MLP` inside, with gradients, Hessian-vector products, `gradient_check` and `complexity`.
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

    _task = "regression"

    def __init__(
        self,
        loss: str | Loss = "squared_error",
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
        quantile: float | Sequence[float] = 0.5,
        scoring: str | Callable | None = None,
        scale_inputs: bool = False,
        scale_target: bool = False,
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

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict numbers for the rows of X, in the library and on the device of X.

        return_std : whether to return the standard deviation over the networks of an ensemble as a second array.
        """
        return self._predicted(prediction.predict, "predict", X, return_std=return_std)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R² of the predictions; for several targets or quantiles the mean of their R²."""
        if is_host_array(X) and gaps_of(y) is None and isinstance(self.quantile, int | float):
            return super().score(X, y, sample_weight)
        return self._score_on_device(X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


MLPRegressor.__doc__ = (MLPRegressor.__doc__ or "").replace(
    "{parameters}", parameters_in_words("MLPRegressor").replace("\n", "\n    ")
)
