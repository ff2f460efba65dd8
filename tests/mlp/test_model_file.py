"""Model files: what is written comes back, bit for bit, on any backend; what is damaged or foreign is refused."""

import os
import pickle

import numpy as np
import pytest
from helpers import problem
from model_files import assert_same_network, contents, fitted

import xbackprop
from xbackprop import MLP, Activation, ModelFileError
from xbackprop.mlp import tensor_file

tasks = pytest.mark.parametrize("task", ["classification", "regression"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def assert_same_file(one, other):
    assert one.read_bytes() == other.read_bytes()


@tasks
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_backend_reads_what_any_other_wrote(backend, task, dtype, path, tmp_path):
    """Whoever writes, the file holds the same, so that one reader stands for all."""
    X, y = problem(task)
    settings = {"hidden_layer_sizes": (6, 5), "task": task, "dtype": dtype, "random_state": 0}
    there, here = (MLP(**settings, backend=b).initialize(X, y) for b in (backend, "numpy"))
    there.save(path)
    here.save(tmp_path / "numpy.safetensors")
    assert_same_file(path, tmp_path / "numpy.safetensors")

    again = MLP.load(path, backend=backend)
    assert_same_network(again, there)
    np.testing.assert_array_equal(again.predict(X), there.predict(X))
    assert again.dtype == dtype


@tasks
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)], ids=str)
def test_everything_that_was_fitted_comes_back(task, hidden, path):
    X, _ = problem(task)
    net = fitted(task, hidden_layer_sizes=hidden, activation="gelu", alpha=np.float64(0.5), batch_size=np.int64(7))
    net.save(str(path))
    again = MLP.load(path)
    assert_same_network(again, net)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert again.loss_curve_ == net.loss_curve_
    assert again.n_iter_ == net.n_iter_ == 3
    assert (again.n_features_in_, again.n_outputs_) == (4, 3)
    assert (tuple(again.hidden_layer_sizes), again.activation, again.alpha, again.batch_size) == (
        hidden,
        "gelu",
        0.5,
        7,
    )
    assert (again.task, again.max_iter, again.random_state, again.tol) == (task, 3, 0, net.tol)


def test_a_file_holds_the_network_that_was_fitted_whatever_its_settings_say_since(path):
    X, _ = problem("classification")
    for name, value in (
        ("activation", "tanh"),
        ("hidden_layer_sizes", (3,)),
        ("task", "regression"),
        ("dtype", "float32"),
    ):
        net = fitted(activation="relu")
        setattr(net, name, value)  # for the next fit
        net.save(path)
        again = MLP.load(path)
        assert_same_network(again, net)
        np.testing.assert_array_equal(again.predict(X), net.predict(X))


def test_a_loaded_network_goes_on(path):
    """It checks its gradient, trains anew, and saves the same file again."""
    X, y = problem("classification")
    net = fitted(activation="tanh")
    net.save(path)
    again = MLP.load(path)
    assert again.gradient_check(X, y) < 1e-7
    again.save(path.with_name("again.safetensors"))
    assert_same_file(path, path.with_name("again.safetensors"))
    with pytest.warns(xbackprop.ConvergenceWarning):
        again.fit(X, y)
    assert_same_network(again, net)


def test_the_vector_or_the_table_that_y_was(path):
    X, y = problem("regression")
    for target, shape in ((y[:, 0], (12,)), (y[:, :1], (12, 1))):
        fitted("regression", target).save(path)
        assert MLP.load(path).predict(X).shape == shape


LABELS = {
    "text": ["no", "pérhaps", "yes"], "objects": np.array(["b", "", "c"], dtype=object), "bool": [True, False],
    "int64": [-7, 2**62, 3], "float": [0.1, -1.5, 1e300], "float32": np.array([0.1, 0.2], dtype=np.float32),
    "uint8": np.array([200, 3], dtype=np.uint8), "uint64": np.array([2**64 - 1, 3], dtype=np.uint64),
    "days": np.array(["2020-01-01", "1999-12-31"], dtype="datetime64[D]"),
    "spans": np.array([5, -5], dtype="timedelta64[ns]"), "big-endian": np.array([1, 2], dtype=">i4"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind, path):
    labels = np.sort(np.asarray(LABELS[kind]))
    X, numbers = problem("classification", outputs=len(labels))
    net = fitted(y=labels[numbers])
    net.save(path)
    again = MLP.load(path)
    assert again.classes_.dtype == net.classes_.dtype
    np.testing.assert_array_equal(again.classes_, net.classes_)
    np.testing.assert_array_equal(again.predict(X), net.predict(X))


def test_labels_that_no_json_holds_are_refused_and_nothing_is_written(path):
    net = fitted(y=np.array([b"a", b"b", b"c"])[problem("classification")[1]])
    with pytest.raises(ValueError, match=r"^MLP\.save: labels must be numbers, text or dates .*got dtype .*S1"):
        net.save(path)
    assert not list(path.parent.iterdir())


def test_the_columns_of_a_frame_are_remembered(path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: frames are accepted, not required")
    X, y = problem("classification")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    with pytest.warns(xbackprop.ConvergenceWarning):
        MLP((3,), max_iter=1).fit(frame, y).save(path)
    again = MLP.load(path)
    assert list(again.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="X must have the columns"):
        again.predict(frame[["b", "a", "c", "d"]])


def test_strided_weights_are_stored_right(path):
    """safetensors writes what lies in memory, whatever the strides say (its issue 825)."""
    rng = np.random.RandomState(0)
    W, b = rng.standard_normal((3, 5)).T, rng.standard_normal((1, 8))[:, ::-2][:, :3]
    tensor_file.write_tensors(path, {"coefs.0": W, "intercepts.0": b}, {})
    tensors, _ = contents(path)
    np.testing.assert_array_equal(tensors["coefs.0"], W)
    np.testing.assert_array_equal(tensors["intercepts.0"], b)


def test_tensors_have_the_documented_names_and_shapes(path):
    net = fitted()
    net.save(path)
    tensors, metadata = contents(path)
    assert metadata["format"] == "xbackprop"
    assert int(metadata["format_version"]) == tensor_file.FORMAT_VERSION
    for l in range(3):
        np.testing.assert_array_equal(tensors[f"coefs.{l}"], net.coefs_[l])
        np.testing.assert_array_equal(tensors[f"intercepts.{l}"], net.intercepts_[l])
    assert len(tensors) == 6


MINE = Activation(lambda xp, z: xp.tanh(z), lambda xp, z, h: 1.0 - h * h, name="mine")


def test_a_users_activation_is_asked_for_by_its_name(path):
    X, _ = problem("classification")
    net = fitted(activation=["relu", MINE])
    net.save(path)
    with pytest.raises(ModelFileError, match=r"activation 'mine'.*MLP\.load\(path, activations=\["):
        MLP.load(path)
    again = MLP.load(path, activations=[MINE])
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


# Writing.


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod"])
def test_if_writing_fails_the_old_file_is_still_there(function, path, monkeypatch):
    fitted().save(path)
    before = path.read_bytes()
    net = fitted(random_state=1)

    def fail(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(OSError, match="the disk is full"):
            net.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    net.save(path)
    assert path.read_bytes() != before


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_mode_of_the_file_is_the_umasks(mask, mode, path):
    before = os.umask(mask)
    try:
        fitted().save(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted().save("net.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_no_pickle_is_written_or_read(path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a pickle")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    net = fitted()
    net.save(path)
    assert_same_network(MLP.load(path), net)
