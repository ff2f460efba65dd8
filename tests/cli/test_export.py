"""`xbackprop export`: a saved model for programs that do without xbackprop."""

import importlib.util

import numpy as np
import pytest

from xbackprop import MLP
from xbackprop.cli import main

pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture
def model(tmp_path):
    X = np.random.RandomState(0).standard_normal((20, 3))
    net = MLP((4,), scale_inputs=True, random_state=0).initialize(X, X[:, 0] > 0)
    net.save(tmp_path / "net.safetensors")
    return net, X, str(tmp_path / "net.safetensors")


def test_a_network_becomes_onnx_and_a_module(model, tmp_path, capsys):
    import onnx

    from xbackprop.export.onnx_network import run

    net, X, path = model
    onnx_file, module_file = tmp_path / "net.onnx", tmp_path / "module.py"
    asked = ["export", path, "--onnx", str(onnx_file), "--dtype", "float32", "--python", str(module_file)]
    assert main.main(asked) == 0
    assert capsys.readouterr().out.count("written") == 2
    found = run(onnx.load(onnx_file), {"X": X})["probabilities"]
    np.testing.assert_allclose(found, net.predict_proba(X), atol=1e-6)
    spec = importlib.util.spec_from_file_location("module", module_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    np.testing.assert_allclose(module.predict_proba(X), net.predict_proba(X), rtol=1e-12)
    assert (tmp_path / "module.npz").exists()


def test_a_model_for_tables_becomes_onnx_alone(tmp_path, capsys):
    sklearn = pytest.importorskip("sklearn", reason="models for tables need scikit-learn")
    assert sklearn
    table = tmp_path / "table.csv"
    table.write_text("size,colour,y\n" + "".join(f"{i % 7},{'red' if i % 3 else 'blue'},{i % 2}\n" for i in range(60)))
    path, out = str(tmp_path / "model.safetensors"), tmp_path / "model.onnx"
    assert main.main(["train", str(table), "--target", "y", "--preset", "fast", "--out", path]) == 0
    assert main.main(["export", path, "--onnx", str(out)]) == 0
    assert out.stat().st_size > 1000
    capsys.readouterr()
    assert main.main(["export", path, "--python", str(tmp_path / "m.py")]) == 2
    assert "can be exported with its encoding to ONNX alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "nothing to write: give --onnx FILE, --python FILE, or both"),
        (["--onnx", "{folder}/nowhere/net.onnx"], "nowhere"),
    ],
)
def test_what_cannot_be_written_is_an_error_in_words(model, arguments, why, tmp_path, capsys):
    status = main.main(["export", model[2], *(a.format(folder=tmp_path) for a in arguments)])
    assert status == 2
    assert why in capsys.readouterr().err
