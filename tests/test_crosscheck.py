"""The matrix behind `xbackprop verify`: right backends pass, wrong ones fail, and what is missing is said."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from helpers import problem

from xbackprop import ACTIVATIONS, BackendError
from xbackprop.backend import load
from xbackprop.network import bias_gradient
from xbackprop.optimizers import adam_step
from xbackprop.verification import crosscheck
from xbackprop.verification.crosscheck import LIMITS, check_activation, installed, parse_device
from xbackprop.verification.oracle import relative_difference, torch_gradient

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is the oracle")


def faulty(function, fault):
    """NumPy with one function replaced."""
    backend = load("numpy")()
    backend.overrides = {**backend.overrides, function: fault}
    return backend


def as_ones_own(f):
    """The activation whose f is run by autograd, as a user's own is."""
    return replace(f, name="mine")


@needs_torch
@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_right_backend_passes(name, activation):
    row = check_activation(load(name)(), ACTIVATIONS[activation], "cpu")
    assert row.failures == []
    assert row.reasons == {}
    assert list(row.values) == list(LIMITS)
    assert (row.backend, row.device, row.activation) == (name, "cpu", activation)
    assert 0 < row.values["oracle float64"] < row.values["oracle float32"]


@needs_torch
def test_the_rows_of_a_backend_are_one_per_activation():
    rows = list(crosscheck.crosscheck("numpy", "cpu"))
    assert [row.activation for row in rows] == list(ACTIVATIONS)
    assert not any(row.failures for row in rows)
    with pytest.raises(BackendError, match="unknown backend 'abacus'"):
        next(crosscheck.crosscheck("abacus"))


@needs_torch
def test_a_wrong_derivative_fails_where_it_shows():
    wrong = replace(ACTIVATIONS["tanh"], df=lambda xp, z, h: 1.0 - h, name="wrong")
    row = check_activation(load("numpy")(), wrong)
    assert row.failures == ["classification", "regression", "oracle float64", "oracle float32"]


@needs_torch
def test_a_wrong_override_of_a_backend_fails():
    backend = faulty(bias_gradient, lambda xp, delta, out=None: xp.sum(delta[:-1], axis=-2, keepdims=True))
    assert check_activation(backend, ACTIVATIONS["tanh"]).failures == list(LIMITS)


@needs_torch
def test_a_wrong_optimizer_fails_parity_alone():
    backend = faulty(adam_step, lambda xp, theta, g, m, v, *rest: (theta - 1e-3 * g, m, v))
    backend.reuses_buffers = False
    assert check_activation(backend, ACTIVATIONS["tanh"]).failures == ["parity"]


@needs_torch
def test_nan_is_a_failure():
    backend = faulty(bias_gradient, lambda xp, delta, out=None: np.nan * xp.sum(delta, axis=-2, keepdims=True))
    row = check_activation(backend, ACTIVATIONS["tanh"])
    assert "oracle float64" in row.failures
    assert row.failures == list(LIMITS)


@needs_torch
def test_a_backend_that_breaks_is_reported_and_stops_nothing():
    def broken(xp, delta, out=None):
        raise RuntimeError("out of paper")

    row = check_activation(faulty(bias_gradient, broken), ACTIVATIONS["tanh"])
    assert row.failures == list(LIMITS)
    assert row.reasons["parity"] == "RuntimeError: out of paper"


def test_without_torch_the_oracle_is_not_run_and_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    row = check_activation(load("numpy")(), ACTIVATIONS["tanh"])
    assert row.values["oracle float64"] is None
    assert "pip install 'xbackprop[torch]'" in row.reasons["oracle float32"]
    assert row.failures == []


def test_installed_backends_have_a_version_and_devices_or_a_reason():
    found = {b.name: b for b in installed()}
    assert found["numpy"] == ("numpy", np.__version__, ["cpu"], None)
    for name, _, devices, reason in found.values():
        assert bool(devices) == (reason is None), name


def test_devices_are_named_as_their_libraries_want_them():
    assert [parse_device(d) for d in (None, "0", "cuda:1")] == [None, 0, "cuda:1"]


@needs_torch
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_oracle_runs_a_users_own_activation(activation):
    """Our f under autograd, against torch's own function."""
    X, y = problem("regression", n=10)
    rng = np.random.RandomState(1)
    layers = [
        (rng.standard_normal((4, 5)), rng.standard_normal(5)),
        (rng.standard_normal((5, 3)), rng.standard_normal((1, 3))),
    ]
    own, theirs = (
        torch_gradient(layers, [f], "mean_squared_error", X, y, 0.1)
        for f in (as_ones_own(ACTIVATIONS[activation]), activation)
    )
    assert own[0] == pytest.approx(theirs[0], rel=1e-13)
    for a, b, layer in zip(own[1], theirs[1], layers, strict=True):
        assert [g.shape for g in b] == [p.shape for p in layer]
        assert max(relative_difference(*pair) for pair in zip(a, b, strict=True)) < 1e-13


def test_relative_difference():
    a = np.array([3.0, 4.0])
    assert relative_difference(a, a) == 0
    assert relative_difference(0 * a, a) == 1
    assert relative_difference(0 * a, 0 * a) == 0
    assert relative_difference(a, 0 * a) == np.inf
