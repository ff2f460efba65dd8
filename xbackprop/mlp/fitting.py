"""`fit`: train a network from settings and samples, without changing the arguments."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.data import tables
from xbackprop.data.dataset import Data
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp.early_stopping import Evaluate, Score, Split, make_evaluator, split_rows
from xbackprop.mlp.model import Model, continue_model, same_samples, start_model
from xbackprop.mlp.resuming import make_saver, read_checkpoint
from xbackprop.mlp.settings import Settings
from xbackprop.training import lbfgs
from xbackprop.training.loop import Epoch, print_epoch, train

Callback = Callable[[Epoch], None]


class FitResult(NamedTuple):
    """The result of training.

    model : the network. stop_reason : "max_iter", "converged", "diverged" or "interrupted".
    n_iter : the epochs of this call, or the iterations of L-BFGS. message : SciPy's message, with L-BFGS.
    """

    model: Model
    stop_reason: str
    n_iter: int
    message: str = ""


def fit(
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
    callback: Callback | None = None,
    infinite_loss: bool = False,
    known_finite: bool = False,
) -> FitResult:
    """Train a new network, or train `start` further.

    If anything raises, also a callback or a score, the random number generator is put back to its former state, so
    that another call gives the same result as it would have given without this one.

    Parameters
    ----------
    where : the user's call, for errors.
    classes : all the classes, for a new network whose y may lack some. epochs : the epochs of this call, by default
        max_iter.
    split, score : functions for early stopping, see `split_rows` and `make_evaluator`.
    callback : called with an `Epoch` after each epoch.
    infinite_loss : whether training goes on when the loss or a weight is not finite.
    known_finite : see `read_samples`.
    """
    stream = settings.rng() if start is None else start.progress.rng
    with _restored_on_error(stream):
        if epochs is not None and settings.values["class_weight"] == "balanced":
            raise ValueError(
                f"{where}: class_weight='balanced' needs all the samples at once; give the weight of each label"
            )
        if start is None:
            how = {"classes": classes, "known_finite": known_finite}
            model, data = start_model(where, settings, stream, X, y, sample_weight, **how)
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
        if start is None and epochs is None and _resumes(settings):
            model = read_checkpoint(where, settings, model, n)
            progress = model.progress
            last = progress.first_epoch + settings.plan.max_iter
            if progress.stop_reason == "converged" or progress.epoch >= last:
                best = progress.best_theta
                model = model if best is None else model._replace(theta=best)
                return result_of(model)
        callback = callback or (print_epoch if settings.values["verbose"] else None)
        rows = n if settings.lbfgs else min(n, settings.plan.batch_size)
        suitable = model.backend.threads_for(rows * model.objective.layout.n_weights)
        limit = settings.values["threads"] or suitable
        with model.backend.device_context(), nullcontext() if limit is None else model.backend.threads(limit):
            if settings.lbfgs:
                theta, message = _minimise(settings, model, data, callback)
            else:
                evaluate, message = None, ""
                if settings.plan.early_stopping:  # from here on only the two parts of the data are held
                    data, evaluate = _hold_out(where, settings, model, data, split, score)
                batch_size = min(data.X.shape[0], settings.plan.batch_size)
                plan = replace(settings.plan, infinite_loss=infinite_loss, batch_size=batch_size)
                first = model.theta if progress.last_theta is None else progress.last_theta
                theta = train(
                    model.objective, plan, first, progress, data.X, data.y, data.weight, epochs=epochs,
                    evaluate=evaluate, callback=callback, after_epoch=make_saver(where, settings, model, n),
                )  # fmt: skip
    return result_of(model._replace(theta=theta), epochs, message)


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
def _restored_on_error(stream: np.random.RandomState) -> Iterator[None]:
    """Context manager that restores the state of a random number generator if anything raises."""
    before = stream.get_state()
    try:
        yield
    except BaseException:
        stream.set_state(before)
        raise


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


def _hold_out(
    where: str, settings: Settings, model: Model, data: Data, split: Split | None, score: Score | None
) -> tuple[Data, Evaluate]:
    """Split off the samples of early stopping; return those to train on, and the function that scores θ on the rest."""
    fraction, progress = settings.values["validation_fraction"], model.progress
    rows, held_out = split_rows(where, fraction, progress, data.X.shape[0], split)
    progress.training_rows, progress.validation_rows = rows, held_out
    by_loss, parts = settings.values["scoring"] == "loss", (data.rows(rows), data.rows(held_out))
    for part, use in zip(parts, ("to train on", "held out"), strict=True):
        if part.weight is not None and not bool(part.backend.xp.any(part.weight > 0)):
            raise ValueError(
                f"{where}: all {part.X.shape[0]} samples {use} by early_stopping have the weight 0; leave out samples "
                f"without weight, or choose another validation_fraction or random_state"
            )
    return parts[0], make_evaluator(model, parts[1], by_loss, score and score(held_out))


def _minimise(settings: Settings, model: Model, data: Data, callback: Callback | None) -> tuple[Any, str]:
    """Train by SciPy's L-BFGS on all rows at once; return θ and SciPy's message."""
    n, progress, plan = data.X.shape[0], model.progress, settings.plan
    progress.begin_anew()  # an earlier run by steps may have left its best θ
    began = time.perf_counter()

    def note(cost: float) -> None:
        nonlocal began
        before, began = began, time.perf_counter()
        progress.epoch += 1
        progress.samples += n
        progress.loss_curve.append(cost)
        if callback is not None:
            callback(Epoch(progress.epoch, cost, n, began - before))

    theta, progress.stop_reason, message = lbfgs.minimise(
        model.objective, model.theta, data.batch(),
        max_iter=plan.max_iter, max_fun=settings.values["max_fun"], tol=plan.tol, callback=note,
    )  # fmt: skip
    return theta, message
