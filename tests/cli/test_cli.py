"""The command, called as Python calls it and as a shell does."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest

from xbackprop import MLP
from xbackprop.arrays.discovery import get_backend
from xbackprop.cli import backend_choice, main, train
from xbackprop.errors import BackendError, GradientCheckError


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit status, and what it printed on either stream."""

    def call(*argv):
        status = main.main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def blobs(tmp_path):
    """A CSV file of three well separated kinds, named in text, with features of very different size."""
    rng = np.random.RandomState(0)
    kinds = np.arange(90) % 3
    X = np.array([1e4, 1e-3]) * (np.array([[0, 0], [4, 0], [0, 4]])[kinds] + 0.3 * rng.standard_normal((90, 2)) + 50)
    return write_csv(
        tmp_path / "blobs.csv", ["width", "height", "kind"], [*X.T, np.array(["cat", "dog", "eel"])[kinds]]
    )


@pytest.fixture
def line(tmp_path):
    """A CSV file of a straight line with a little noise."""
    rng = np.random.RandomState(0)
    x = 100 + rng.standard_normal(80)
    columns = [x, rng.standard_normal(80), 1e3 * x + 10 * rng.standard_normal(80)]
    return write_csv(tmp_path / "line.csv", ["x", "noise", "y"], columns)


def write_csv(path, header, columns):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*columns, strict=True)])
    return path


def test_train_says_what_it_does_and_ends_with_the_score(run, blobs, tmp_path):
    model = tmp_path / "model.safetensors"
    options = ["--max-iter", 40, "--hidden", "8,4", "--learning-rate", 0.01]
    status, out, err = run("train", blobs, "--target", "kind", "--out", model, *options)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("90 samples, 2 features, 3 classes; 18 held out")
    assert lines[1] == "network    2-8-4-3, relu, 75 parameters"
    assert "numpy" in lines[2]
    assert lines[3].startswith("gradients  relative error ")
    assert lines[3].endswith(", limit 1e-07 (2-8-4-3 copy, 10 samples)")
    epochs = [line for line in lines if line.startswith("epoch")]
    assert len(epochs) == 11
    assert all("loss" in line and "samples/s" in line for line in epochs)
    assert lines[-4].startswith("trained    40 epochs in ")
    assert lines[-3].endswith(", still falling at --max-iter 40")
    assert lines[-2] == f"model      {model}"
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)  # on a terminal nothing wraps
    assert lines[-1] == "held-out accuracy 1.000"


def test_a_loss_that_settled_is_said_to_have(run, line):
    _, out, _ = run("train", line, "--target", "y", "--hidden", "none", "--learning-rate", 0.1, "--max-iter", 300)
    assert out.splitlines()[-3].endswith(", settled, in units of the standard deviation of y")
    assert "not saved" in out.splitlines()[-2]
    assert out.splitlines()[-1] == "held-out R2 1.000"


def test_the_saved_network_takes_raw_columns_by_name(run, line, tmp_path):
    model = tmp_path / "model.safetensors"
    assert run("train", line, "--target", "y", "--out", model, "--hidden", "none", "--learning-rate", 0.1)[0] == 0
    net = MLP.load(model)
    assert net.feature_names_in_ == ["x", "noise"]
    slope = np.subtract(*net.predict(np.array([[100.0, 0.0], [99.0, 0.0]])))
    assert slope == pytest.approx(1e3, rel=0.05)  # that of the raw data
    x = np.array([99.0, 101.0])
    swapped = write_csv(tmp_path / "new.csv", ["comment", "noise", "x"], [["", "no number"], np.zeros(2), x])
    status, out, err = run("predict", model, swapped)
    assert (status, err) == (0, "")
    np.testing.assert_allclose([float(y) for y in out.split()[1:]], 1e3 * x, rtol=1e-3)
    assert out.split() == ["prediction"] + [str(y) for y in net.predict(np.column_stack([x, np.zeros(2)]))]


def test_predictions_are_labels_or_probabilities_on_the_screen_or_in_a_file(run, blobs, tmp_path):
    model, table = tmp_path / "model.safetensors", tmp_path / "out.csv"
    run("train", blobs, "--target", "kind", "--out", model, "--max-iter", 60)
    _, out, _ = run("predict", model, blobs)
    assert out.splitlines() == ["prediction", *["cat", "dog", "eel"] * 30]
    assert run("predict", model, blobs, "--out", table) == (0, "", "")
    assert table.read_text() == out
    _, out, _ = run("predict", model, blobs, "--proba")
    rows = list(csv.reader(out.splitlines()))
    assert rows[0] == ["cat", "dog", "eel"]
    np.testing.assert_allclose(np.array(rows[1:], dtype=float).sum(axis=1), 1, rtol=1e-12)


def test_any_backend_predicts_from_the_same_file(run, blobs, tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # on nets this small, threads only wait for each other
    model = tmp_path / "model.safetensors"
    status, out, _ = run("train", blobs, "--target", "kind", "--out", model, "--max-iter", 60, "--backend", "torch")
    assert status == 0
    assert "torch" in out
    assert run("predict", model, blobs, "--backend", "torch", "--device", "cpu")[1] == run("predict", model, blobs)[1]


def test_the_same_seed_gives_the_same_network(run, blobs, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train", blobs, "--target", "kind", "--out", tmp_path / name, "--seed", seed, "--max-iter", 3)
    a, b, c = (MLP.load(tmp_path / name).coefs_[0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_with_the_defaults(run, seed):
    pytest.importorskip("sklearn")
    status, out, _ = run("train", "digits", "--seed", seed)
    assert status == 0
    assert float(out.split()[-1]) >= 0.97


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "no.csv"], "no.csv: there is no such file, and no such data set"),
        (["train", "{blobs}"], "say with --target which column to predict; there are width, height, kind"),
        (["train", "{blobs}", "--target", "x"], "there is no column 'x'; the columns are width, height, kind"),
        (["train", "{blobs}", "--target", "kind", "--task", "regression"], "column 'kind' must have finite numbers"),
        (["train", "{blobs}", "--target", "kind", "--out", "no/m"], "--out no/m: there is no folder no"),
        (["train", "{blobs}", "--target", "kind", "--hidden", "0"], "hidden_layer_sizes[0] must be a whole number"),
        (["train", "{blobs}", "--target", "kind", "--max-iter", "0"], "max_iter must be a whole number"),
        (["train", "{blobs}", "--target", "kind", "--alpha", "-1"], "alpha must be a number of at least 0"),
        (["train", "{blobs}", "--target", "kind", "--held-out", "1"], "--held-out must be a number between 0 and 1"),
        (["train", "{blobs}", "--target", "kind", "--backend", "abacus"], "unknown backend 'abacus'"),
        (["train", "{blobs}", "--target", "kind", "--device", "cuda"], "NumPy has no device but 'cpu', got 'cuda'"),
        (["train", "{blobs}", "--target", "kind", "--learning-rate", "1e300"], "infinite or NaN in epoch 1"),
        (["predict", "no.safetensors", "{blobs}"], "no.safetensors: No such file or directory"),
        (["predict", "{blobs}", "{blobs}"], "is no safetensors file"),
    ],
)
def test_errors_that_the_user_can_correct_are_one_line_and_no_traceback(run, blobs, argv, message):
    status, _, err = run(*(blobs if a == "{blobs}" else a for a in argv))
    assert status == 2
    assert err.startswith("xbackprop: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_lists_the_commands_and_explains_each(capsys, name):
    for argv in (["--help"], [name, "--help"]):
        with pytest.raises(SystemExit) as caught:
            main.main(argv)
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert name in out
        assert main.COMMANDS[name].HELP in " ".join(out.split())


@pytest.mark.parametrize("argv", [["--hidden", "5,x"], ["--batch-size", "some"], ["--activation", "sine"]])
def test_options_that_make_no_sense(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main.main(["train", "iris", *argv])
    assert caught.value.code == 2
    assert f"argument {argv[0]}: " in capsys.readouterr().err


def test_a_gradient_that_is_wrong_stops_the_training(run, blobs, monkeypatch):
    def wrong(*args, **kwargs):
        raise GradientCheckError("MLP.gradient_check: the relative error is 1")

    monkeypatch.setattr(MLP, "gradient_check", wrong)
    status, out, err = run("train", blobs, "--target", "kind", "--plain")
    assert (status, err) == (1, "xbackprop: error: MLP.gradient_check: the relative error is 1\n")
    assert "epoch" not in out


def test_ctrl_c(run, blobs, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLP, "fit", interrupted)
    status, _, err = run("train", blobs, "--target", "kind", "--plain")
    assert (status, err) == (130, "xbackprop: interrupted\n")


def test_backends(run):
    status, out, _ = run("backends")
    assert status == 0
    assert f"numpy     {np.__version__}" in out
    assert {line.split()[0] for line in out.splitlines()} >= {"cupy", "numpy", "torch"}


def test_in_a_shell(blobs):
    """As a process: the module runs, warnings do not show, and a reader that leaves early is no error."""
    command = [sys.executable, "-m", "xbackprop"]
    done = subprocess.run(
        [*command, "train", blobs, "--target", "kind", "--max-iter", "2"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("held-out accuracy ")
    with subprocess.Popen([*command, "backends"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_complexity_prints_a_table_of_operations_and_bytes(run):
    status, out, err = run("complexity", "100,50,10", "--batch-size", 20, "--checkpoint-activations", "sqrt")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "100-50-10, batches of 20, float32, every layer kept"
    assert lines[3].split()[:2] == ["forward", "110,000"]  # 20 (100·50 + 50·10)
    assert lines[4].split()[:2] == ["backward", "120,000"]  # and 20 · 50 · 10 for δ_1
    assert lines[-1].endswith("e9 multiply-adds/s measured here")
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("sizes", ["100", "100,0", "a,b"])
def test_complexity_of_no_network_is_an_error(run, sizes, capsys):
    try:
        status, _, err = run("complexity", sizes)
    except SystemExit as error:
        status, err = error.code, capsys.readouterr().err
    assert status == 2
    assert "sizes" in err.lower()


def test_an_unknown_option_shows_the_usage_of_its_command(capsys):
    for option in ("--colour=red", "--held=0.2"):  # an abbreviation is no option either
        with pytest.raises(SystemExit) as caught:
            main.main(["train", "iris", option])
        err = capsys.readouterr().err
        assert caught.value.code == 2
        assert err.startswith("usage: xbackprop train ")
        assert f"xbackprop train: error: unrecognized arguments: {option}" in err


def test_a_time_in_milliseconds_is_learned_in_float32(run, tmp_path):
    """The standardisation is applied in float64, before the digits are rounded away."""
    t = np.linspace(0, 6e4, 300)
    table = write_csv(tmp_path / "times.csv", ["t", "y"], [1.7e12 + t, np.sin(t / 2e4)])
    model = tmp_path / "model.safetensors"
    status, out, _ = run("train", table, "--target", "y", "--dtype", "float32", "--out", model, "--learning-rate", 0.01)
    assert status == 0
    assert float(out.split()[-1]) > 0.98
    _, out, _ = run("predict", model, table)
    np.testing.assert_allclose([float(y) for y in out.split()[1:]], np.sin(t / 2e4), rtol=0, atol=0.2)


def test_threads_of_the_command(run, blobs, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "MLP", lambda *a, **how: seen.append(how["threads"]) or MLP(*a, **how))
    assert run("train", blobs, "--target", "kind", "--max-iter", 2, "--threads", 1)[0] == 0
    assert set(seen) == {1}
    status, _, err = run("train", blobs, "--target", "kind", "--threads", 0)
    assert (status, "threads must be a whole number of at least 1, got 0" in err) == (2, True)


def line_of(out, label):
    return next(text for text in out.splitlines() if text.startswith(label))


def test_the_backend_is_chosen_by_the_work_and_the_reason_is_said(run, blobs, monkeypatch):
    """Where the user names none; the model is the same to rounding."""
    pytest.importorskip("numba", reason="numba is the backend to choose")
    monkeypatch.delenv("XBACKPROP_BACKEND", raising=False)
    options = ["train", blobs, "--target", "kind", "--max-iter", 2, "--hidden", "4"]
    assert line_of(run(*options)[1], "backend").startswith("backend    numpy ")
    monkeypatch.setattr(backend_choice, "START_UP", 0.0)
    chosen = run(*options)[1]
    assert re.search(r"^backend    numba .*; chosen for up to 0 s of work, --backend numpy would", chosen, re.M)
    named = run(*options, "--backend", "numpy")[1]
    assert line_of(named, "backend").startswith("backend    numpy ")
    assert ";" not in line_of(named, "backend")
    assert line_of(named, "loss") == line_of(chosen, "loss")


def test_a_backend_that_would_be_faster_is_named(run, blobs, monkeypatch):
    def without(name, device=None, like=None):
        if name == "numba":
            raise BackendError("not installed")
        return get_backend(name, device, like)

    monkeypatch.delenv("XBACKPROP_BACKEND", raising=False)
    monkeypatch.setattr(backend_choice, "START_UP", 0.0)
    monkeypatch.setattr(backend_choice, "get_backend", without)
    _, out, _ = run("train", blobs, "--target", "kind", "--max-iter", 2, "--hidden", "4")
    assert "numpy" in line_of(out, "backend")
    assert line_of(out, "backend").endswith("; numba, which is not installed, would be faster for up to 0 s of work")
