"""`BaseMLP`: the parts of an estimator that scikit-learn requires beyond an `MLP`: validation, tags, attributes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xbackprop.arrays.backend import Array, is_host_array, is_sparse
from xbackprop.arrays.discovery import library_of, on_host
from xbackprop.data import tables
from xbackprop.data.dataset import Data, pick
from xbackprop.mlp import model_file, prediction
from xbackprop.mlp.early_stopping import Score, Split
from xbackprop.mlp.fitting import FitResult, Fitting, fit
from xbackprop.mlp.mlp import DEFAULTS, MLP, hold
from xbackprop.mlp.model import Model
from xbackprop.mlp.settings import Settings, read_settings
from xbackprop.training.loop import Epoch
from xbackprop.training.plan import Progress

_OUTPUTS = {"softmax": "softmax", "logistic": "logistic", "linear": "identity", "exponential": "exp"}
#: scikit-learn's schedules, which it applies to sgd alone.
_OF_SGD = ("invscaling", "adaptive")


_MISSING = object()


def _twin(estimator: Any) -> Any:
    """Return an object with the same attributes; `copy.copy` would ask a subclass's `__getstate__` for them."""
    twin = object.__new__(type(estimator))
    vars(twin).update(vars(estimator))
    return twin


def step_by_step(estimator: Any) -> bool:
    """Return True if the solver of the estimator has `partial_fit`; raise AttributeError otherwise."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


def _one_axis(y: Any, stacklevel: int) -> Any:
    """Return y without its second axis if that has a single column, and warn, as scikit-learn does."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples, ), for example using ravel().",
        DataConversionWarning,
        stacklevel=stacklevel,
    )
    return y[:, 0]


def _print_epoch(epoch: Epoch) -> None:
    print(f"Iteration {epoch.number}, loss = {epoch.loss:.8f}")
    if epoch.score is not None:
        print(f"Validation score: {epoch.score:f}")


def _has_settled_on_numbers(model: Model) -> bool:
    """Return whether the weights that training keeps are finite, and the loss or the score that they were kept for."""
    progress, xp = model.progress, model.backend.xp
    kept = [progress.best_score] if progress.best_theta is not None else progress.loss_curve[-1:]
    return bool(np.all(np.isfinite(kept))) and bool(xp.all(xp.isfinite(model.theta)))


class BaseMLP(BaseEstimator):
    """The base class of the classifier and the regressor."""

    _task: str
    _convergence_warning = ConvergenceWarning
    network_: MLP

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, callback: Callable[[Epoch], None] | None = None
    ) -> Self:
        """Train from new starting weights, or with `warm_start` from the present ones.

        If anything raises, also the callback or the scorer, the estimator is as it was before the call; but for weights
        that are no longer finite, which are kept with the ValueError that reports them, as in scikit-learn.

        Parameters
        ----------
        X : (n_samples, n_features): an array of any library, a frame, a sparse matrix.
        y : labels (n_samples,), or 0 and 1 (n_samples, n_labels); or numbers (n_samples,) or (n_samples, n_outputs).
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `xbackprop.training.Epoch` after each epoch.
        """
        result = self._train("fit", X, y, sample_weight, self._start(), callback=callback)
        if result.stop_reason == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if result.stop_reason == "max_iter":
            who = f"lbfgs failed to converge: {result.message}" if self.solver == "lbfgs" else "Stochastic Optimizer"
            warnings.warn(
                f"{who}: Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @available_if(step_by_step)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch from the present weights, or from new ones in the first call."""
        return self._partial_fit(X, y, sample_weight)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        start = None
        if hasattr(self, "network_"):  # scikit-learn's random numbers start anew with every call
            model, rng = self.network_.model_, check_random_state(self.random_state)
            start = model._replace(progress=replace(model.progress, rng=rng, row_order=None))
        result = self._train("partial_fit", X, y, sample_weight, start, stacklevel=5, classes=classes, epochs=1)
        if result.stop_reason == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=3)
        return self

    def predict(self, X: Any) -> Array:
        """Predict labels, or numbers, for the rows of X, in the library and on the device of X."""
        return self._predicted(prediction.predict, "predict", X)

    def _score_on_device(self, X: Any, y: Any, sample_weight: Any) -> float:
        """Return the score for an X that is not on the host, computed where it is."""
        check_is_fitted(self)
        return self.network_.score(X, _one_axis(y, 4) if hasattr(y, "ndim") else y, sample_weight)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file, as `MLP.save` does: no pickle, readable by every backend, and by `MLP.load` too."""
        check_is_fitted(self)
        model, given = self.network_.model_, self.get_params(deep=False)
        if isinstance(self.scoring, str):
            model = model._replace(settings={**model.settings, "scoring": self.scoring})
        model_file.save(f"{type(self).__name__}.save", path, model, given)

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Self:
        """Read an estimator from a file that `save` wrote; the options are those of `MLP.load`."""
        network = MLP.load(path, **options)
        settings = {**vars(network), "scoring": network.model_.settings["scoring"]}  # the name of a scorer
        if settings["task"] != cls._task:
            raise ValueError(f"{cls.__name__}.load: {path} has a {settings['task']}")
        estimator = cls(**{name: settings[name] for name in cls().get_params()})
        if network.feature_names_in_ is not None:
            estimator.feature_names_in_ = np.array(network.feature_names_in_, dtype=object)
        estimator._publish(network, network.model_.backend.library)
        return estimator

    def _train(self, method: str, *samples: Any, stacklevel: int = 4, **options: Any) -> FitResult:
        """Train, and raise an error if the weights have not settled on numbers."""
        call = self._call(method, *samples, stacklevel=stacklevel + 1, **options)
        result = fit(*call.arguments, **call.options)
        if call.finish(result) == "diverged":
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed, or learning_rate_init be smaller."
            )
        return result

    def _fitting(self, X: Any, y: Any, sample_weight: Any, callback: Callable[[Epoch], None] | None) -> Fitting:
        """Return a call of `fit` in its parts."""
        return self._call("fit", X, y, sample_weight, self._start(), stacklevel=4, callback=callback)

    def _settings(self, where: str) -> Settings:
        """Check the parameters, and return them as settings of `MLP`."""
        return read_settings(where, self._network_settings())

    def _progress(self) -> Progress:
        """Return the state of training."""
        return self.network_.model_.progress

    def _start(self) -> Model | None:
        """Return the network to train further, or None to begin with a new one."""
        return self.network_.model_ if self.warm_start and hasattr(self, "network_") else None

    def _call(
        self,
        method: str,
        X: Any,
        y: Any,
        sample_weight: Any,
        start: Model | None,
        *,
        stacklevel: int,
        classes: Any = None,
        epochs: int | None = None,
        callback: Callable[[Epoch], None] | None = None,
    ) -> Fitting:
        """Return a call of `mlp.fitting.fit` in its parts.

        A copy of the estimator is trained, whose attributes are taken over at the end, so that an error changes
        nothing.
        """
        name, before, done = type(self).__name__, dict(vars(self)), _twin(self)
        X, y, sample_weight = done._validated(X, y, sample_weight, reset=start is None, stacklevel=stacklevel)
        if start is not None and epochs is None and self._task == "classification":
            self._check_same_classes(y)
        given = self._network_settings()
        settings = read_settings(name, given)
        if isinstance(self.batch_size, int) and self.batch_size > X.shape[0]:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=stacklevel - 1,
            )
        stopping = self.early_stopping and epochs is None
        options = {
            "classes": classes, "epochs": epochs, "infinite_loss": True,
            "split": self._split(X, y) if stopping else None,
            "score": done._score(given, X, y) if stopping else None,
            "callback": _print_epoch if callback is None and self.verbose else callback,
            "known_finite": is_host_array(X) and not get_config()["assume_finite"],
        }  # fmt: skip

        def finish(result: FitResult) -> str:
            model = result.model
            if hasattr(done, "feature_names_in_"):  # the network was given an array
                model = model._replace(feature_names=[str(name) for name in done.feature_names_in_])
            done._publish(hold(given, model, result.n_iter), library_of(X))
            self._take_over(before, vars(done))
            return result.stop_reason if _has_settled_on_numbers(model) else "diverged"

        return Fitting((f"{name}.{method}", settings, start, X, y, sample_weight), options, finish)

    def _take_over(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Change the attributes that training has changed, and no others: a callback may have set some meanwhile."""
        for name in before.keys() - after.keys():
            self.__dict__.pop(name, None)
        self.__dict__.update({name: value for name, value in after.items() if value is not before.get(name, _MISSING)})

    def _network_settings(self) -> dict[str, Any]:
        """Return the parameters of the estimator as settings of `MLP`."""
        sgd = self.solver == "sgd"
        learning_rate = "constant" if self.learning_rate in _OF_SGD and not sgd else self.learning_rate
        own = {"task": self._task, "learning_rate": learning_rate, "scoring": None}
        if self.scoring == "loss":
            own["scoring"] = "loss"
        elif isinstance(self.scoring, str):
            get_scorer(self.scoring)  # an unknown name is reported here
        if self.random_state is None:
            own["random_state"] = check_random_state(None)  # the global one, which np.random.seed sets
        return {**DEFAULTS, **self.get_params(deep=False), **own}

    def _publish(self, network: MLP, library: str) -> None:
        """Set `network_` and the attributes that scikit-learn's estimators have."""
        self.network_, self._library = network, library
        model = network.model_
        progress = model.progress
        self.n_features_in_ = network.n_features_in_
        self.n_outputs_, self.n_iter_ = network.n_outputs_, network.n_iter_
        self.n_layers_, self.t_ = len(network.coefs_) + 1, progress.samples
        self.out_activation_ = _OUTPUTS.get(model.objective.loss.output.__name__, "custom")
        self.loss_ = progress.loss_curve[-1] if progress.loss_curve else np.inf
        stopping = self.early_stopping and self.solver != "lbfgs"
        self.best_loss_ = None if stopping else progress.plateau.best
        self.validation_scores_ = progress.validation_scores.tolist() if stopping else None
        self.validation_loss_curve_ = progress.validation_losses.tolist() if stopping else None
        self.best_validation_score_ = progress.best_score if stopping else None

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch, as a list of the caller's own."""
        return self.network_.loss_curve_

    @property
    def coefs_(self) -> list[Array]:
        """W_1 … W_L (n_in, n_out): views, writing into which changes the network."""
        return self.network_.coefs_

    @coefs_.setter
    def coefs_(self, arrays: list[Array]) -> None:
        self.network_.coefs_ = arrays

    @property
    def intercepts_(self) -> list[Array]:
        """b_1 … b_L (n_out,): views, writing into which changes the network."""
        return self.network_.intercepts_

    @intercepts_.setter
    def intercepts_(self, arrays: list[Array]) -> None:
        self.network_.intercepts_ = arrays

    def _predicted(self, function: Callable[..., Array], method: str, X: Any) -> Array:
        """Call a function of `mlp.prediction` for the rows of X, checked as scikit-learn checks them."""
        name = type(self).__name__
        check_is_fitted(self)
        if get_config()["array_api_dispatch"] and library_of(X) != self._library:
            raise ValueError(
                f"Inputs passed to {name}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): {self._library}, got {library_of(X)}"
            )
        host = is_host_array(X)
        if host and not self._is_plain(X):
            X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        return function(name, self.network_.model_, X, known_finite=host)

    def _is_plain(self, X: Any) -> bool:
        """Return whether X is such an array that scikit-learn's checks would return it as it is."""
        usual = type(X) is np.ndarray and X.dtype in (np.float64, np.float32) and X.ndim == 2 and len(X) > 0
        if not usual or X.shape[1] != self.n_features_in_ or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(X.sum()))

    def _validated(self, X: Any, y: Any, sample_weight: Any, reset: bool, stacklevel: int) -> tuple[Any, Any, Any]:
        """Check X, y and weights: on the host by scikit-learn's functions, on a device by xbackprop's; return them."""
        if is_host_array(X):
            X, y = validate_data(
                self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32),
                y_numeric=self._task == "regression", reset=reset,
            )  # fmt: skip
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        else:
            X = tables.feature_table(type(self).__name__, X, None if reset else self.n_features_in_)
            y = np.asarray(y) if is_host_array(y) else y
            if reset:
                self.__dict__.pop("feature_names_in_", None)
        y = _one_axis(y.toarray() if is_sparse(y) else y, stacklevel + 1)
        if self._task == "classification":
            check_classification_targets(on_host(y))
        return X, y, sample_weight

    def _split(self, X: Any, y: Any) -> Split:
        """Return a function that splits the row numbers as scikit-learn does, stratified if there are two classes."""

        def split(rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
            labels = on_host(y)
            two_classes = self._task == "classification" and labels.ndim == 1 and len(np.unique(labels)) == 2
            stratify = (labels == np.unique(labels)[1])[:, None] if two_classes else None  # as scikit-learn has them
            rows = np.arange(X.shape[0])
            kept, held_out = train_test_split(
                rows, random_state=rng, test_size=self.validation_fraction, stratify=stratify
            )
            if len(held_out) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            return kept, held_out

        return split

    def _check_same_classes(self, y: Any) -> None:
        """Raise ValueError if y has other classes than the network, which `warm_start` cannot train further."""
        labels = on_host(y)
        classes = np.unique(labels) if labels.ndim == 1 else np.arange(labels.shape[1])
        if set(classes.tolist()) != set(self.network_.classes_.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.network_.classes_}, `y` has {classes}"
            )

    def _score(self, given: dict[str, Any], X: Any, y: Any) -> Score | None:
        """Return a function that scores the held-out rows by the scorer of `scoring`; None for the network's own score.

        given : the settings of the network. The scorer is given a copy of the estimator.
        """
        if self.scoring is None or self.scoring == "loss":
            return None
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring

        def score(rows: np.ndarray) -> Callable[[Model, Data], float]:
            X_held_out, y_held_out = pick(X, rows), pick(y, rows)

            def score_of(model: Model, held_out: Data) -> float:
                shown = _twin(self)
                shown._publish(hold(given, model), library_of(X))
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "X does not have valid feature names")  # X has none
                    return scorer(shown, X_held_out, y_held_out)

            return score_of

        return score

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags
