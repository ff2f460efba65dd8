"""After a call that failed or was broken off, training goes the way it would have gone without that call."""

import warnings

import numpy as np
import pytest
from helpers import problem, weights_of
from numpy.random import RandomState

import xbackprop
from xbackprop import MLP
from xbackprop.training import loop

X, LABELS = problem("classification", n=40)
#: sgd without momentum has no moments that a broken epoch could lose.
HOW = {
    "hidden_layer_sizes": (6,), "solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05, "batch_size": 8,
    "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 3, "warm_start": True,
}  # fmt: skip


class Stop(Exception):
    """Raised by a callback."""


def quiet(function, *arguments, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments, **how)


def train(backend, epochs, **how):
    return quiet(MLP(**{**HOW, **how}, max_iter=epochs, backend=backend).fit, X, LABELS)


def further(net, epochs):
    net.max_iter = epochs
    return quiet(net.fit, X, LABELS)


def assert_same(net, other):
    for a, b in zip(weights_of(net), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert net.loss_curve_ == other.loss_curve_


def raising(error, at):
    def callback(epoch):
        if epoch.number == at:
            raise error

    return callback


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_callback_that_raises_undoes_the_call_and_the_stream(backend, solver):
    net, other = (train(backend, 2, solver=solver, dropout=0.1) for _ in range(2))
    net.max_iter = 5
    with pytest.raises(Stop):
        net.fit(X, LABELS, callback=raising(Stop, at=4))
    assert_same(net, other)
    assert_same(further(net, 3), further(other, 3))


def test_a_scorer_that_raises_undoes_the_call_and_the_stream(backend):
    net, other = (train(backend, 2, early_stopping=True, scoring=lambda net, X, y: 1.0) for _ in range(2))
    net.scoring, net.max_iter = (lambda net, X, y: 1 / (4 - len(net.loss_curve_))), 5
    with pytest.raises(ZeroDivisionError):
        net.fit(X, LABELS)
    net.scoring = other.scoring
    assert_same(further(net, 3), further(other, 3))


def test_a_random_state_of_the_user_s_is_put_back():
    ours, theirs = RandomState(7), RandomState(7)
    with pytest.raises(Stop):
        MLP((4,), random_state=ours).fit(X, LABELS, callback=raising(Stop, at=2))
    assert ours.randint(2**31) == theirs.randint(2**31)


def test_a_scorer_s_network_is_its_own(backend):
    """A scorer may keep the network, change it, and train it: the run does not notice."""
    kept = []

    def vandal(net, X, y):
        kept.append((net, weights_of(net)))
        net.coefs_ = [0.0 * W for W in net.coefs_]
        quiet(net.partial_fit, X, y) if not net.early_stopping else None
        return -net.loss_curve_[-1]

    how = {"early_stopping": True, "validation_fraction": 0.25}
    net = train(backend, 4, scoring=vandal, **how)
    assert_same(net, train(backend, 4, scoring=lambda net, X, y: -net.loss_curve_[-1], **how))
    assert len({id(seen) for seen, _ in kept}) == 4
    assert not np.array_equal(kept[0][1][0], kept[3][1][0])


def broken_off(monkeypatch, at, result):
    """Lets the epoch of this number end in Ctrl-C, or with a cost that is not finite."""
    read, calls = loop.read_epoch, []

    def patched(*arguments):
        calls.append(1)
        if len(calls) == at:
            if isinstance(result, type):
                raise result
            return result
        return read(*arguments)

    monkeypatch.setattr(loop, "read_epoch", patched)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_ctrl_c_within_an_epoch_keeps_the_last_whole_one(backend, monkeypatch, dropout):
    whole = train(backend, 6, dropout=dropout)
    with monkeypatch.context() as patch:
        broken_off(patch, 4, KeyboardInterrupt)
        net = MLP(**HOW, dropout=dropout, max_iter=6, backend=backend)
        with pytest.warns(RuntimeWarning, match="interrupted; the network keeps the weights of epoch 3"):
            net.fit(X, LABELS)
    assert net.n_iter_ == 3
    assert_same(net, train(backend, 3, dropout=dropout))
    if not dropout:  # the masks are numbered by steps, which begin anew with the optimizer
        assert_same(further(net, 3), whole)


def test_after_a_divergence_the_last_whole_epoch_goes_on(backend, monkeypatch):
    whole = train(backend, 6)
    with monkeypatch.context() as patch:
        broken_off(patch, 4, ([np.inf], [False]))
        net = MLP(**HOW, max_iter=6, backend=backend)
        with pytest.raises(xbackprop.DivergenceError, match="in epoch 4"):
            net.fit(X, LABELS)
    assert_same(net, train(backend, 3))
    assert_same(further(net, 3), whole)


def test_ctrl_c_between_epochs_loses_nothing(backend):
    """Moments included: Adam's run goes on as if it had not been stopped."""
    whole = train(backend, 6, solver="adam", dropout=0.2)
    net = MLP(**{**HOW, "solver": "adam"}, dropout=0.2, max_iter=6, backend=backend)
    with pytest.warns(RuntimeWarning, match="weights of epoch 3"):
        net.fit(X, LABELS, callback=raising(KeyboardInterrupt, at=3))
    assert_same(further(net, 3), whole)


def test_ctrl_c_while_a_checkpoint_is_written_keeps_the_weights(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        net = MLP(**HOW, max_iter=6, checkpoint=tmp_path)
        with pytest.warns(RuntimeWarning, match="weights of epoch 1"):
            net.fit(X, LABELS)
    assert_same(net, train("numpy", 1))
    assert list(tmp_path.iterdir()) == []
