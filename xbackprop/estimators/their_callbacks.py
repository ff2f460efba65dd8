"""scikit-learn's own protocol of callbacks (`sklearn.callback`, from 1.9 on), on our estimators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from xbackprop.callbacks.protocol import Callback, Fit
from xbackprop.training.loop import Epoch

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context

    managed = callback_management_context
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def managed(estimator: Any) -> Any:  # type: ignore[misc]
        """Return a context manager that does nothing."""
        return nullcontext()


class TheirCallbacks(Callback):
    """Calls the callbacks that `set_callbacks` has set: a task for `fit`, and in it one for each epoch.

    estimator : the one in training. make_context : its `_init_callback_context`. samples : X, y and the weights.
    """

    def __init__(self, estimator: Any, make_context: Callable[..., Any], samples: tuple[Any, Any, Any]) -> None:
        X, y, weight = samples
        metadata = None if weight is None else {"sample_weight": weight}
        self.about = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.make_context = make_context

    def on_train_begin(self, fit: Fit) -> None:
        """Begin the task of `fit`."""
        self.root = self.make_context(max_subtasks=fit.max_iter)
        self.root.call_on_fit_task_begin(**self.about)

    def on_epoch_end(self, fit: Fit, epoch: Epoch) -> str | None:
        """Begin and end the task of the epoch: before it, nobody knows whether there will be one."""
        task = self.root.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(**self.about)
        stop = task.call_on_fit_task_end(**self.about, reconstruction_attributes=lambda: vars(fit.network()))
        return "a callback of scikit-learn" if stop else None

    def on_train_end(self, fit: Fit, reason: str) -> None:
        """End the task of `fit`."""
        if reason != "error":
            self.root.call_on_fit_task_end(**self.about, reconstruction_attributes=lambda: vars(fit.network()))
