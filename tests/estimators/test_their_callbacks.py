"""Callbacks, ours and scikit-learn's own, on the estimators."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV

import xbackprop
from xbackprop.callbacks import KeepBest

their = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]


class Tasks:
    """Notes the tasks that begin and end, and stops at the end of a task of this number."""

    def __init__(self, stop_at=None):
        self.said, self.stop_at, self.scores = [], stop_at, []

    def setup(self, estimator, context):
        self.said.append("setup")

    def teardown(self, estimator, context):
        self.said.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.said.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.said.append(f"end {context.task_name} {context.task_id}")
        self.scores.append(accuracy_score(y, fitted_estimator.predict(X)))
        return context.task_name == "epoch" and context.task_id == self.stop_at


def net_of(**settings):
    return xbackprop.MLPClassifier((12,), **{"max_iter": 4, "random_state": 0, **settings})


def test_their_callbacks_see_a_task_for_each_epoch():
    tasks = Tasks()
    with pytest.warns(ConvergenceWarning):
        net = net_of().set_callbacks(tasks).fit(X, Y)
    epochs = [f"{what} epoch {i}" for i in range(4) for what in ("begin", "end")]
    assert tasks.said == ["setup", "begin fit 0", *epochs, "end fit 0", "teardown"]
    assert tasks.scores[-1] == tasks.scores[-2] == net.score(X, Y)
    with pytest.warns(ConvergenceWarning):
        plain = net_of().fit(X, Y)
    for a, b in zip(plain.coefs_, net.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_their_callbacks_stop_a_training():
    tasks = Tasks(stop_at=1)
    net = net_of(max_iter=50).set_callbacks(tasks).fit(X, Y)
    assert (net.n_iter_, net.stop_reason_) == (2, "a callback of scikit-learn")
    assert tasks.said[-3:] == ["end epoch 1", "end fit 0", "teardown"]


def test_what_begins_is_torn_down_after_an_error():
    class Failing(Tasks):
        def on_fit_task_begin(self, estimator, context):
            super().on_fit_task_begin(estimator, context)
            if context.task_id == 2:
                raise ZeroDivisionError

    failing = Failing()
    with pytest.raises(ZeroDivisionError):
        net_of().set_callbacks(failing).fit(X, Y)
    assert failing.said[-1] == "teardown"


def test_their_monitor_and_their_searches():
    monitor = their.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(net_of().set_callbacks(monitor), {"alpha": [0.1, 1.0]}, cv=2)
    with pytest.warns(ConvergenceWarning):
        search.fit(X, Y)
    scored = [row for row in _rows(monitor) if row["task_name"] == "epoch"]
    assert len(scored) == 4 * 5  # two candidates on two folds, and the best again on all rows
    assert all(0.0 <= row["accuracy"] <= 1.0 for row in scored)


def test_our_callbacks_are_given_estimators():
    best = KeepBest(lambda net: net.score(X[300:], Y[300:]))
    with pytest.warns(ConvergenceWarning):
        net = net_of(max_iter=8, learning_rate_init=0.1).fit(X[:300], Y[:300], callbacks=[best])
    assert net.score(X[300:], Y[300:]) == best.best_ == max(best.values_)


def test_the_validation_data_score_an_estimator():
    with pytest.warns(ConvergenceWarning):
        net = net_of(early_stopping=True).fit(X[:300], Y[:300], validation_data=(X[300:], Y[300:]))
    assert max(net.validation_scores_) == net.score(X[300:], Y[300:])


def _rows(monitor):
    """The rows of all runs of a monitor."""
    return [row for log in monitor.get_logs(select="all") for row in log.data]
