"""What is JAX's own: float64 whatever the configuration, one compiled call for an epoch, nothing compiled twice."""

import warnings

import numpy as np
import pytest
from helpers import one_hot, problem, weights_of

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.cli import main

jax = pytest.importorskip("jax", reason='jax is not installed; nox -s "tests(jax)" brings its own')
sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="the command's data are scikit-learn's")
pytestmark = pytest.mark.backends("jax")

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations():
    """How often JAX has compiled something since."""
    heard = []

    def listen(event, _, **__):
        if event == COMPILED:
            heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield heard
    jax.monitoring.unregister_event_duration_listener(listen)


def fit(backend="jax", n=40, hidden=(6, 5), **how):
    X, y = problem("classification", n=n)
    settings = {"max_iter": 4, "batch_size": 8, "random_state": 0, "dropout": 0.2, "backend": backend, **how}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return xbackprop.MLP(hidden, "tanh", **settings).fit(X, y)


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_the_one_asked_for_whatever_jax_enable_x64_says(enabled, dtype):
    X, y = problem("classification", n=40)
    with jax.enable_x64(enabled):
        net, numpys = fit(dtype=dtype), fit("numpy", dtype=dtype)
        assert {str(W.dtype) for W in net.coefs_} == {dtype}
        for ours, theirs in zip(weights_of(net), weights_of(numpys), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 if dtype == "float64" else 1e-4)
        assert net.score(X, y) == pytest.approx(numpys.score(X, y), rel=1e-6)
        assert net.gradient_check(X[:5], y[:5]) < 1e-7
        net.partial_fit(X, y)


def test_a_second_fit_of_equal_shapes_compiles_nothing(compilations):
    fit(hidden=(9, 7))
    assert compilations
    compilations.clear()
    fit(hidden=(9, 7), learning_rate="cosine", learning_rate_init=0.02, warmup=2.0, random_state=7)
    assert compilations == []


@pytest.mark.parametrize(("n", "calls"), [(40, 1), (43, 2)], ids=["full batches", "and a short one"])
def test_an_epoch_is_one_call(monkeypatch, n, calls):
    module = __import__(backend_class("jax").__module__)
    seen, scan = [], module._scan
    monkeypatch.setattr(module, "_scan", lambda *arguments: seen.append(1) or scan(*arguments))
    fit(n=n, max_iter=3)
    assert len(seen) == 3 * calls


def test_no_derivative_is_jaxs(monkeypatch):
    """Not one of JAX's own ways to a gradient is called while a network trains."""

    def forbidden(*_, **__):
        raise AssertionError("autograd computes no gradient here")

    for name in ("grad", "value_and_grad", "vjp", "jvp", "linearize", "jacfwd", "jacrev"):
        monkeypatch.setattr(jax, name, forbidden)
    fit(n=24, l1_ratio=0.3, clip_norm=1.0, checkpoint_activations=2, weight_decay=0.1)


def test_nothing_in_an_epoch_waits_for_the_device():
    """What is traced has no values: float(), bool() and copies to the host raise, and an epoch is traced."""
    for loss in ("binary_cross_entropy", "cross_entropy"):
        X, y = problem("classification", n=24)
        net = xbackprop.MLP((5,), loss=loss, backend="jax", max_iter=1, batch_size=12, clip_norm=0.1, random_state=0)
        with pytest.warns(xbackprop.ConvergenceWarning):
            net.fit(X, one_hot(y, 3).astype(int) if loss.startswith("binary") else y, np.ones(24))
        assert np.isfinite(net.loss_curve_).all()


def test_devices_by_name():
    first = str(jax.devices()[0])
    assert str(backend_class("jax")(first).device) == str(backend_class("jax")().device) == first
    assert backend_class("jax")("cpu").device.platform == "cpu"
    with pytest.raises(xbackprop.BackendError, match=r"device: JAX sees .*, got 'tpu:7'"):
        backend_class("jax")("tpu:7")


def test_the_command_trains_and_folds_the_standardisation_in(tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    argv = ["train", "breast_cancer", "--backend", "jax", "--hidden", "8", "--max-iter", "20", "--out", str(model)]
    assert main.main(argv) == 0
    printed = capsys.readouterr().out
    score = float(printed.splitlines()[-1].split()[-1])
    assert score > 0.9
    net = xbackprop.MLP.load(model, backend="jax")
    data = sklearn_datasets.load_breast_cancer()
    assert net.score(data.data, data.target_names[data.target]) > 0.9
