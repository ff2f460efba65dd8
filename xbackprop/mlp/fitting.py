"""`fit`: train a network from settings and samples, without changing the arguments."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.callbacks.protocol import Callback, Fit, Watch
from xbackprop.data import tables
from xbackprop.data.batches import Samples
from xbackprop.data.dataset import Data, SampleStore
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp.early_stopping import Evaluate, Score, Split, make_evaluator, split_rows
from xbackprop.mlp.model import Model, continue_model, same_samples, start_model
from xbackprop.mlp.resuming import make_saver, read_checkpoint
from xbackprop.mlp.settings import Settings
from xbackprop.training import lbfgs
from xbackprop.training.loop import Epoch, Training, print_epoch, step_of, train, train_alone
from xbackprop.training.plan import Plan


class FitResult(NamedTuple):
    """The result of training.

    model : the network. stop_reason : "max_iter", "converged", "diverged", "interrupted", "time_limit" or "stopped".
    n_iter : the epochs of this call, or the iterations of L-BFGS. message : SciPy's with L-BFGS, or a callback's.
    """

    model: Model
    stop_reason: str
    n_iter: int
    message: str = ""


class Fitting(NamedTuple):
    """A call of `fit` that an object of the user's makes, so that many of them can be carried out together.

    arguments, options : of `fit`.
    finish : takes over the result into the object; returns how training ended, as `FitResult.stop_reason` has it.
    """

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    finish: Callable[[FitResult], str]


def fit(where: str, settings: Settings, start: Model | None, X: Any, y: Any, *weight: Any, **options: Any) -> FitResult:
    """Train a new network, or train `start` further; the arguments are those of `prepare`.

    If anything raises, also a callback or a score, the random number generator is put back to its former state, so
    that another call gives the same result as it would have given without this one.
    """
    with restored_on_error(settings, start):
        run = prepare(where, settings, start, X, y, *weight, **options)
        if not run.is_over:
            with run.backend.device_context(), run.watched(), run.limited_threads():
                run.end(run.take_steps() if run.steps else run.minimise())
    return run.result()


@dataclass
class Run:
    """A call of `fit` that has read its samples: what remains is to train on them.

    Parameters
    ----------
    where, settings : the user's call, and the settings.
    model : the network to begin with; its progress is updated.
    data : all the samples, until training takes them. n_samples : their number.
    rows : with early stopping, the numbers of those to train on; else None.
    plan : the settings of the training loop. evaluate : for early stopping, θ -> score and loss.
    epochs, network : see `prepare`. watch : of the callbacks. is_over : whether nothing remains, since a run that was
        resumed had ended.
    """

    where: str
    settings: Settings
    model: Model
    data: Data | None
    n_samples: int
    plan: Plan
    rows: np.ndarray | None = None
    evaluate: Evaluate | None = None
    epochs: int | None = None
    watch: Watch = field(default_factory=lambda: Watch(None))
    network: Callable[[Model], Any] | None = None
    is_over: bool = False
    message: str = ""

    @property
    def backend(self) -> Backend:
        """The backend that trains."""
        return self.model.backend

    @property
    def steps(self) -> bool:
        """Whether training takes steps, and not L-BFGS."""
        return not self.settings.lbfgs

    @property
    def n(self) -> int:
        """The number of samples to train on."""
        return self.n_samples if self.rows is None else len(self.rows)

    @property
    def products(self) -> float:
        """Multiplications of a step's forward pass."""
        rows = self.plan.batch_size if self.steps else self.n
        return rows * self.model.objective.layout.n_weights

    def limited_threads(self) -> AbstractContextManager:
        """Return a context manager with the threads of the settings, or as many as suit the steps."""
        limit = self.settings.values["threads"] or self.backend.threads_for(self.products)
        return nullcontext() if limit is None else self.backend.threads(limit)

    def take_samples(self) -> Samples:
        """Return the samples to train on; of all the others only those stay that are held out."""
        data, self.data = self.data, None
        assert data is not None
        data = data if self.rows is None else data.rows(self.rows)
        return data.X, data.y, data.weight

    def training(self) -> Training:
        """Return the training of the network, which asks for steps on `n` samples."""
        model = self.model
        first = model.theta if model.progress.last_theta is None else model.progress.last_theta
        return train(
            model.objective, self.plan, first, model.progress, self.n, epochs=self.epochs, evaluate=self.evaluate,
            callback=self._note, after_epoch=make_saver(self.where, self.settings, model, self.n_samples),
        )  # fmt: skip

    def take_steps(self) -> Array:
        """Train by steps; return θ."""
        return train_alone(self.training(), self.take_samples(), self.watch.batches(self.backend, self.model.progress))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Context manager that tells callbacks where training begins and ends, and keeps the weights they choose."""
        self.watch.begin(self._as_callbacks_see_it)
        reason, theta = "error", None
        try:
            yield
            reason, theta = self.model.progress.stop_reason, self.model.theta
            reason = self.message if reason == "stopped" else reason
        finally:
            kept = self.watch.end(reason, theta)
        if kept is not None:
            progress = self.model.progress
            progress.last_theta = self.model.theta if progress.last_theta is None else progress.last_theta
            self.end(kept)

    def _note(self, epoch: Epoch, theta: Array) -> str:
        """Tell the callbacks of an epoch; return the reason to stop that one of them has, or ""."""
        reason = self.watch.epoch(epoch, theta)
        self.message = reason or self.message
        return reason

    def _as_callbacks_see_it(self) -> Fit:
        """Return what callbacks are told of this call."""
        model, network = self.model, self.network
        assert network is not None

        def make(theta: Array) -> Any:
            progress = model.progress.copy(self.backend.copy)
            return network(model._replace(theta=theta, progress=replace(progress, rng=deepcopy(progress.rng))))

        most = self.plan.max_iter if self.epochs is None else self.epochs
        n_parameters = model.objective.layout.n_parameters
        settings = dict(self.settings.values)
        return Fit(settings, most, self.n, self.plan.batch_size, n_parameters, make, self.backend.copy)

    def minimise(self) -> Array:
        """Train by SciPy's L-BFGS on all rows at once; return θ."""
        assert self.data is not None
        theta, message = _minimise(self.settings, self.model, self.data, self._note)
        self.message = self.message or message
        return theta

    def end(self, theta: Array) -> None:
        """Give the network the weights at which training ended."""
        self.model = self.model._replace(theta=theta)

    def result(self) -> FitResult:
        """Return the result of the run that has ended."""
        return result_of(self.model, None if self.is_over else self.epochs, self.message)


def prepare(
    where: str,
    settings: Settings,
    start: Model | None,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    classes: Any = None,
    epochs: int | None = None,
    split: Split | None = None,
    score: Score | None = None,
    callback: Callable[[Epoch], Any] | None = None,
    callbacks: Sequence[Callback] = (),
    network: Callable[[Model], Any] | None = None,
    validation: tuple[Any, ...] | None = None,
    deadline: float | None = None,
    infinite_loss: bool = False,
    known_finite: bool = False,
    store: SampleStore | None = None,
) -> Run:
    """Read the samples, make a new network or take over `start`, and hold out rows for early stopping.

    Parameters
    ----------
    where : the user's call, for errors.
    classes : all the classes, for a new network whose y may lack some. epochs : the epochs of this call, by default
        max_iter.
    split, score : functions for early stopping, see `split_rows` and `make_evaluator`.
    callback : called with an `Epoch` after each epoch. callbacks : see `xbackprop.callbacks`.
    network : makes what the user trains, an `MLP` or an estimator, of a model, for callbacks that ask for it.
    validation : X, y and weights or None, on which early stopping scores the network in place of rows held out.
    deadline : the time (`time.time`) after which no epoch begins, or None.
    infinite_loss : whether training goes on when the loss or a weight is not finite.
    known_finite : see `read_samples`. store : the samples that other networks have read.
    """
    if epochs is not None and settings.values["class_weight"] == "balanced":
        raise ValueError(
            f"{where}: class_weight='balanced' needs all the samples at once; give the weight of each label"
        )
    if start is None:
        how = {"classes": classes, "known_finite": known_finite, "store": store}
        model, data = start_model(where, settings, settings.rng(), X, y, sample_weight, **how)
    else:
        model = continue_model(where, settings, start, y)
        data = same_samples(where, model, X, y, sample_weight, known_finite=known_finite)
        names = start.feature_names or tables.feature_names(X)  # of the first frame, where arrays came before it
        model = model._replace(feature_names=names)
    progress, n = model.progress, data.X.shape[0]
    if epochs is None:
        progress.first_epoch = progress.epoch
        recognised = settings.values["warm_start"] or settings.checkpoint
        digest, progress.digest = progress.digest, data.digest() if recognised else ""
        if start is not None:
            model = _begin_again(settings, start, model, same_data=bool(digest) and digest == progress.digest)
    callback = callback or (print_epoch if settings.values["verbose"] else None)
    watch = Watch(callback, callbacks)
    run = Run(where, settings, model, data, n, settings.plan, epochs=epochs, watch=watch, network=network)
    if start is None and epochs is None and _resumes(settings):
        run.model = read_checkpoint(where, settings, model, n)
        progress = run.model.progress
        last = progress.first_epoch + settings.plan.max_iter
        if progress.stop_reason == "converged" or progress.epoch >= last:
            run.is_over = True
            shown = settings.plan.shown(run.model.theta, progress.state)
            run.end(shown if progress.best_theta is None else progress.best_theta)
            return run
    if validation is not None and not (run.steps and settings.plan.early_stopping):
        raise ValueError(
            f"{where}: validation_data is for early stopping: set early_stopping=True, and no solver lbfgs"
        )
    if run.steps:
        if settings.plan.early_stopping:
            with run.backend.device_context():
                if validation is None:
                    _hold_out(run, split, score)
                else:
                    held_out = same_samples(f"{where}: validation_data", run.model, *validation)
                    run.evaluate = make_evaluator(run.model, held_out, settings.values["scoring"] == "loss", None)
        run.plan = replace(
            settings.plan,
            infinite_loss=infinite_loss,
            deadline=deadline,
            batch_size=min(run.n, settings.plan.batch_size),
            shared_stream=isinstance(settings.values["random_state"], np.random.RandomState),
        )
        if settings.values["verbose"] and (reason := run.backend.not_compiled(step_of(model.objective, run.plan))):
            print(f"{where}: steps are taken one by one: {reason}")
    return run


def result_of(model: Model, n_iter: int | None = None, message: str = "") -> FitResult:
    """Return the result that a model shows; `n_iter` is by default the epochs since the call of `fit` began."""
    progress = model.progress
    epochs = progress.epoch - progress.first_epoch if n_iter is None else n_iter
    return FitResult(model, progress.stop_reason, epochs, message)


def report(where: str, settings: Settings, result: FitResult) -> None:
    """Raise an error or warn if training ended before it had converged.

    Raises
    ------
    DivergenceError : if the loss or a weight was no longer finite.
    """
    epoch = result.model.progress.epoch
    if result.stop_reason == "diverged":
        raise DivergenceError(
            f"{where}: the loss or a weight became infinite or NaN in epoch {epoch + 1}; the "
            f"network keeps its weights from before that epoch. Try a smaller learning_rate_init than "
            f"{settings.values['learning_rate_init']}, or standardise X"
        )
    if result.stop_reason == "interrupted":
        message = f"{where}: interrupted; the network keeps the weights of epoch {epoch}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    if result.stop_reason == "max_iter":
        plan = settings.plan
        message = f"{where}: stopped at max_iter={plan.max_iter} before the loss had settled to within tol={plan.tol}"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


@contextmanager
def restored_on_error(settings: Settings, start: Model | None) -> Iterator[None]:
    """Context manager that restores the state of the random number generator of a fit if anything raises."""
    rewind = rewinding(settings, start)
    try:
        yield
    except BaseException:
        rewind()
        raise


def rewinding(settings: Settings, start: Model | None) -> Callable[[], None]:
    """Return a function that puts the random number generator of a fit back to its present state."""
    stream = settings.values["random_state"] if start is None else start.progress.rng
    if not isinstance(stream, np.random.RandomState):  # a seed, of which every fit makes a generator of its own
        return lambda: None
    return partial(stream.set_state, stream.get_state())


def _resumes(settings: Settings) -> bool:
    """Return whether the user asked to resume and there is a checkpoint to resume from."""
    return bool(settings.values["resume"] and settings.checkpoint and settings.checkpoint.path.exists())


def _begin_again(settings: Settings, start: Model, model: Model, same_data: bool) -> Model:
    """Return the model with what a new call of `fit` may keep of the run before: on the same data, all but patience.

    On other data, or by another rule of stopping, the best loss, the best score and the held-out samples mean nothing.
    """
    rules = ("early_stopping", "validation_fraction", "scoring")
    if not same_data or any(start.settings[name] != model.settings[name] for name in rules):
        model.progress.begin_anew()
    elif start.progress.stop_reason == "converged":
        model.progress.plateau.count = 0
    return model


def _hold_out(run: Run, split: Split | None, score: Score | None) -> None:
    """Choose the samples of early stopping, and those to train on; make the function that scores θ on the first."""
    values, progress, data = run.settings.values, run.model.progress, run.data
    assert data is not None
    rows, held_out = split_rows(run.where, values["validation_fraction"], progress, data, split)
    progress.training_rows, progress.validation_rows = rows, held_out
    for part, use in ((rows, "to train on"), (held_out, "held out")):
        if data.weight is not None and not bool(run.backend.xp.any(data.rows_of(data.weight, part) > 0)):
            raise ValueError(
                f"{run.where}: all {len(part)} samples {use} by early_stopping have the weight 0; leave out samples "
                f"without weight, or choose another validation_fraction or random_state"
            )
    by_loss = values["scoring"] == "loss"
    run.evaluate = make_evaluator(run.model, data.rows(held_out), by_loss, score and score(held_out))
    run.rows = rows


def _minimise(
    settings: Settings, model: Model, data: Data, callback: Callable[[Epoch, Array], str]
) -> tuple[Array, str]:
    """Train by SciPy's L-BFGS on all rows at once; return θ and SciPy's message."""
    n, progress, plan = data.X.shape[0], model.progress, settings.plan
    progress.begin_anew()  # an earlier run by steps may have left its best θ
    began = time.perf_counter()

    def note(cost: float, theta: Array) -> str:
        nonlocal began
        before, began = began, time.perf_counter()
        progress.epoch += 1
        progress.samples += n
        progress.loss_curve.append(cost)
        return callback(Epoch(progress.epoch, cost, n, began - before), theta)

    theta, progress.stop_reason, message = lbfgs.minimise(
        model.objective, model.theta, data.batch(),
        max_iter=plan.max_iter, max_fun=settings.values["max_fun"], tol=plan.tol, callback=note,
    )  # fmt: skip
    return theta, message
