"""`Callback`: what is called while a network trains; `Fit`, what it is told; and `Watch`, which calls several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xbackprop.arrays.backend import Array, Backend
from xbackprop.training.loop import Epoch


class Batch(NamedTuple):
    """A step that has been taken: the number of its epoch, from 1, its own in the epoch, from 0, and its cost.

    To read `loss` waits for the device; without it nothing waits inside an epoch.
    """

    epoch: int
    number: int
    cost: Array
    backend: Backend

    @property
    def loss(self) -> float:
        """C of the batch before the step."""
        return float(self.backend.to_host(self.cost))


class Fit:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    max_iter, n_samples, batch_size, n_parameters : the most epochs of this call, the rows to train on, those of a step,
        and the number of weights and biases.
    settings : the settings of the network, by name.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        max_iter: int,
        n_samples: int,
        batch_size: int,
        n_parameters: int,
        make: Callable[[Array], Any],
        copy: Callable[[Array], Array],
    ) -> None:
        self.settings, self.max_iter, self.n_samples = settings, max_iter, n_samples
        self.batch_size, self.n_parameters = batch_size, n_parameters
        self._make, self._copy = make, copy
        self.theta: Array | None = None  # of the last epoch
        self.kept: Array | None = None

    def network(self) -> Any:
        """Return a network, or an estimator, with the present weights: a copy, which may be used and changed."""
        if self.theta is None:
            raise RuntimeError("Fit.network: the network has no weights of a whole epoch yet; ask in on_epoch_end")
        return self._make(self._copy(self.theta))

    def keep(self) -> None:
        """Take the present weights for those that `fit` ends with; training goes on from its own."""
        if self.theta is None:
            raise RuntimeError("Fit.keep: the network has no weights of a whole epoch yet; call it in on_epoch_end")
        self.kept = self._copy(self.theta)


class Callback:
    """The base class of callbacks, each of whose methods may be overridden; they are called in the order of the list.

    An error in one of them ends training, and the network is as it was before `fit`.

    Examples
    --------
    >>> import xbackprop
    >>> from xbackprop.callbacks import Callback
    >>> class StopAt(Callback):
    ...     def on_epoch_end(self, fit, epoch):
    ...         return "low enough" if epoch.loss < 0.3 else None
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> net = xbackprop.MLP((8,), learning_rate_init=0.05, random_state=0).fit(X, y, callbacks=[StopAt()])
    >>> net.stop_reason_, net.loss_curve_[-1] < 0.3 < net.loss_curve_[-2]
    ('low enough', True)
    """

    def on_train_begin(self, fit: Fit) -> None:
        """Called before the first epoch."""

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> str | None:
        """Called after each epoch. A text ends training: it says why, and is the network's `stop_reason_`."""

    def on_train_end(self, fit: Fit, reason: str) -> None:
        """Called at the end, when `fit.network()` is what training has ended with.

        reason : "max_iter", "converged", "diverged", …, the text of a callback, or "error" where one was raised.
        """

    #: ``on_batch_end(fit, batch) -> None``, called after each step with a `Batch` where a class defines it. Steps are
    #: then taken one by one, and not by a compiled epoch.
    on_batch_end: Callable[..., None] | None = None


class Watch:
    """Calls the callbacks of a fit, and a plain ``callback(epoch)``."""

    def __init__(self, function: Callable[[Epoch], Any] | None, callbacks: Sequence[Callback] = ()) -> None:
        self._function, self._callbacks = function, list(callbacks)
        self._of_batches = [one.on_batch_end for one in callbacks if one.on_batch_end is not None]
        self._fit: Fit | None = None

    def begin(self, make: Callable[[], Fit]) -> None:
        """Tell the callbacks, if there are some, that training begins."""
        if self._callbacks:
            self._fit = make()
            for one in self._callbacks:
                one.on_train_begin(self._fit)

    def epoch(self, epoch: Epoch, theta: Array) -> str:
        """Tell them of an epoch and its weights; return why training should end, or ""."""
        if self._function is not None:
            self._function(epoch)
        if self._fit is None:
            return ""
        self._fit.theta = theta
        reasons = [one.on_epoch_end(self._fit, epoch) for one in self._callbacks]
        return next((reason for reason in reasons if isinstance(reason, str) and reason), "")

    def batches(self, backend: Backend, progress: Any) -> Callable[[Array], None] | None:
        """Return what is to be called with the cost of each step, or None if nobody asks."""
        fit = self._fit
        if not self._of_batches or fit is None:
            return None
        epoch = number = -1

        def note(cost: Array) -> None:
            nonlocal epoch, number
            epoch, number = progress.epoch, number + 1 if progress.epoch == epoch else 0
            for each in self._of_batches:
                each(fit, Batch(epoch + 1, number, cost, backend))

        return note

    def end(self, reason: str, theta: Array | None) -> Array | None:
        """Tell them that training has ended, with these weights; return those that one of them has kept, or None."""
        fit, self._fit = self._fit, None
        if fit is None:
            return None
        fit.theta = theta if fit.kept is None else fit.kept
        for one in self._callbacks:
            one.on_train_end(fit, reason)
        return fit.kept
