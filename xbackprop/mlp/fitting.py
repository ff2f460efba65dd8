"""`fit`: train a network from settings and samples, without changing the arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xbackprop.callbacks.protocol import Callback, Watch
from xbackprop.data import tables
from xbackprop.data.dataset import Data, SampleStore
from xbackprop.distributed.agreement import agree, checksum, failing_together, share_stream, shared
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.distributed.launch import find_communicator
from xbackprop.distributed.shards import AllHeld, Shards
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp.early_stopping import Score, Split, make_evaluator, split_rows
from xbackprop.mlp.model import Model, continue_model, same_samples, start_model
from xbackprop.mlp.resuming import read_checkpoint
from xbackprop.mlp.run import FitResult, Run
from xbackprop.mlp.settings import Settings
from xbackprop.training.loop import Epoch, print_epoch, step_of


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
    ranks = options.pop("ranks", None) or find_communicator(where, settings.values["communicator"])
    with restored_on_error(settings, start), failing_together(ranks) as all_is_read:
        run = prepare(where, settings, start, X, y, *weight, ranks=ranks, **options)
        all_is_read()
        if not run.is_over:
            with run.backend.device_context(), run.watched(), run.limited_threads():
                run.end(run.take_steps() if run.steps else run.minimise())
    return run.result()


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
    ranks: Communicator = ALONE,
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
    ranks : the processes that train this network together.
    """
    if epochs is not None and settings.values["class_weight"] == "balanced":
        raise ValueError(
            f"{where}: class_weight='balanced' needs all the samples at once; give the weight of each label"
        )
    sharded = settings.values["shard"] and ranks.size > 1
    table = Shards(ranks, where, X, y) if sharded else None
    if start is None:
        rng = share_stream(ranks, settings.rng())
        how = {"classes": classes, "known_finite": known_finite, "store": table or store}
        model, data = start_model(where, settings, rng, X, y, sample_weight, **how)
        model = model._replace(theta=shared(ranks, model.backend, model.theta))
    else:
        model = continue_model(where, settings, start, table.y if table else y)
        data = same_samples(where, model, X, y, sample_weight, known_finite=known_finite)
        share_stream(ranks, model.progress.rng)
        names = start.feature_names or tables.feature_names(X)  # of the first frame, where arrays came before it
        model = model._replace(feature_names=names)
    held = table or AllHeld(ranks, data.X.shape[0])
    progress, n = model.progress, held.n
    if epochs is None:
        progress.first_epoch = progress.epoch
        recognised = settings.values["warm_start"] or settings.checkpoint
        digest, progress.digest = progress.digest, held.digest(data) if recognised else ""
        if start is not None:
            model = _begin_again(settings, start, model, same_data=bool(digest) and digest == progress.digest)
    callback = callback or (print_epoch if settings.values["verbose"] else None)
    watch = Watch(callback, callbacks) if ranks.rank == 0 else Watch(None)
    run = Run(
        where, settings, model, data, n, settings.plan, held=held, epochs=epochs, watch=watch, network=network,
        deadline=deadline, ranks=ranks,
    )  # fmt: skip
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
                    by_loss = settings.values["scoring"] == "loss"
                    run.evaluate = make_evaluator(run.model, held_out, by_loss, None, ranks)
        run.plan = replace(
            settings.plan,
            infinite_loss=infinite_loss,
            batch_size=min(run.n, settings.plan.batch_size),
            shared_stream=isinstance(settings.values["random_state"], np.random.RandomState),
        )
        if (
            settings.values["verbose"]
            and ranks is ALONE
            and (reason := run.backend.not_compiled(step_of(model.objective, run.plan)))
        ):
            print(f"{where}: steps are taken one by one: {reason}")
    if ranks.size > 1:
        agree(ranks, where, _facts(run, data, sharded))
        if run.n < ranks.size:
            raise ValueError(f"{where}: there are {run.n} rows to train on for {ranks.size} ranks")
    return run


def _facts(run: Run, data: Data, sharded: bool) -> dict[str, Any]:
    """Return what must be the same on all ranks, by the name that an error message gives it."""
    model, backend = run.model, run.backend
    settings = {name: value for name, value in run.settings.to_json().items() if name != "random_state"}
    classes = data.targets.classes
    facts = {
        **settings, "number of rows": run.n_samples, "number of columns of X": data.X.shape[1], "dtype": data.dtype,
        "classes": None if classes is None else classes.tolist(), "number of epochs so far": model.progress.epoch,
    }  # fmt: skip
    with backend.device_context():
        if not sharded:
            facts["y (a checksum)"] = checksum(backend, data.y)
        facts["weights of the network (a checksum)"] = checksum(backend, model.theta)
    return facts


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
    if not result.speaks:
        return
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
    if isinstance(run.held, Shards):
        split = None  # which knows the rows of this rank alone
        if score is not None:
            raise ValueError(
                f"{run.where}: with shard=True scoring may be None or 'loss', since a function needs all held-out rows"
            )
    rows, held_out = split_rows(run.where, values["validation_fraction"], progress, data, run.held, split)
    progress.training_rows, progress.validation_rows = rows, held_out
    for part, use in ((rows, "to train on"), (held_out, "held out")):
        if data.weight is not None and not run.held.any_weight(data, part):
            raise ValueError(
                f"{run.where}: all {len(part)} samples {use} by early_stopping have the weight 0; leave out samples "
                f"without weight, or choose another validation_fraction or random_state"
            )
    by_loss = values["scoring"] == "loss"
    places, here = run.held.own(held_out)
    own = data.rows(here)
    run.evaluate = make_evaluator(run.model, own, by_loss, score and score(held_out), run.ranks, places)
    run.rows = rows
