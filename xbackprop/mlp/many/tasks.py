"""A network to train and the samples it is trained on, as one of many; and training it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import get_backend
from xbackprop.data.dataset import pick
from xbackprop.mlp.fitting import Fitting, fit
from xbackprop.mlp.model import Model
from xbackprop.mlp.settings import Settings
from xbackprop.nn.parameters import Layout
from xbackprop.training.loop import Epoch
from xbackprop.training.plan import Progress

#: NumPy's speed in multiplications of a network, and the time of a step's calls.
PRODUCTS_PER_SECOND, SECONDS_OF_CALLS = 1e10, 5e-5

Note = Callable[[int, Epoch], None]  # told the number of a network and its epoch
Samples = tuple[Any, Any, Any]  # X, y and the weights or None, as the user has them


def ignore(i: int, epoch: Epoch) -> None:
    """Take no note of an epoch."""


class Ended(NamedTuple):
    """The end of the training of network `i`: the reason, as `FitResult.stop_reason` has it, or the error."""

    i: int
    stop_reason: str
    error: Exception | None = None


class Trainable(NamedTuple):
    """An `MLP` or an estimator as `fit_many` sees it: the result of its ``__trainable__(where)``.

    settings : its settings, checked. start : the network that it would train further, or None for a new one.
    fitting : ``(X, y, sample_weight, callback)`` gives the call of `fit` in its parts.
    progress : gives the state of training.
    members : makes the networks of an ensemble, to be trained; for a single network it gives none.
    assemble : takes over the networks of an ensemble once they are trained.
    """

    settings: Settings
    start: Model | None
    fitting: Callable[..., Fitting]
    progress: Callable[[], Progress]
    members: Callable[[], list[Any]]
    assemble: Callable[[list[Any]], None]


@dataclass(eq=False)
class Task:
    """Network `i` of many: an `MLP` or an estimator, to be trained on these rows of a table; None for all of them.

    options : further ones of `mlp.fitting.prepare`: validation and deadline.
    """

    i: int
    net: Any
    table: Samples
    rows: np.ndarray | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def trainable(self) -> Trainable:
        """The network as it is before training."""
        return self.net.__trainable__(f"fit_many: nets[{self.i}]")

    @property
    def settings(self) -> Settings:
        """The settings of the network."""
        return self.trainable.settings

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is found again in another process."""
        return {name: value for name, value in vars(self).items() if name != "trainable"}

    def fitting(self, note: Note) -> Fitting:
        """Return the call of `fit` in its parts."""
        call = self.trainable.fitting(*self.samples(), partial(note, self.i))
        return call._replace(options={**call.options, **self.options})

    def samples(self) -> Samples:
        """Return X, y and the weights to train on."""
        if self.rows is None:
            return self.table
        X, y, weight = (take(x, self.rows) for x in self.table)
        return X, y, weight

    @property
    def backend(self) -> Backend:
        """The backend that will train the network."""
        values, start = self.settings.values, self.trainable.start
        if start is not None and values["backend"] is None and values["device"] is None:
            return start.backend
        return get_backend(values["backend"], values["device"], like=self.table[0])

    @property
    def products(self) -> float:
        """Multiplications of a step's forward pass, the output layer taken as one unit, since y decides its width."""
        rows = self._n if self.settings.lbfgs else min(self._n, self.settings.plan.batch_size)
        return float(rows * self._products_of_a_row)

    @property
    def seconds(self) -> float:
        """About the seconds that training takes on a core at the most."""
        plan = self.settings.plan
        return about_seconds(plan.max_iter, self._n, min(self._n, plan.batch_size), self._products_of_a_row)

    @property
    def _n(self) -> int:
        return shape_of(self.table[0])[0] if self.rows is None else len(self.rows)

    @property
    def _products_of_a_row(self) -> int:
        return Layout((shape_of(self.table[0])[1], *self.settings.sizes, 1)).n_weights


def about_seconds(epochs: int, n: int, batch_size: int, products: int) -> float:
    """Return about the seconds that NumPy takes on a core of these years for epochs of n rows.

    products : multiplications of a forward pass of one row.
    """
    return epochs * (3.0 * n * products / PRODUCTS_PER_SECOND + n / batch_size * SECONDS_OF_CALLS)


def shape_of(X: Any) -> tuple[int, int]:
    """Return the rows and columns of a table, before it is read."""
    shape = X.shape if hasattr(X, "shape") else np.shape(X)
    return (int(shape[0]), int(shape[1])) if len(shape) == 2 else (len(X), 1)


def take(x: Any, rows: np.ndarray) -> Any:
    """Take some rows of an array, a matrix, a frame or a list, which stays what it is."""
    if x is None:
        return None
    if hasattr(x, "iloc"):
        return x.iloc[rows]
    return [x[i] for i in rows] if isinstance(x, list) else pick(x, rows)


def train_one(task: Task, note: Note) -> Ended:
    """Train a network as its own `fit` does, but for warnings; an error is returned."""
    try:
        call = task.fitting(note)
        return Ended(task.i, call.finish(fit(*call.arguments, **call.options)))
    except Exception as error:
        return Ended(task.i, "", error)


def one_by_one(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train one network after the other."""
    for task in tasks:
        yield (ended := train_one(task, note))
        if ended.stop_reason == "interrupted":
            raise KeyboardInterrupt
