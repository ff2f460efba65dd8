"""`ema_decay`: predictions use a moving average of the weights, which training itself does not see."""

import warnings

import numpy as np
import pytest
from helpers import problem, relative

import xbackprop
from xbackprop import MLP

DECAY = 0.8


def train(backend, epochs=6, decay=DECAY, **settings):
    X, y = problem("classification", n=24)
    usual = {"batch_size": 24, "dtype": "float64", "learning_rate_init": 0.02, "random_state": 0, "tol": 0.0}
    net = MLP((5, 4), "tanh", backend=backend, ema_decay=decay, max_iter=epochs, **usual | settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return net.fit(X, y)


def theta_of(net):
    return np.array(net.model_.backend.to_host(net.model_.theta))


def test_the_weights_are_torchs_average(backend):
    """`AveragedModel` with `get_ema_multi_avg_fn` over the weights after each step, of runs that were cut short."""
    torch = pytest.importorskip("torch", reason="the average is held to torch's")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    averaged = None
    for epochs in range(1, 7):  # of one step each
        step = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(theta_of(train(backend, epochs, None))))])
        averaged = averaged or AveragedModel(step, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        averaged.update_parameters(step)
    assert relative(theta_of(train(backend)), averaged.module[0].detach().numpy()) < 1e-13


def test_training_does_not_see_the_average(backend):
    """The losses of the steps are those without an average, and 0 keeps the last weights alone."""
    net, without = train(backend, batch_size=7), train(backend, batch_size=7, decay=None)
    np.testing.assert_allclose(net.loss_curve_, without.loss_curve_, rtol=1e-13)
    assert relative(theta_of(net), theta_of(without)) > 1e-3
    last = np.array(net.model_.backend.to_host(net.model_.progress.last_theta))
    assert relative(last, theta_of(without)) < 1e-13  # a compiler may fuse otherwise
    assert relative(theta_of(train(backend, batch_size=7, decay=0.0)), theta_of(without)) < 1e-13


def test_two_calls_are_one_run(backend):
    whole = train(backend, 6, batch_size=7, warm_start=True)
    net = train(backend, 3, batch_size=7, warm_start=True)
    net.max_iter = 3
    X, y = problem("classification", n=24)
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X, y)
    np.testing.assert_array_equal(theta_of(net), theta_of(whole))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_run_that_is_resumed_ends_in_the_same_bits(backend, tmp_path, early_stopping):
    how = {"batch_size": 7, "early_stopping": early_stopping}
    whole = train(backend, 6, **how)
    train(backend, 3, checkpoint=tmp_path, **how)
    for _ in range(2):  # also when the run in the checkpoint has ended
        resumed = train(backend, 6, checkpoint=tmp_path, resume=True, **how)
        np.testing.assert_array_equal(theta_of(resumed), theta_of(whole))
        assert resumed.loss_curve_ == whole.loss_curve_


def test_held_out_samples_are_scored_with_the_average(backend):
    seen = []

    def score(net, X, y):
        seen.append(theta_of(net))
        return float(len(seen))

    net = train(backend, 5, batch_size=7, early_stopping=True, scoring=score)
    np.testing.assert_array_equal(theta_of(net), seen[-1])
    assert (
        relative(seen[-1], theta_of(train(backend, 5, None, batch_size=7, early_stopping=True, scoring=score))) > 1e-3
    )


def test_files_hold_it(backend, tmp_path):
    net = train(backend)
    net.save(tmp_path / "net")
    other = MLP.load(tmp_path / "net")
    assert other.ema_decay == DECAY
    np.testing.assert_array_equal(theta_of(other), theta_of(net))


def test_assigned_weights_begin_a_new_average(backend):
    X, y = problem("classification", n=24)
    net, fresh = train(backend, 3, warm_start=True), train(backend, 3, warm_start=True)
    for each in (net, fresh):
        each.coefs_ = [0.5 * np.ones(W.shape) for W in each.coefs_]
    before = theta_of(net)
    net.ema_decay = 1.0 - 1e-12
    net.partial_fit(X, y)
    np.testing.assert_allclose(theta_of(net), before, rtol=1e-10)


@pytest.mark.parametrize("value", [1.0, -0.1, "0.9", True])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="ema_decay"):
        MLP(ema_decay=value)


def test_lbfgs_has_no_average():
    with pytest.raises(ValueError, match=r"lbfgs.*ema_decay"):
        MLP(solver="lbfgs", ema_decay=0.9)
