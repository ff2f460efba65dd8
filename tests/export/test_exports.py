"""Exports give what the network gives: ONNX, torch, scikit-learn and NumPy source, for every activation, loss, task."""

import importlib.util
import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import DTYPES, problem

import xbackprop
from xbackprop.export.onnx_network import run
from xbackprop.mlp.exports import portable
from xbackprop.nn.activations import ACTIVATIONS

pytest.importorskip("onnx", reason="onnx is not installed")
N = 40
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}
#: y by the name of a task, and the settings that go with it.
TASKS = {
    "classes": (lambda rng: rng.integers(0, 3, N), {}),
    "text": (lambda rng: np.array(["ash", "elm", "oak"])[rng.integers(0, 3, N)], {}),
    "two": (lambda rng: rng.integers(4, 6, N), {}),
    "one output for two": (lambda rng: rng.integers(0, 2, N).astype(bool), {"loss": "binary_cross_entropy"}),
    "labels": (lambda rng: rng.integers(0, 2, (N, 3)), {"loss": "binary_cross_entropy"}),
    "numbers": (lambda rng: rng.standard_normal(N), {"task": "regression", "scale_target": True}),
    "several numbers": (lambda rng: rng.standard_normal((N, 2)), {"task": "regression"}),
    "counts": (lambda rng: rng.poisson(2.0, N), {"task": "regression", "loss": "poisson"}),
    "quantiles": (
        lambda rng: rng.standard_normal(N), {"task": "regression", "loss": "quantile", "quantile": [0.1, 0.9]}
    ),
}  # fmt: skip


def samples(task, seed=0):
    rng = np.random.default_rng(seed)
    make, settings = TASKS[task]
    return 3.0 * rng.standard_normal((N, 4)) + 1.0, make(rng), settings


def trained(task, activation="tanh", dtype="float64", **more):
    X, y, settings = samples(task)
    given = {"learning_rate_init": 0.03, "random_state": 0, **settings, **more}
    net = xbackprop.MLP((7, 5), activation, dtype=dtype, max_iter=3, tol=0.0, n_iter_no_change=9, **given)
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X, y)
    return net, X


def outputs_of(net, X):
    return np.asarray(net.predict(X) if net.task == "regression" else net.predict_proba(X), dtype=np.float64)


def close(found, expected, dtype, layers=3):
    """The bound is that of rounding, of some 10 eps a layer, relative to 1 + |value|."""
    assert found.shape == expected.shape
    np.testing.assert_array_less(np.abs(found - expected) / (1.0 + np.abs(expected)), 10 * layers * EPS[dtype])


def ran(model, net, X, dtype):
    given = X if net.scale_inputs else X.astype(dtype)
    return run(model, {"X": given})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_runs_every_activation(activation, dtype):
    net, X = trained("classes", activation, dtype)
    found = ran(net.to_onnx(), net, X, dtype)
    close(found["probabilities"], outputs_of(net, X.astype(dtype)), dtype)
    np.testing.assert_array_equal(found["label"], net.predict(X.astype(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_onnx_gives_what_predict_gives(task, scaled, networks, dtype):
    net, X = trained(task, dtype=dtype, scale_inputs=scaled, n_networks=networks)
    X = X.astype(dtype)
    found = ran(net.to_onnx(example=X), net, X.astype("float64") if scaled else X, dtype)
    if net.task == "regression":
        close(found["values"], outputs_of(net, X), dtype)
        return
    close(found["probabilities"], outputs_of(net, X), dtype)
    expected = net.predict(X)
    np.testing.assert_array_equal(found["label"], expected.astype(object) if expected.dtype.kind == "U" else expected)


@pytest.mark.parametrize("task", TASKS)
def test_both_runtimes_agree(task):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx.reference import ReferenceEvaluator

    net, X = trained(task, "gelu")
    model = net.to_onnx()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for one, other in zip(session.run(None, {"X": X}), ReferenceEvaluator(model).run(None, {"X": X}), strict=True):
        if one.dtype.kind == "f":
            close(one, other, "float64")
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_graph_is_that_which_another_tracer_writes(activation):
    """ndonnx traces the same `forward` into a graph of its own; it has no erf, so that gelu is traced from ours."""
    ndonnx = pytest.importorskip("ndonnx", reason="ndonnx is not installed")
    from xbackprop.arrays.backend import Backend
    from xbackprop.nn.backprop import forward

    net, X = trained("classes", activation)
    model = net.model_
    x = ndonnx.argument(shape=("n", 4), dtype=ndonnx.float64)
    layers = [(ndonnx.asarray(W), ndonnx.asarray(b)) for W, b in model.layers()]
    z = forward(Backend(ndonnx), layers, model.objective.activations, x).z[-1]
    graph = ndonnx.build({"X": x}, {"z": z})
    (theirs,) = run(graph, {"X": X}).values()
    probabilities = np.exp(theirs - theirs.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    close(run(net.to_onnx(), {"X": X})["probabilities"], probabilities, "float64")


def test_functions_of_the_users_own_become_operators():
    snake = xbackprop.Activation(
        lambda xp, z: z + xp.where(z > 0, xp.tanh(z) ** 2, 0.5 * xp.log1p(xp.exp(-xp.abs(z)))),
        lambda xp, z, h: xp.ones_like(z),
        name="snake",
    )
    net, X = trained("classes", snake)
    close(ran(net.to_onnx(example=X), net, X, "float64")["probabilities"], outputs_of(net, X), "float64")


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda xp, z: xp.take(z, z), "calls xp.take, which has no operator here"),
        (lambda xp, z: z if z > 0 else -z, "neither true nor false"),
        (lambda xp, z: 1.0, "must return an array made from z, got float"),
    ],
)
def test_what_has_no_operators_is_an_error_that_says_which_part(f, why):
    net, _ = trained("classes", "tanh")
    mine = xbackprop.Activation(f, lambda xp, z, h: xp.ones_like(z), name="mine")
    (l, *_), model = net.model_.objective.hidden, net.model_
    net._model = model._replace(objective=replace(model.objective, hidden=(l, mine)))
    with pytest.raises(xbackprop.ExportError, match=f"MLP.to_onnx: the activation 'mine' .*{why}"):
        net.to_onnx()
    for export in (net.to_torch, net.to_sklearn, lambda: net.to_python(embed=True)):
        with pytest.raises(xbackprop.ExportError, match="'mine' is a function of your own"):
            export()


def test_an_export_that_gives_something_else_is_not_written(tmp_path, monkeypatch):
    from xbackprop.export import onnx_network

    net, X = trained("numbers")
    true = onnx_network.output
    monkeypatch.setattr(onnx_network, "output", lambda graph, loss, z: graph.node("Neg", true(graph, loss, z)))
    with pytest.raises(xbackprop.ExportError, match="gives other values for the example"):
        net.to_onnx(tmp_path / "net.onnx", example=X)
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_keeps_the_names_of_the_columns(tmp_path):
    import onnx

    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = problem("classification")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    net = xbackprop.MLP((3,), random_state=0).initialize(frame, y)
    net.to_onnx(tmp_path / "net.onnx")
    kept = onnx.load(tmp_path / "net.onnx")
    assert {entry.key: entry.value for entry in kept.metadata_props} == {"feature_names": '["a", "b", "c", "d"]'}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_torch_module_gives_the_same_and_comes_back(activation, dtype):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net, X = trained("classes", activation, dtype, dropout=(0.0, 0.25))
    x = torch.tensor(X.astype(dtype))
    module = net.to_torch()
    close(module(x).detach().numpy(), outputs_of(net, X.astype(dtype)), dtype)
    back = xbackprop.MLP.from_torch(module)
    np.testing.assert_array_equal(back.predict_proba(X.astype(dtype)), net.predict_proba(X.astype(dtype)))
    assert portable("", [back.model_]).networks[0].dropout == (0.0, 0.25)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("counts", "quantiles")])
def test_torch_modules_of_every_task(task, scaled):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net, X = trained(task, scale_inputs=scaled)
    found = net.to_torch()(torch.tensor(X)).detach().numpy()
    expected = outputs_of(net, X)
    expected = expected[:, 1:] if task == "one output for two" else expected.reshape(N, -1)
    close(found, expected, "float64")
    logits = net.to_torch(output=False)(torch.tensor(X))
    assert logits.shape == (N, net.n_outputs_)


@pytest.mark.parametrize("task", ["counts", "quantiles"])
def test_torch_has_no_module_for_some_outputs(task):
    pytest.importorskip("torch", reason="torch is not installed")
    net, _ = trained(task)
    with pytest.raises(xbackprop.ExportError, match=r"torch has no module for the output .*output=False"):
        net.to_torch()
    assert net.to_torch(output=False)[-1].out_features == net.n_outputs_


def torch_cases():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn
    linear = nn.Linear(4, 5)
    return {
        r"module\[0\] is Conv1d": nn.Sequential(nn.Conv1d(4, 4, 1), linear),
        r"module\[1\]\[0\] is LayerNorm": nn.Sequential(linear, nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 2))),
        r"module\[2\] is Tanh": nn.Sequential(linear, nn.ReLU(), nn.Tanh(), nn.Linear(5, 2)),
        r"module\[1\] takes 6 inputs, and the layer before it gives 5": nn.Sequential(linear, nn.Linear(6, 2)),
        "ends with the activation 'relu'": nn.Sequential(linear, nn.ReLU()),
        r"module\[1\] has negative_slope=0.2": nn.Sequential(linear, nn.LeakyReLU(0.2), nn.Linear(5, 2)),
        "has no Linear layer": nn.Sequential(nn.Dropout(0.0)),
        r"module\[0\] is Dropout": nn.Sequential(nn.Dropout(0.5), linear),
        "ends with Dropout": nn.Sequential(linear, nn.Dropout(0.5)),
        "module is GRU": nn.GRU(3, 3),
        "must be float32 or float64, got float16": nn.Sequential(nn.Linear(2, 2, dtype=torch.float16)),
    }  # fmt: skip


@pytest.mark.parametrize("why", list(torch_cases()) if importlib.util.find_spec("torch") else [])
def test_a_torch_module_that_is_no_perceptron_names_the_layer(why):
    with pytest.raises(xbackprop.ExportError, match=why):
        xbackprop.MLP.from_torch(torch_cases()[why])


def test_a_torch_module_can_be_trained_on():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X, y, _ = samples("text")
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 6, bias=False), nn.SiLU(), nn.Dropout(0.1), nn.Linear(6, 3))
    net = xbackprop.MLP.from_torch(module, classes=["ash", "elm", "oak"])
    assert net.task == "classification"
    assert net.dropout == (0.1,)
    net.max_iter, net.warm_start = 2, True
    with pytest.warns(xbackprop.ConvergenceWarning):
        net.fit(X.astype("float32"), y)
    assert set(net.predict(X.astype("float32"))) <= {"ash", "elm", "oak"}
    with pytest.raises(ValueError, match="classes must be 3 different labels in ascending order"):
        xbackprop.MLP.from_torch(module, classes=["oak", "elm", "ash"])


@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("embed", [False, True])
def test_a_module_of_numpy_gives_the_same(task, networks, embed, tmp_path):
    net, X = trained(task, scale_inputs=task != "counts", n_networks=networks)
    module = imported(net, tmp_path / "net.py", embed)
    if net.task == "regression":
        close(module.predict(X), outputs_of(net, X), "float64")
    else:
        close(module.predict_proba(X), outputs_of(net, X), "float64")
        np.testing.assert_array_equal(module.predict(X), net.predict(X))
    assert sorted(path.name for path in tmp_path.glob("net*")) == ["net.npz", "net.py"][embed:]


def imported(net, path, embed=True):
    net.to_python(path, embed=embed)
    spec = importlib.util.spec_from_file_location("written", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("activation", "dtype"), list(itertools.product(ACTIVATIONS, DTYPES)))
def test_a_module_of_numpy_has_every_activation(activation, dtype, tmp_path):
    net, X = trained("classes", activation, dtype)
    close(imported(net, tmp_path / "net.py").predict_proba(X), outputs_of(net, X.astype(dtype)), dtype)


def test_a_module_without_a_place_for_its_weights_is_an_error():
    net, _ = trained("classes")
    with pytest.raises(xbackprop.ExportError, match="give a path, or embed=True"):
        net.to_python()
    assert "class labels" not in net.to_python(embed=True)


def test_exports_of_a_device_and_without_weights(backend):
    X, y = problem("classification")
    net = xbackprop.MLP((5,), backend=backend, random_state=0).initialize(X, y)
    x = X.astype(net.model_.dtype)
    close(run(net.to_onnx(), {"X": x})["probabilities"], net.predict_proba(x), net.model_.dtype)
    with pytest.raises(xbackprop.NotFittedError, match=r"MLP\.to_onnx"):
        xbackprop.MLP((5,)).to_onnx()
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got 'int8'"):
        net.to_onnx(dtype="int8")


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_in_the_other_precision(dtype):
    net, X = trained("numbers", "mish", dtype)
    other = next(d for d in DTYPES if d != dtype)
    found = run(net.to_onnx(dtype=other), {"X": X.astype(other)})["values"]
    assert found.dtype == other
    close(found.astype("float64"), outputs_of(net, X), "float32")


def test_a_missing_package_says_what_to_install(monkeypatch):
    from xbackprop import validation as module

    net, _ = trained("classes")
    monkeypatch.setattr(module, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    for export, name in ((net.to_onnx, "onnx"), (net.to_torch, "torch"), (net.to_sklearn, "scikit-learn")):
        with pytest.raises(ImportError, match=f"needs {name}, which is not installed: pip install {name}"):
            export()
