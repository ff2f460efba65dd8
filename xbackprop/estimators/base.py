"""`BaseMLP`: the parts of an estimator that scikit-learn requires beyond an `MLP`: validation, tags, attributes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xbackprop.arrays.backend import is_host_array, is_sparse
from xbackprop.arrays.discovery import library_of, on_host
from xbackprop.callbacks.protocol import Callback
from xbackprop.data import tables
from xbackprop.data.dataset import Data, pick
from xbackprop.data.on_disk import is_in_memory
from xbackprop.estimators.conversion import FromScikitLearn
from xbackprop.estimators.fitted import FittedEstimator, gaps_of, has_settled_on_numbers, one_axis, print_epoch
from xbackprop.estimators.their_callbacks import CallbackSupportMixin, TheirCallbacks, managed
from xbackprop.mlp import model_file
from xbackprop.mlp.early_stopping import Score, Split
from xbackprop.mlp.fitting import Fitting, fit
from xbackprop.mlp.many import ensemble
from xbackprop.mlp.many.fit_many import fit_ensemble
from xbackprop.mlp.many.tasks import Trainable
from xbackprop.mlp.mlp import DEFAULTS, MLP, hold, hold_ensemble
from xbackprop.mlp.model import Model
from xbackprop.mlp.run import FitResult
from xbackprop.mlp.settings import read_settings
from xbackprop.mlp.watching import watching
from xbackprop.training.loop import Epoch

_OUTPUTS = {
    "softmax": "softmax",
    "logistic": "logistic",
    "linear": "identity",
    "ascending": "identity",
    "exponential": "exp",
}
#: scikit-learn's schedules, which it applies to sgd alone.
_OF_SGD = ("invscaling", "adaptive")


_MISSING = object()


def _twin(estimator: Any) -> Any:
    """Return an object with the same attributes; `copy.copy` would ask a subclass's `__getstate__` for them."""
    twin = object.__new__(type(estimator))
    vars(twin).update(vars(estimator))
    return twin


def _published(estimator: Any, network: MLP, library: str) -> Any:
    """Return a twin of the estimator around a network."""
    twin = _twin(estimator)
    twin._publish(network, library)
    return twin


def step_by_step(estimator: Any) -> bool:
    """Return True if the solver of the estimator has `partial_fit`; raise AttributeError otherwise."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class BaseMLP(CallbackSupportMixin, FromScikitLearn, FittedEstimator):
    """The base class of the classifier and the regressor."""

    _task: str
    convergence_warning = ConvergenceWarning

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        callback: Callable[[Epoch], None] | None = None,
        callbacks: Sequence[Callback] = (),
        validation_data: tuple[Any, ...] | None = None,
    ) -> Self:
        """Train from new starting weights, or with `warm_start` from the present ones.

        If anything raises, also the callback or the scorer, the estimator is as it was before the call; but for weights
        that are no longer finite, which are kept with the ValueError that reports them, as in scikit-learn.

        Parameters
        ----------
        X : (n_samples, n_features): an array of any library, a frame, a sparse matrix.
        y : labels (n_samples,), or 0 and 1 (n_samples, n_labels); or numbers (n_samples,) or (n_samples, n_outputs).
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `xbackprop.callbacks.Epoch` after each epoch.
        callbacks : objects of `xbackprop.callbacks`, which watch, log and stop the training of a single network.
        validation_data : ``(X, y)`` or ``(X, y, sample_weight)``, on which early stopping scores the network, by its
            accuracy, R² or loss, in place of rows held out of X.
        """
        where = f"{type(self).__name__}.fit"
        if hasattr(self, "_skl_callbacks"):  # of `set_callbacks`
            theirs = TheirCallbacks(self, self._init_callback_context, (X, y, sample_weight))
            callbacks = [*callbacks, theirs]
        watch = watching(where, callbacks, validation_data)
        if self.n_networks > 1:
            fit_ensemble(where, self, (X, y, sample_weight), callback, watch)
            return self
        with managed(self):
            result = self._train("fit", X, y, sample_weight, self._start(), callback=callback, watch=watch)
        if result.stop_reason == "interrupted" and result.speaks:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if result.stop_reason == "max_iter" and result.speaks:
            who = f"lbfgs failed to converge: {result.message}" if self.solver == "lbfgs" else "Stochastic Optimizer"
            warnings.warn(
                f"{who}: Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def initialize(self, X: Any, y: Any) -> Self:
        """Take shapes and classes from the data and draw the weights that `fit` would start from, without training."""
        done = _twin(self)
        X, y, _ = done._validated(X, y, None, reset=True, stacklevel=3)
        network = MLP(**self._network_settings()).initialize(X, y)
        done._publish(network, library_of(X))
        self.__dict__.update(vars(done))
        return self

    @available_if(step_by_step)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch from the present weights, or from new ones in the first call."""
        return self._partial_fit(X, y, sample_weight)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.n_networks > 1:
            members = self._members(further=hasattr(self, "network_"))
            for member in members:
                member._partial_fit(X, y, sample_weight, classes)
            self._assemble(members)
            return self
        start = None
        if hasattr(self, "network_"):  # scikit-learn's random numbers start anew with every call
            model, rng = self.network_.model_, check_random_state(self.random_state)
            start = model._replace(progress=replace(model.progress, rng=rng, row_order=None))
        result = self._train("partial_fit", X, y, sample_weight, start, stacklevel=5, classes=classes, epochs=1)
        if result.stop_reason == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=3)
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write a safetensors file, as `MLP.save` does: no pickle, readable by every backend, and by `MLP.load` too."""
        check_is_fitted(self)
        where, models = f"{type(self).__name__}.save", self.network_.models_("save")
        if isinstance(self.scoring, str):
            models = [m._replace(settings={**m.settings, "scoring": self.scoring}) for m in models]
        model_file.save(where, path, models, self.get_params(deep=False))

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Self:
        """Read an estimator from a file that `save` wrote; the options are those of `MLP.load`."""
        network = MLP.load(path, **options)
        model = network.models_(f"{cls.__name__}.load")[0]
        settings = {**vars(network), "scoring": model.settings["scoring"]}  # the name of a scorer
        if settings["task"] != cls._task:
            raise ValueError(f"{cls.__name__}.load: {path} has a {settings['task']}")
        estimator = cls(**{name: settings[name] for name in cls().get_params()})
        if network.feature_names_in_ is not None:
            estimator.feature_names_in_ = np.array(network.feature_names_in_, dtype=object)
        estimator._publish(network, model.backend.library)
        return estimator

    def _train(self, method: str, *samples: Any, stacklevel: int = 4, **options: Any) -> FitResult:
        """Train, and raise an error if the weights have not settled on numbers."""
        watch = options.pop("watch", {})
        call = self._call(method, *samples, stacklevel=stacklevel + 1, **options)
        result = fit(*call.arguments, **{**call.options, **watch})
        if call.finish(result) == "diverged":
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed, or learning_rate_init be smaller."
            )
        return result

    def __trainable__(self, where: str) -> Trainable:
        """Return the estimator as `fit_many` sees it."""
        return Trainable(
            read_settings(where, self._network_settings()),
            start=self._start(),
            fitting=self._fitting,
            progress=lambda: self.network_.model_.progress,
            members=self._members,
            assemble=self._assemble,
        )

    def _fitting(self, X: Any, y: Any, sample_weight: Any, callback: Callable[[Epoch], None] | None) -> Fitting:
        """Return a call of `fit` in its parts."""
        return self._call("fit", X, y, sample_weight, self._start(), stacklevel=4, callback=callback)

    def _start(self) -> Model | None:
        """Return the network to train further, or None to begin with a new one."""
        return self.network_.model_ if self.warm_start and hasattr(self, "network_") else None

    def _members(self, further: bool | None = None) -> list[Self]:
        """Return the networks of an ensemble as estimators, new or to be trained further; [] for a single network."""
        if self.n_networks == 1:
            return []
        settings = ensemble.member_settings(self.get_params(deep=False), self.n_networks)
        members = [type(self)(**given) for given in settings]
        if (self.warm_start if further is None else further) and hasattr(self, "network_"):
            for member, network in zip(members, self.network_.networks_, strict=False):
                member._publish(network, self._library)
        return members

    def _assemble(self, members: Sequence[Self]) -> None:
        """Take over the networks of an ensemble."""
        networks = [member.network_ for member in members]
        if hasattr(members[0], "feature_names_in_"):
            self.__dict__["feature_names_in_"] = members[0].feature_names_in_
        self._publish(hold_ensemble(self._network_settings(), networks), members[0]._library)

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
            "callback": print_epoch if callback is None and self.verbose else callback,
            "known_finite": is_in_memory(X) and not get_config()["assume_finite"],
            "network": lambda model: _published(done, hold(given, model), library_of(X)),
        }  # fmt: skip

        def finish(result: FitResult) -> str:
            model = result.model
            if hasattr(done, "feature_names_in_"):  # the network was given an array
                model = model._replace(feature_names=[str(name) for name in done.feature_names_in_])
            done._publish(hold(given, model, result.n_iter, result.message), library_of(X))
            self._take_over(before, vars(done))
            return result.stop_reason if has_settled_on_numbers(model) else "diverged"

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
        models = network.models_("fit")
        model, progress = models[0], models[0].progress
        self.n_features_in_ = network.n_features_in_
        self.n_outputs_, self.n_iter_ = network.n_outputs_, network.n_iter_
        self.n_layers_, self.t_ = len(model.objective.layout.sizes), sum(m.progress.samples for m in models)
        self.out_activation_ = _OUTPUTS.get(model.objective.loss.output.__name__, "custom")
        if len(models) > 1:  # all else is of each network
            return
        self.loss_ = progress.loss_curve[-1] if progress.loss_curve else np.inf
        stopping = self.early_stopping and self.solver != "lbfgs"
        self.best_loss_ = None if stopping else progress.plateau.best
        self.validation_scores_ = progress.validation_scores.tolist() if stopping else None
        self.validation_loss_curve_ = progress.validation_losses.tolist() if stopping else None
        self.best_validation_score_ = progress.best_score if stopping else None

    def _validated(self, X: Any, y: Any, sample_weight: Any, reset: bool, stacklevel: int) -> tuple[Any, Any, Any]:
        """Check X, y and weights: on the host by scikit-learn's functions, on a device by xbackprop's; return them."""
        if is_in_memory(X):
            regression = self._task == "regression"
            gaps = gaps_of(y) if regression else None
            X, y = validate_data(
                self, X, y if gaps is None else np.where(gaps, 0.0, y), accept_sparse=["csr", "csc"],
                multi_output=True, dtype=(np.float64, np.float32), y_numeric=regression, reset=reset,
            )  # fmt: skip
            y = y if gaps is None else np.where(gaps, np.nan, y)
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        else:
            X = tables.feature_table(type(self).__name__, X, None if reset else self.n_features_in_)
            y = np.asarray(y) if is_host_array(y) else y
            if reset:
                self.__dict__.pop("feature_names_in_", None)
        y = one_axis(y.toarray() if is_sparse(y) else y, stacklevel + 1)
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
                shown = _published(self, hold(given, model), library_of(X))
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "X does not have valid feature names")  # X has none
                    return scorer(shown, X_held_out, y_held_out)

            return score_of

        return score

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags
