"""`fit`, `partial_fit`, `initialize`: from a user's settings and data to a network with weights."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, dtype_name
from xbackprop.arrays.discovery import get_backend
from xbackprop.data import tables
from xbackprop.data.dataset import Data, pick, read_data
from xbackprop.data.targets import infer_targets
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp import model_file
from xbackprop.mlp.model import Holder, Model, make_objective, start_model
from xbackprop.mlp.settings import Settings, read_settings, settings_to_json
from xbackprop.training import lbfgs
from xbackprop.training.checkpoints import Saver, pack, unpack
from xbackprop.training.loop import Epoch, print_epoch, train
from xbackprop.training.plan import Progress

Split = Callable[["np.random.RandomState"], tuple[np.ndarray, np.ndarray]]  # the rows to train on, and those held out


class Fitting(Holder):
    """Training, for `MLP` and for the estimators."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, callback: Callable[[Epoch], None] | None = None) -> Any:
        """Train until the loss no longer improves, or for max_iter epochs; from new starting weights, or with
        `warm_start` on from where the network is, as one run.

        Parameters
        ----------
        X : (n_samples, n_features), an array of any library, a list, a frame or a sparse matrix.
        y : (n_samples,) labels, or (n_samples, n_labels) of 0 and 1; for a regression (n_samples,) or (n_samples,
            n_outputs) numbers.
        sample_weight : (n_samples,), or None for equal weights.
        callback : called with an `Epoch` after each epoch, in place of what `verbose` prints.

        Ctrl-C ends training with a warning; the network keeps the weights of its last whole epoch.
        """
        end = self._fit("MLP.fit", X, y, sample_weight, go_on=self.warm_start, callback=callback)
        self._report("MLP.fit", end)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Train for one epoch, on from where the network is.

        classes : all the labels there will be, where the y of the first call has not all of them.
        """
        where = "MLP.partial_fit"
        if self.solver == "lbfgs" or self.early_stopping:
            raise ValueError(f"{where}: is for solvers that go step by step, without early_stopping")
        end = self._fit(where, X, y, sample_weight, go_on=True, classes=classes, epochs=1)
        if end == "diverged":
            self._report(where, end)
        return self

    def initialize(self, X: Any, y: Any) -> Any:
        """Take shapes and classes from the data, and the weights that `fit` would start from; train nothing."""
        settings, data, rng = self._begin("MLP.initialize", X, y)
        self._keep(start_model(settings, settings_to_json(self), data, rng), X)
        return self

    def _begin(
        self, where: str, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> tuple[Settings, Data, np.random.RandomState]:
        """Everything that a new network is made from, checked before anything is changed."""
        settings = read_settings(where, self)
        backend = get_backend(self.backend, self.device, like=X)
        X = tables.feature_table(where, X)
        targets = infer_targets(
            where, settings.task, settings.loss, y, X.shape[0], log_loss=settings.log_loss, classes=classes,
            smoothing=settings.label_smoothing, weight=settings.class_weight,
        )  # fmt: skip
        return settings, read_data(where, backend, targets, self.dtype, X, y, sample_weight), settings.rng()

    def _same(self, where: str, X: Any, y: Any, sample_weight: Any, dtype: str | None = None) -> Data:
        """X, y and weights as the network has them already: its backend, widths, classes and dtype."""
        model = self._fitted(where)
        X = tables.feature_table(where, X, self.n_features_in_, self.feature_names_in_)
        dtype = dtype or dtype_name(model.theta)
        return read_data(where, model.objective.backend, model.targets, dtype, X, y, sample_weight)

    def _fit(self, *arguments: Any, **how: Any) -> str:
        """`_fit_or_fail`, after which, if it raises, the network is as it was."""
        before = dict(vars(self))
        try:
            return self._fit_or_fail(*arguments, **how)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _fit_or_fail(
        self,
        where: str,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        go_on: bool = False,
        classes: Any = None,
        epochs: int | None = None,
        split: Split | None = None,
        score: Callable[[], float] | None = None,
        callback: Callable[[Epoch], None] | None = None,
        infinite_loss: bool = False,
    ) -> str:
        """Train, and say why training ended: `Progress.end`.

        go_on : from where the network is, if it has weights. epochs : of this call; by default max_iter.
        split : in place of the network's own. score : of the held-out rows, at the present weights.
        infinite_loss : whether that something is not finite is no reason to stop.
        """
        go_on = go_on and self._model is not None
        if go_on:
            settings = read_settings(where, self)
            data = self._same(where, X, y, sample_weight)
            model = self._going_on(where, settings)
        else:
            settings, data, rng = self._begin(where, X, y, sample_weight, classes)
            model = start_model(settings, settings_to_json(self), data, rng)
        n, progress = data.X.shape[0], model.progress
        if epochs is None:
            progress.begun = progress.epoch
        fingerprint = data.fingerprint() if settings.checkpoint else None
        fresh = not go_on and epochs is None
        if fresh and settings.resume and settings.checkpoint and settings.checkpoint.path.exists():
            model = _read_checkpoint(where, settings, model, n, fingerprint)
            progress = model.progress
            if progress.end == "converged" or progress.epoch >= progress.begun + settings.plan.max_iter:
                self._keep(_final(model), X)
                return progress.end
        callback = callback or (print_epoch if settings.verbose else None)
        threads = nullcontext() if settings.threads is None else data.backend.threads(settings.threads)
        with data.backend.device_context(), threads:
            if settings.lbfgs:
                theta = self._lbfgs(settings, model, data, callback)
            else:
                plan = replace(settings.plan, batch_size=min(n, settings.plan.batch_size), infinite_loss=infinite_loss)
                evaluate = None
                if plan.early_stopping:
                    rows, held_out = self._split(where, settings, progress, n, split)
                    progress.kept, progress.held_out = rows, held_out
                    evaluate = self._evaluator(model, data.rows(held_out), X, pick(y, held_out), score)
                    data = data.rows(rows)
                    plan = replace(plan, batch_size=min(len(rows), plan.batch_size))
                saver = self._saver(settings, model, tables.feature_names(X), n, fingerprint)
                start = model.theta if progress.last_theta is None else progress.last_theta
                theta = train(
                    model.objective, plan, start, progress, data.X, data.y, data.weight,
                    epochs=epochs, evaluate=evaluate, callback=callback, after_epoch=saver,
                )  # fmt: skip
        self._keep(model._replace(theta=theta), X)
        self.n_iter_ = self.n_iter_ if epochs is None else epochs
        return progress.end

    def _going_on(self, where: str, settings: Settings) -> Model:
        """The network as it is, with the settings as they are now."""
        model = self._fitted(where)
        layout = model.objective.layout
        if settings.sizes != layout.sizes[1:-1]:
            raise ValueError(f"{where}: the network has hidden layers {layout.sizes[1:-1]}, got {settings.sizes}")
        objective = make_objective(settings, model.objective.backend, layout, model.targets)
        progress = model.progress.copy(objective.backend)
        fresh = settings.plan.optimizer.start(objective.backend, model.theta)
        solvers = (self.solver, model.settings["solver"])
        same = solvers[0] == solvers[1] or set(solvers) == {"adam", "adamw"}
        if not same or len(fresh.moments) != len(progress.state.moments):  # with momentum now, or without
            progress.state = fresh
        return model._replace(objective=objective, progress=progress, settings=settings_to_json(self))

    def _keep(self, model: Model, X: Any) -> None:
        """Make this the network."""
        self._model, progress = model, model.progress
        self.feature_names_in_ = tables.feature_names(X)
        self.loss_curve_ = list(progress.loss_curve)
        self.n_iter_ = progress.epoch - progress.begun
        if self.early_stopping:
            self.validation_scores_ = list(progress.validation_scores)
            self.validation_loss_curve_ = list(progress.validation_losses)

    def _report(self, where: str, end: str) -> None:
        """Errors and warnings for what ended training before it was done."""
        epoch = self._fitted(where).progress.epoch
        if end == "diverged":
            raise DivergenceError(
                f"{where}: the loss or a weight became infinite or NaN in epoch {epoch + 1}; the "
                f"network keeps its weights from before that epoch. Try a smaller learning_rate_init than "
                f"{self.learning_rate_init}, or standardise X"
            )
        if end == "interrupted":
            message = f"{where}: interrupted; the network keeps the weights of epoch {epoch}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        if end == "max_iter":
            message = (
                f"{where}: stopped at max_iter={self.max_iter} before the loss had settled to within tol={self.tol}"
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _split(
        self, where: str, settings: Settings, progress: Progress, n: int, split: Split | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on and those held out: the same ones for as long as a run goes on."""
        if (
            progress.kept is not None
            and progress.held_out is not None
            and len(progress.kept) + len(progress.held_out) == n
        ):
            return progress.kept, progress.held_out
        if split is not None:
            return split(progress.rng)
        order = progress.rng.permutation(n)
        count = math.ceil(settings.validation_fraction * n)
        if not 0 < count < n:
            raise ValueError(
                f"{where}: validation_fraction={settings.validation_fraction} of {n} rows leaves none to train on"
            )
        return order[count:], order[:count]

    def _evaluator(
        self, model: Model, held_out: Data, X: Any, y: Any, score: Callable[[], float] | None
    ) -> Callable[[Array], tuple[float, float]]:
        """``θ -> score, loss`` of the held-out rows, whose y is as the user gave it."""
        objective, targets, batch = model.objective, held_out.targets, held_out.batch()
        xp, to_host = objective.backend.xp, objective.backend.to_host
        by_loss = self.scoring == "loss"
        if score is None and callable(self.scoring):

            def score() -> float:
                return self.scoring(self, held_out.X, y)

        def evaluate(theta: Array) -> tuple[float, float]:
            cost, z = objective.value_and_logits(theta, batch)
            loss = float(to_host(cost))
            if by_loss:
                return -loss, loss
            if score is None:
                found = float(to_host(targets.score(xp, z, batch.y, objective.loss, held_out.weight)))
            else:
                self._keep(model._replace(theta=theta), X)
                found = float(score())
            return (found if math.isfinite(found) else math.nan), loss

        return evaluate

    def _lbfgs(self, settings: Settings, model: Model, data: Data, callback: Callable[[Epoch], None] | None) -> Array:
        """θ by SciPy's L-BFGS, all rows at once."""
        n, progress = data.X.shape[0], model.progress
        began = time.perf_counter()

        def note(cost: float) -> None:
            nonlocal began
            before, began = began, time.perf_counter()
            progress.epoch += 1
            progress.samples += n
            progress.loss_curve.append(cost)
            if callback is not None:
                callback(Epoch(progress.epoch, cost, n, began - before))

        plan = settings.plan
        theta, progress.end, self._words = lbfgs.minimise(
            model.objective, model.theta, data.batch(),
            max_iter=plan.max_iter, max_fun=settings.max_fun, tol=plan.tol, callback=note,
        )  # fmt: skip
        return theta

    def _saver(self, settings: Settings, model: Model, names: list[str] | None, n: int, data: Any) -> Saver | None:
        """What writes checkpoints, if there are to be any."""
        if settings.checkpoint is None:
            return None
        path = settings.checkpoint.path

        def write(theta: Array, progress: Progress) -> None:
            numbers, tensors = pack(model.objective.backend, progress)
            tensors["progress.data"] = data
            self._write(path, model._replace(theta=theta), names, progress.loss_curve, {**numbers, "rows": n}, tensors)

        return Saver(settings.checkpoint, write)


def _read_checkpoint(where: str, settings: Settings, model: Model, n: int, fingerprint: Any) -> Model:
    """The model in the file, which must be of this network and of these n rows of data."""
    assert settings.checkpoint is not None
    layers, configuration, tensors = model_file.load(settings.checkpoint.path)
    backend, layout = model.objective.backend, model.objective.layout
    numbers = configuration["progress"]
    sizes = (layers[0][0].shape[0], *(W.shape[1] for W, _ in layers))
    ours = {name: value for name, value in model.settings.items() if name not in _MAY_CHANGE}
    theirs = {name: value for name, value in configuration["settings"].items() if name not in _MAY_CHANGE}
    differ = [name for name, value in ours.items() if value != theirs.get(name)]
    if (sizes, numbers["rows"]) != (layout.sizes, n) or differ:
        raise ValueError(
            f"{where}: {settings.checkpoint.path} is of another run: layers {sizes} and {numbers['rows']} rows, where "
            f"here are {layout.sizes} and {n}" + (f"; other settings: {', '.join(differ)}" if differ else "")
        )
    if not np.allclose(tensors["progress.data"], fingerprint, rtol=1e-5, atol=1e-8):
        raise ValueError(f"{where}: {settings.checkpoint.path} is of another run: its data were others")
    theta = backend.copy(backend.asarray(layout.flatten(np, layers), dtype_name(model.theta)))
    return model._replace(theta=theta, progress=unpack(backend, settings.plan, numbers, tensors))


#: What a run may go on with otherwise than it began.
_MAY_CHANGE = (
    "max_iter",
    "verbose",
    "tol",
    "n_iter_no_change",
    "checkpoint_epochs",
    "checkpoint_activations",
    "checkpoint_minutes",
    "random_state",
)


def _final(model: Model) -> Model:
    """What a run that had ended left."""
    best = model.progress.best_theta
    return model if best is None else model._replace(theta=best)
