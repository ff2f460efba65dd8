"""The matrix behind `xbackprop verify`: right backends pass, wrong ones fail, and what is missing is said."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from helpers import problem

from xbackprop import ACTIVATIONS, Verdict
from xbackprop.arrays.discovery import backend_class
from xbackprop.cli.devices import installed, parse_device
from xbackprop.cli.matrix import matrix
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.backprop import bias_gradient
from xbackprop.nn.losses import LOSSES
from xbackprop.optim.optimizers import adam_step
from xbackprop.verification.methods.oracle import relative_difference, torch_gradient

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is the oracle")


def faulty(function, fault):
    """NumPy with one function replaced."""
    backend = backend_class("numpy")()
    backend.overrides = {**backend.overrides, function: fault}
    return backend


def cells(backend, activation="tanh", **options):
    """The rows of one activation."""
    f = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    return list(matrix(backend, "cpu", activations=[f], **options))


def failing(cell):
    """The methods that failed."""
    return {f.method for run in cell.runs for f in run.findings if f.verdict is Verdict.FAIL}


def as_ones_own(f):
    """The activation whose f is run by autograd, as a user's own is."""
    return replace(f, name="mine")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_cell_of_a_right_backend_passes(backend, activation):
    rows = cells(backend, activation)
    expected = LOSSES if activation == "tanh" else TASKS.values()
    assert [(row.kind.loss, row.kind.dtype) for row in rows] == [
        (loss, dtype) for loss in LOSSES if loss in expected for dtype in ("float64", "float32")
    ]
    for row in rows:
        assert row.verdict is Verdict.PASS
        assert row.worst("complex step").verdict is Verdict.PASS
        assert (row.worst("parity") is None) == (row.kind.dtype == "float32")
        assert {run.place["device"] for run in row.runs} == {"cpu"}


def test_thorough_looks_at_more_networks_points_and_penalties():
    """On NumPy: which they are does not depend on the backend, and `test_verify` is thorough on each."""
    rows = cells(backend_class("numpy")(), "elu", thorough=True, dtypes=["float64"], methods=["complex step", "oracle"])
    (row,) = [row for row in rows if row.kind.task == "regression"]
    assert row.verdict is Verdict.PASS
    places = [{key: run.place[key] for key in ("hidden", "point", "alpha")} for run in row.runs]
    assert len(places) == 4 * 3 * 3
    assert {p["hidden"] for p in places} == {"none", "5", "5-5", "5-5-5"}
    assert {p["point"] for p in places} == {"given", "fresh", "small"}
    assert {float(p["alpha"]) for p in places} == {0.0, 0.1, 12.0}


def test_a_wrong_derivative_fails_where_it_shows():
    wrong = replace(ACTIVATIONS["tanh"], df=lambda xp, z, h: 1.0 - h, name="wrong")
    for row in cells(backend_class("numpy")(), wrong):
        assert row.verdict is Verdict.FAIL
        assert {"complex step", "taylor"} <= failing(row)
        assert row.worst("complex step").tensor not in ("coefs_[2]", "intercepts_[2]")  # below it, all is right


def test_a_wrong_override_of_a_backend_fails():
    backend = faulty(bias_gradient, lambda xp, delta, out=None: xp.sum(delta[:-1], axis=-2, keepdims=True))
    for row in cells(backend):
        assert row.verdict is Verdict.FAIL
        assert row.worst("complex step").tensor.startswith("intercepts_")


def test_a_wrong_optimizer_fails_parity_alone():
    backend = faulty(adam_step, lambda xp, theta, g, m, v, *rest: (theta - 1e-3 * g, m, v))
    backend.reuses_buffers = False
    for row in cells(backend, dtypes=["float64"]):
        assert failing(row) == {"parity"}
        assert row.verdict is Verdict.FAIL


def test_nan_is_a_failure():
    backend = faulty(bias_gradient, lambda xp, delta, out=None: np.nan * xp.sum(delta, axis=-2, keepdims=True))
    assert all("complex step" in failing(row) for row in cells(backend))


def test_a_backend_that_breaks_is_reported_and_stops_nothing():
    def broken(xp, delta, out=None):
        raise RuntimeError("out of paper")

    rows = cells(faulty(bias_gradient, broken))
    assert [row.verdict for row in rows] == [Verdict.FAIL] * 2 * len(LOSSES)
    assert {f.reason for row in rows for run in row.runs for f in run.findings} == {"RuntimeError: out of paper"}


def test_without_torch_the_oracle_is_not_run_and_says_so(monkeypatch):
    import builtins

    real = builtins.__import__

    def no_torch(name, *rest):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    for row in cells(backend_class("numpy")()):
        assert row.worst("oracle") is None
        assert row.verdict is Verdict.PASS
        assert any("pip install torch" in note for run in row.runs for note in run.notes)


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
