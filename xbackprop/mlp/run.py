"""`Run`: a call of `fit` that has read its samples, alone or as one of several ranks; and its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.callbacks.protocol import Fit, Watch
from xbackprop.data.batches import Samples
from xbackprop.data.dataset import Data
from xbackprop.distributed.agreement import on_first, shared
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.distributed.objective import WholeObjective, shared_objective
from xbackprop.distributed.rows import Holding
from xbackprop.distributed.shards import Held
from xbackprop.distributed.steps import train_on_ranks
from xbackprop.distributed.threads import share_of_cores
from xbackprop.mlp.early_stopping import Evaluate
from xbackprop.mlp.model import Model
from xbackprop.mlp.resuming import make_saver
from xbackprop.mlp.settings import Settings
from xbackprop.training import lbfgs
from xbackprop.training.loop import Epoch, Training, train, train_alone
from xbackprop.training.plan import Plan, Progress


class FitResult(NamedTuple):
    """The result of training.

    model : the network. stop_reason : "max_iter", "converged", "diverged", "interrupted", "time_limit" or "stopped".
    n_iter : the epochs of this call, or the iterations of L-BFGS. message : SciPy's with L-BFGS, or a callback's.
    speaks : whether this process warns: of several ranks, the first.
    """

    model: Model
    stop_reason: str
    n_iter: int
    message: str = ""
    speaks: bool = True


@dataclass
class Run:
    """A call of `fit` that has read its samples: what remains is to train on them.

    Parameters
    ----------
    where, settings : the user's call, and the settings.
    model : the network to begin with; its progress is updated.
    data : all the samples that are here, until training takes them. n_samples : their number on all ranks.
    held : how the ranks hold them.
    rows : with early stopping, the numbers of those to train on; else None.
    plan : the settings of the training loop. evaluate : for early stopping, θ -> score and loss.
    epochs, network, deadline : see `prepare`. ranks : the processes that train. watch : of the callbacks.
    is_over : whether nothing remains, since a run that was resumed had ended.
    """

    where: str
    settings: Settings
    model: Model
    data: Data | None
    n_samples: int
    plan: Plan
    held: Held
    rows: np.ndarray | None = None
    evaluate: Evaluate | None = None
    epochs: int | None = None
    watch: Watch = field(default_factory=lambda: Watch(None))
    network: Callable[[Model], Any] | None = None
    deadline: float | None = None
    ranks: Communicator = ALONE
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
        """Return a context manager with the threads of the settings, or as many as suit the steps and the ranks."""
        limit = self.settings.values["threads"] or share_of_cores(
            self.ranks, self.backend, self.backend.threads_for(self.products)
        )
        return nullcontext() if limit is None else self.backend.threads(limit)

    def take_samples(self) -> Samples:
        """Return the samples to train on; of all the others only those stay that are held out."""
        data, self.data = self.data, None
        assert data is not None
        data = data if self.rows is None else data.rows(self.held.own(self.rows)[1])
        return data.X, data.y, data.weight

    @property
    def holding(self) -> Holding:
        """How the rows to train on are divided among the ranks."""
        return self.held.holding(self.rows)

    def training(self) -> Training:
        """Return the training of the network, which asks for steps on `n` samples."""
        model = self.model
        first = model.theta if model.progress.last_theta is None else model.progress.last_theta
        return train(
            model.objective, self.plan, first, model.progress, self.n, epochs=self.epochs,
            evaluate=self.evaluate and self._evaluated, callback=self._note, after_epoch=self._saver(),
            is_late=None if self.deadline is None else self._is_late,
        )  # fmt: skip

    def take_steps(self) -> Array:
        """Train by steps; return θ."""
        after_step = self.watch.batches(self.backend, self.model.progress)
        if self.ranks is ALONE:
            return train_alone(self.training(), self.take_samples(), after_step)
        return train_on_ranks(self.training(), self.take_samples(), self.holding, self.ranks, after_step)

    def _evaluated(self, theta: Array) -> tuple[float, float]:
        """Return score and loss of the held-out rows, which every rank takes from the first."""
        assert self.evaluate is not None
        return self.ranks.broadcast(self.evaluate(theta))

    def _is_late(self) -> bool:
        assert self.deadline is not None
        return self.ranks.broadcast(time.time() >= self.deadline)

    def _saver(self) -> Callable[[Array, Progress], None] | None:
        """Return the function that writes checkpoints, which the first rank does, or None."""
        if self.settings.checkpoint is None:
            return None
        here = self.ranks.rank == 0
        save = make_saver(self.where, self.settings, self.model, self.n_samples) if here else None

        def write(theta: Array, progress: Progress) -> str:
            assert save is not None
            save(theta, progress)
            return progress.stop_reason

        def after_epoch(theta: Array, progress: Progress) -> None:
            progress.stop_reason = on_first(self.ranks, write, theta, progress)

        return after_epoch

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
        kept = shared(self.ranks, self.backend, kept)
        if kept is not None:
            progress = self.model.progress
            progress.last_theta = self.model.theta if progress.last_theta is None else progress.last_theta
            self.end(kept)

    def _note(self, epoch: Epoch, theta: Array) -> str:
        """Tell the callbacks of an epoch; return the reason to stop that one of them has, or ""."""
        reason = on_first(self.ranks, self.watch.epoch, epoch, theta)
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
        theta, message = _minimise(self.settings, self.model, self.data, self.held, self.ranks, self._note)
        self.message = self.message or message
        return theta

    def end(self, theta: Array) -> None:
        """Give the network the weights at which training ended."""
        self.model = self.model._replace(theta=theta)

    def result(self) -> FitResult:
        """Return the result of the run that has ended."""
        result = result_of(self.model, None if self.is_over else self.epochs, self.message)
        return result._replace(speaks=self.ranks.rank == 0)


def result_of(model: Model, n_iter: int | None = None, message: str = "") -> FitResult:
    """Return the result that a model shows; `n_iter` is by default the epochs since the call of `fit` began."""
    progress = model.progress
    epochs = progress.epoch - progress.first_epoch if n_iter is None else n_iter
    return FitResult(model, progress.stop_reason, epochs, message)


def _minimise(
    settings: Settings,
    model: Model,
    data: Data,
    held: Held,
    ranks: Communicator,
    callback: Callable[[Epoch, Array], str],
) -> tuple[Array, str]:
    """Train by SciPy's L-BFGS on all rows at once; return θ and SciPy's message."""
    n, progress, plan = held.n, model.progress, settings.plan
    progress.begin_anew()  # an earlier run by steps may have left its best θ
    began = time.perf_counter()

    def note(cost: float, theta: Array) -> str:
        nonlocal began
        before, began = began, time.perf_counter()
        progress.epoch += 1
        progress.samples += n
        progress.loss_curve.append(cost)
        return callback(Epoch(progress.epoch, cost, n, began - before), theta)

    objective = model.objective if ranks is ALONE else shared_objective(model.objective, ranks, WholeObjective)
    theta, progress.stop_reason, message = lbfgs.minimise(
        objective, model.theta, held.batch(data),
        max_iter=plan.max_iter, max_fun=settings.values["max_fun"], tol=plan.tol, callback=note,
    )  # fmt: skip
    return theta, message
