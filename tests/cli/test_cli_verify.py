"""`xbackprop verify`: the table, the files, the exit codes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xbackprop import ACTIVATIONS, MLP
from xbackprop import verify as verify_network
from xbackprop.arrays.discovery import backend_class
from xbackprop.cli import devices, main, matrix
from xbackprop.cli import verify as verify_module
from xbackprop.mlp.setting_table import TASKS
from xbackprop.nn.losses import LOSSES


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit status, and what it printed on either stream."""

    def call(*argv):
        status = main.main(["verify", *map(str, argv)])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def few(monkeypatch):
    """The matrix with two activations: what is tested here does not depend on how many there are."""
    activations = [ACTIVATIONS["tanh"], ACTIVATIONS["relu"]]
    some = matrix.matrix.__kwdefaults__ | {"activations": activations}
    monkeypatch.setattr(matrix.matrix, "__kwdefaults__", some)
    return activations


@pytest.fixture
def model(tmp_path):
    """A saved network, and a CSV file of its data."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((30, 3))
    y = np.array(["cat", "dog"])[(X[:, 0] > 0).astype(int)]
    lines = ["a,b,c,kind", *(f"{r[0]!r},{r[1]!r},{r[2]!r},{k}" for r, k in zip(X.tolist(), y, strict=True))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    MLP((4,), "tanh", random_state=0).initialize(X, y).save(tmp_path / "net.safetensors")
    return tmp_path


def rows(out):
    return [line for line in out.splitlines() if line.startswith("numpy cpu")]


def test_the_matrix(run, few):
    status, out, err = run("--backends", "numpy")
    assert (status, err) == (0, "")
    assert len(rows(out)) == 2 * (len(few) * len(TASKS) + len(LOSSES) - len(TASKS))  # the other losses with tanh alone
    assert all(line.endswith("PASS") for line in rows(out))
    assert out.splitlines()[-1].startswith("PASS: ")


def test_a_fault_makes_it_1_and_says_where(run, few, monkeypatch):
    wrong = replace(ACTIVATIONS["tanh"], df=lambda xp, z, h: 2.0 * ACTIVATIONS["tanh"].df(xp, z, h), name="doubled")
    some = matrix.matrix.__kwdefaults__ | {"activations": [wrong]}
    monkeypatch.setattr(matrix.matrix, "__kwdefaults__", some)
    status, out, _ = run("--backends", "numpy")
    assert status == 1
    assert all(line.endswith("FAIL") for line in rows(out))
    assert "FAIL: numpy, cpu, doubled, cross_entropy, 5-5, float64: intercepts_[1]: analytic is 2 times numeric" in out


def test_undecided_is_2_under_strict_alone(run, few):
    """A Taylor remainder tells an order: alone it decides nothing."""
    assert run("--backends", "numpy", "--methods", "taylor")[0] == 0
    status, out, _ = run("--backends", "numpy", "--methods", "taylor", "--strict")
    assert status == 2
    assert "none of the methods that decide was run" in out
    assert run("--backends", "numpy", "--strict", "--dtypes", "float64")[0] == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--backends", "abacus"], "unknown backend 'abacus'"),
        (["--backends", "numpy:gpu"], "NumPy has no device but 'cpu'"),
        (["--methods", "prayer"], "--methods must be one of"),
        (["--dtypes", "float16"], "--dtypes must be one of"),
        (["--net", "nothing.safetensors"], "--net and --data go together"),
        (["--data", "iris"], "--net and --data go together"),
        (["--net", "nothing.safetensors", "--data", "iris"], "nothing.safetensors"),
        (["--json", "nowhere/report.json"], "there is no folder nowhere"),
    ],
)
def test_what_could_not_be_run_is_3(run, argv, says):
    status, out, err = run(*argv)
    assert status == 3
    assert says in out + err


def test_a_backend_that_is_missing_is_never_a_pass(run, few, monkeypatch):
    status, out, _ = run("--backends", "numpy,abacus")
    assert status == 3
    assert len(rows(out)) == 2 * (len(few) * len(TASKS) + len(LOSSES) - len(TASKS))  # the other losses with tanh alone
    assert "not run: backend abacus: " in out


def test_a_saved_network_on_its_data(run, model):
    arguments = ["--net", model / "net.safetensors", "--data", model / "data.csv", "--target", "kind", "--samples", 20]
    files = ["--json", model / "report.json", "--html", model / "report.html"]
    pytest.importorskip("matplotlib", reason="the page is tested with its pictures")
    status, out, err = run(*arguments, *files)
    assert (status, err) == (0, "")
    assert "3-4-2, tanh" in out
    report = json.loads((model / "report.json").read_text())
    assert report["passed"]
    assert report["header"]["samples"] == "20"
    assert "<svg" in (model / "report.html").read_text()


def test_dtypes_methods_and_backends_of_a_saved_network(run, model):
    arguments = ["--net", model / "net.safetensors", "--data", model / "data.csv", "--target", "kind"]
    status, out, _ = run(
        *arguments, "--dtypes", "float32,float64", "--methods", "complex-step", "--backends", "numpy:cpu"
    )
    assert status == 0
    assert "float32" in out
    assert "float64" in out
    assert "dot" not in out
    status, out, _ = run(*arguments, "--backends", "abacus")
    assert status == 3


def test_the_defaults_are_all_backends_that_can_be_used(few, monkeypatch, run):
    monkeypatch.setattr(verify_module, "installed", lambda: [
        devices.Installed("numpy", "2", ["cpu"], None), devices.Installed("abacus", "", [], "out of beads")
    ])  # fmt: skip
    status, out, _ = run("--dtypes", "float64")
    assert status == 0
    assert "not checked: abacus: out of beads" in out
    assert backend_class("numpy").name in rows(out)[0]


@pytest.mark.parametrize(("width", "figures", "titles"), [(200, True, 6), (110, False, 5), (80, False, 0)])
def test_the_matrix_fits_the_terminal(run, few, monkeypatch, width, figures, titles):
    """Figures where there is room, marks where there is less, and the verdicts alone where there is none."""
    monkeypatch.setattr(verify_module, "terminal_width", lambda: width)
    _, out, _ = run("--backends", "numpy", "--dtypes", "float64")
    table = out.splitlines()[: out.splitlines().index(rows(out)[-1]) + 1]
    assert max(map(len, table)) <= width
    assert all(line.endswith("PASS") for line in rows(out))
    assert all(("e-" in line) == figures for line in rows(out))
    assert {line.count("✓") + line.count("?") for line in rows(out)} == {titles}


def test_a_column_for_a_package_that_is_missing_is_left_out(run, few, monkeypatch):
    find = verify_module.importlib.util.find_spec
    monkeypatch.setattr(verify_module.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    _, out, _ = run("--backends", "numpy", "--dtypes", "float64")
    assert "oracle" not in out.splitlines()[0]
    assert "Taylor" in out.splitlines()[0]


def test_the_page_is_headed_by_files_command_and_date(run, model):
    page = model / "page.html"
    how = ["--net", model / "net.safetensors", "--data", model / "data.csv", "--target", "kind"]
    assert run(*how, "--html", page)[0] == 0
    text = page.read_text("utf-8")
    for said in ("net.safetensors</dd>", "data.csv</dd>", "xbackprop verify --net ", "--target kind", " UTC</dd>"):
        assert said in text


def test_progress_is_told(model):
    told = []
    X = np.random.RandomState(0).standard_normal((30, 3))
    net = MLP.load(model / "net.safetensors")
    verify_network(net, X, np.where(X[:, 0] > 0, "dog", "cat"), progress=told.append)
    assert [line.partition(" on numpy, float64")[0] for line in told][:2] == ["complex step", "Taylor"]
    assert any("pictures" in line for line in told)
