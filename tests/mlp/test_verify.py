"""`xbackprop.verify` on users' networks: right ones pass, wrong ones fail where they are wrong, nothing is changed."""

import dataclasses
import warnings

import numpy as np
import pytest
from helpers import problem, weights_of

import xbackprop
from xbackprop import MLP, Activation, Loss, Verdict, verify
from xbackprop.arrays.discovery import backend_class
from xbackprop.nn.activations import ACTIVATIONS
from xbackprop.nn.backprop import bias_gradient
from xbackprop.verification.network import FEWEST

tasks = pytest.mark.parametrize("task", ["classification", "regression"])
RIGHT = Activation(lambda xp, z: xp.sin(z), lambda xp, z, h: xp.cos(z), "sine")


def network(backend, task="classification", hidden=(5,), activation="tanh", n=8, **settings):
    X, y = problem(task, n=n)
    net = MLP(hidden, activation, task=task, backend=backend, alpha=0.5, random_state=1, **settings)
    return net.initialize(X, y), X, y


def look(net, X, y, weight=None, **options):
    return verify(net, X, y, weight, **{"pictures": False, **options})


def methods_of(report):
    return {f.method for run in report.runs for f in run.findings}


@tasks
@pytest.mark.parametrize("hidden", [(), (5, 4)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_right_networks_pass(backend, activation, task, hidden):
    net, X, y = network(backend, task, hidden, activation)
    report = look(net, X, y, np.linspace(0.5, 2, len(X)))
    assert report.passed, str(report)
    assert set(report.verdicts) == {
        f"{kind}[{l}]" for kind in ("coefs_", "intercepts_") for l in range(len(hidden) + 1)
    }
    assert {"complex step", "dot product", "taylor", "paper"} <= methods_of(report)


@tasks
def test_a_float32_network_is_looked_at_in_float32(backend, task):
    pytest.importorskip("torch", reason="in float32 it is the oracle that decides")
    net, X, y = network(backend, task, (5, 4), "gelu", dtype="float32")
    report = look(net, X, y)
    assert report.passed, str(report)
    (run,) = report.runs
    assert run.place["dtype"] == "float32"
    assert any("in float64" in note for note in run.notes)
    assert look(net, X, y, dtypes=["float32", "float64"]).passed


def test_nothing_is_changed(backend):
    net, X, y = network(backend, hidden=(5, 4), activation="relu", max_iter=3)
    untouched, _, _ = network(backend, hidden=(5, 4), activation="relu", max_iter=3)
    before, data = weights_of(net), X.copy()
    look(net, X, y, thorough=True)
    for a, b in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(X, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        for a, b in zip(weights_of(net.fit(X, y)), weights_of(untouched.fit(X, y)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_thorough_is_at_three_points_with_three_penalties(backend):
    net, X, y = network(backend, hidden=(3,), activation="leaky_relu")
    report = look(net, X, y, thorough=True)
    assert report.passed, str(report)
    places = {(run.place["point"], run.place["alpha"]) for run in report.runs}
    assert places == {(point, alpha) for point in ("given", "fresh", "small") for alpha in ("0.5", "0", "8")}
    assert "differences" in methods_of(report)


# Wrong ones.

WRONG = {
    "doubled": (lambda xp, z, h: 2.0 * xp.cos(z), "analytic is 2 times numeric"),
    "sign": (lambda xp, z, h: -xp.cos(z), "analytic is -1 times numeric: a sign"),
    "zero": (lambda xp, z, h: 0.0 * z, "zero everywhere"),
    "a part in a million": (lambda xp, z, h: (1.0 + 1e-6) * xp.cos(z), ""),
    "not a number": (lambda xp, z, h: z * float("nan"), "not finite"),
}


@tasks
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_derivative_fails_in_its_layer_and_below(backend, fault, task):
    df, says = WRONG[fault]
    net, X, y = network(
        backend, task, (5, 4), [dataclasses.replace(RIGHT, df=df, name="wrong"), "tanh"], init="lecun_normal"
    )
    model = net._model
    net._model = model._replace(objective=dataclasses.replace(model.objective, alpha=0.0))  # it would hide the ratio
    report = look(net, X, y)
    assert report.verdict is Verdict.FAIL
    failed = {name for name, verdict in report.verdicts.items() if verdict is Verdict.FAIL}
    if fault == "not a number":  # which spoils forward mode, 0 · NaN, in the layers above
        assert failed >= {"coefs_[0]", "intercepts_[0]"}
    else:
        assert failed == {"coefs_[0]", "intercepts_[0]"}
    assert says in next(t.diagnosis for t in report.runs[0].tensors if t.name == "intercepts_[0]")


@tasks
def test_what_is_certified_is_what_trains(task):
    """An override that only the training step takes."""
    backend = backend_class("numpy")()
    backend.overrides = {
        **backend.overrides,
        bias_gradient: lambda xp, delta, out=None: np.sum(delta[1:], axis=0, keepdims=True, out=out),
    }
    report = look(*network(backend, task))
    assert {name for name, verdict in report.verdicts.items() if verdict is Verdict.FAIL} == {
        "intercepts_[0]",
        "intercepts_[1]",
    }


def test_a_gradient_that_changes_is_no_pass():
    noise = np.random.RandomState(0)
    backend = backend_class("numpy")()
    backend.overrides = {
        **backend.overrides,
        bias_gradient: lambda xp, delta, out=None: (
            (1 + 1e-15 * noise.standard_normal()) * np.sum(delta, axis=0, keepdims=True)
        ),
    }
    backend.reuses_buffers = False
    report = look(*network(backend))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "another one when it is computed again" in str(report)


# Users' own functions.


def log_cosh(xp, z, y, share):
    residual = z - y
    return xp.sum(share * xp.log(xp.cosh(residual)), axis=(-2, -1)), share * xp.tanh(residual)


def test_a_loss_of_ones_own(backend):
    own = Loss(log_cosh, lambda xp, z: z, "log cosh")
    net, X, y = network(backend, "regression", loss=own)
    assert look(net, X, y).passed
    wrong = dataclasses.replace(own, value_and_delta=lambda *a: (log_cosh(*a)[0], 2.0 * log_cosh(*a)[1]))
    net, X, y = network(backend, "regression", loss=wrong)
    report = look(net, X, y)
    assert set(report.verdicts.values()) == {Verdict.FAIL}


def log_barrier(xp, z, y, share):
    """C = Σ share (z - log z), which has no value for z ≤ 0."""
    return xp.sum(share * (z - xp.log(z)), axis=(-2, -1)), share * (1.0 - 1.0 / z)


def test_a_loss_that_has_no_value_everywhere(backend):
    """Taylor's first steps lead out of its domain, where it is NaN."""
    X, y = problem("regression")
    for factor in (1.0, 1.01):
        loss = Loss(lambda *a, c=factor: (log_barrier(*a)[0], c * log_barrier(*a)[1]), lambda xp, z: z, "barrier")
        net = MLP((5,), activation="tanh", task="regression", loss=loss, backend=backend, random_state=0)
        net.initialize(X, y).intercepts_ = [np.zeros(5), np.full(np.shape(y)[1], 0.7)]
        net.coefs_ = [np.array(backend.to_host(net.coefs_[0])), 0.1 * np.array(backend.to_host(net.coefs_[1]))]
        report = look(net, X, y)
        assert report.passed == (factor == 1.0), str(report)


@pytest.mark.parametrize("right", [True, False])
def test_an_activation_that_carries_no_complex_numbers(backend, right):
    """Differences take the place of the complex step, and the report says so."""
    own = Activation(
        lambda xp, z: z / (1.0 + xp.abs(z)),
        lambda xp, z, h: (1.0 if right else 1.5) / ((1.0 + xp.abs(z)) * (1.0 + xp.abs(z))),
        "softsign",
    )
    net, X, y = network(backend, activation=own)
    report = look(net, X, y)
    assert report.passed == right, str(report)
    assert "complex step" not in methods_of(report)
    assert "differences" in methods_of(report)
    assert any(note.startswith("complex step: ") for run in report.runs for note in run.notes)
    asked = look(net, X, y, methods=["complex step"])
    assert not asked.passed
    assert any(name.startswith("complex step on ") for name in asked.not_run)


def test_an_activation_that_torch_cannot_run():
    """NumPy alone: the oracle cannot be asked, and that is no crash and no failure."""
    pytest.importorskip("torch")
    own = Activation(lambda xp, z: np.multiply(z, z, where=np.ones(z.shape, bool), out=np.zeros_like(z)),
                     lambda xp, z, h: 2.0 * z, "square")  # fmt: skip
    net, X, y = network(backend_class("numpy")(), activation=own)
    report = look(net, X, y)
    assert report.passed, str(report)
    assert "oracle" not in methods_of(report)
    assert any(note.startswith("oracle: ") for run in report.runs for note in run.notes)


# Points at which correct gradients look wrong.


@tasks
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "logistic", "gelu"])
@pytest.mark.parametrize(
    ("scale", "size"), [(0.0, 1.0), (0.0, 1e6), (0.01, 1e-6), (0.01, 1e6), (30.0, 1.0), (30.0, 1e6)]
)
def test_awkward_points_are_never_a_fail(backend, activation, task, scale, size):
    net, X, y = network(backend, task, (5, 4), activation)
    X[:3] = 0
    model = net._model
    theta = scale * np.array(backend.to_host(model.theta))
    net._model = model._replace(theta=backend.asarray(theta))
    assert (
        look(net, size * X, y, methods=["complex step", "taylor", "dot product", "differences"]).verdict
        is not Verdict.FAIL
    )


def test_a_network_that_fits_its_data_is_never_a_fail(backend):
    X = np.vstack([np.eye(3)] * 3)
    net = MLP((), alpha=0.0, backend=backend, random_state=0).initialize(X, np.arange(9) % 3)
    theta = np.zeros(12)
    theta[:9] = (40.0 * np.eye(3)).ravel()
    net._model = net._model._replace(theta=backend.asarray(theta))
    report = look(net, X, np.arange(9) % 3, methods=["complex step", "oracle", "taylor", "differences", "dot product"])
    assert report.verdict is not Verdict.FAIL, str(report)


def test_one_sample_and_two_classes(backend):
    X = np.array([[0.3, -0.2], [1.0, 0.4]])
    net = MLP((3,), backend=backend, random_state=0).initialize(X, ["a", "b"])
    assert look(net, X[:1], ["b"]).verdict is not Verdict.FAIL
    assert look(net, X, ["a", "b"]).passed


# What is asked for.


def test_backends_by_name_and_those_that_are_not_there(backend):
    net, X, y = network(backend)
    report = look(net, X, y, backends=["numpy", backend])
    assert report.passed
    assert [run.place["backend"] for run in report.runs] == ["numpy", backend.name]
    missing = look(net, X, y, backends=["numpy", "abacus"])
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "unknown backend 'abacus'" in missing.not_run["backend abacus"]


def test_the_same_seed_gives_the_same_report(backend):
    net, X, y = network(backend)
    first, second = (look(net, X, y, seed=3).to_dict() for _ in range(2))
    for report in (first, second):
        del report["seconds"], report["summary"]
        for run in report["runs"]:
            del run["seconds"]
    assert first == second


def test_large_networks_are_sampled_and_say_so(backend, monkeypatch):
    monkeypatch.setattr("xbackprop.verification.network.WORK", 1e5)
    net, X, y = network(backend, hidden=(40,))
    report = look(net, X, y)
    assert report.passed, str(report)
    assert any("drawn at random" in note for note in report.runs[0].notes)
    checked = [f for f in report.runs[0].findings if f.method == "complex step" and f.tensor == "coefs_[0]"]
    assert FEWEST <= checked[0].checked < 4 * 40


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda net, X, y: verify("net", X, y), "net must be an xbackprop.MLP, got 'net'"),
        (lambda net, X, y: verify(net, X[:, :2], y), "X must have shape"),
        (lambda net, X, y: verify(net, X, y, methods=["guess"]), "methods must be one of"),
        (lambda net, X, y: verify(net, X, y, methods=[]), "methods must name at least one"),
        (lambda net, X, y: verify(net, X, y, dtypes=["float16"]), "dtypes must be one of"),
        (lambda net, X, y: verify(net, X, y, memory=0), "memory must be a whole number of at least 1"),
        (lambda net, X, y: verify(net, X, y, seed=-1), "seed must be a whole number of at least 0"),
        (lambda net, X, y: verify(MLP(), X, y), "no weights yet"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=rf"verify: .*{says}"):
        call(*network(backend_class("numpy")()))


def test_units_at_a_kink_and_elements_across_one_are_counted(backend):
    """Zero biases and two rows of zeros: all 5 units of the first layer, and all 4 of the second, sit at 0 for each."""
    net, X, y = network(backend, hidden=(5, 4), activation="relu")
    X[:2] = 0
    report = look(net, X, y)
    assert report.passed, str(report)
    counts = {f.tensor: f.counts for f in report.runs[0].findings if f.method == "paper"}
    assert counts["intercepts_[0]"]["at kink"] == counts["coefs_[0]"]["at kink"] == 2 * 5
    assert counts["intercepts_[1]"]["at kink"] >= 2 * 4  # and those that dead units below leave at 0
    assert counts["intercepts_[2]"]["at kink"] == 0
    assert counts["intercepts_[0]"]["crossed"] == 5
    assert "at kink" in str(report)
