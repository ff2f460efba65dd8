"""Tables that stay in files train as arrays do, in bounded memory, and what is wrong in them is named by its place."""

import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import scipy.sparse
from helpers import problem, weights_of

import xbackprop
from xbackprop.data import batches, on_disk
from xbackprop.data.on_disk import OnDisk

N = 90


class File:
    """A table as HDF5 has it: it gives slices, and rows by ascending numbers, and counts what is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all()
        part = self.array[rows]
        self.read = max(self.read, len(part))
        return part


@pytest.fixture
def samples():
    X, y = problem("classification", n=N)
    return 3.0 * X + 5.0, y


def trained(X, y, *, validation_data=None, **settings):
    given = {"max_iter": 4, "batch_size": 16, "tol": 0.0, "n_iter_no_change": 9, "random_state": 0, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return xbackprop.MLP((6,), **given).fit(X, y, validation_data=validation_data)


def equal(a, b, rtol=1e-10):
    for one, other in zip(weights_of(a), weights_of(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(
    "settings", [{}, {"shuffle": False}, {"shuffle": "blocks"}, {"scale_inputs": True}, {"early_stopping": True}]
)
def test_a_file_trains_as_the_array_does(backend, settings, samples):
    X, y = samples
    file = File(X)
    plain, net = (trained(table, y, backend=backend, **settings) for table in (X, file))
    equal(net, plain)
    np.testing.assert_allclose(net.loss_curve_, plain.loss_curve_, rtol=1e-10)
    assert file.read <= (16 if not settings.get("scale_inputs") else N)
    np.testing.assert_allclose(net.predict_proba(file), plain.predict_proba(X), rtol=1e-9)
    assert net.score(file, y) == plain.score(X, y)


@pytest.mark.parametrize("as_table", [File, scipy.sparse.csr_array], ids=["file", "sparse"])
@pytest.mark.parametrize("how", ["validation_data", "early_stopping"])
def test_held_out_rows_are_read_anew_when_they_would_fill_the_memory(as_table, how, backend, samples, monkeypatch):
    """So the memory does not grow with the rows that are held out; a sparse matrix of them does not become dense."""
    X, y = samples
    validation = {"validation_data": (X[::2], y[::2])} if how == "validation_data" else {}
    settings = {"early_stopping": True, "validation_fraction": 0.5, "backend": backend}
    plain = trained(X, y, **settings, **validation)
    monkeypatch.setattr("xbackprop.data.dataset.LARGE", 1)
    monkeypatch.setattr("xbackprop.mlp.early_stopping.rows_at_a_time", lambda _: 7)
    made = []
    monkeypatch.setattr(
        "xbackprop.data.batches.dense", lambda own, x, true=batches.dense: made.append(x.shape[0]) or true(own, x)
    )
    if validation:
        validation = {"validation_data": (as_table(X[::2]), y[::2])}
    net = trained(as_table(X), y, **settings, **validation)
    equal(net, plain)
    np.testing.assert_allclose(net.validation_scores_, plain.validation_scores_, rtol=1e-10)
    assert max(made) == 7


@pytest.mark.parametrize("dtype", ["float32", "int16", "float64"])
def test_numbers_of_any_kind_are_read_in_the_dtype_of_the_network(dtype, samples):
    X, y = samples[0].astype(dtype), samples[1]
    plain, net = trained(X, y, dtype="float32"), trained(File(X), y, dtype="float32")
    assert net.model_.dtype == "float32"
    equal(net, plain, 1e-5)


def test_large_memmaps_are_not_copied(samples, tmp_path, monkeypatch):
    X, y = samples
    kept = np.memmap(tmp_path / "X", dtype="float64", mode="w+", shape=X.shape)
    kept[:] = X
    reading = []
    monkeypatch.setattr(OnDisk, "toarray", lambda self, true=OnDisk.toarray: reading.append(self.shape) or true(self))
    plain = trained(X, y, scale_inputs=True)
    equal(trained(kept, y, scale_inputs=True), plain)
    assert not reading  # small ones are read as arrays are
    monkeypatch.setattr(on_disk, "LARGE", 1)
    monkeypatch.setattr("xbackprop.data.dataset.LARGE", 1)
    equal(trained(kept, y, scale_inputs=True), plain)
    assert reading
    reading.clear()
    equal(trained(kept, y), trained(X, y), 0.0)
    assert not reading  # NumPy's steps take rows of the mapping itself
    for a, b in zip(weights_of(trained(np.asarray(kept)[:, :], y)), weights_of(trained(X, y)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_what_is_not_finite_is_named_by_its_place(bad, samples):
    X, y = samples
    X = X.copy()
    X[71, 2] = bad
    with pytest.raises(ValueError, match=re.escape(f"MLP.fit: X must be finite, got {bad} at (71, 2)")):
        trained(File(X), y, dtype="float32")


def test_shapes_are_checked(samples):
    X, y = samples
    net = trained(File(X), y)
    with pytest.raises(ValueError, match=r"MLP.predict: X must have shape \(n_samples, 4\), got \(90, 3\)"):
        net.predict(File(X[:, :3]))
    with pytest.raises(ValueError, match=r"y must have shape \(90,\)"):
        trained(File(X), y[:-1])


def test_mean_and_deviation_come_from_one_pass(monkeypatch):
    rng = np.random.RandomState(0)
    X = np.column_stack([1e9 + rng.standard_normal(1000), np.full(1000, 7.0), 1e-3 * rng.standard_normal(1000)])
    monkeypatch.setattr(on_disk, "CHUNK", 64)
    mean, deviation = OnDisk("test", File(X)).measure()
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(deviation, [X[:, 0].std(), 1.0, X[:, 2].std()], rtol=1e-6)


def test_estimators_read_files_too(samples):
    pytest.importorskip("sklearn", reason="it is about the estimators")
    X, y = samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [xbackprop.MLPClassifier((6,), max_iter=3, batch_size=16, random_state=0) for _ in range(2)]
        plain, net = (one.fit(table, y) for one, table in zip(made, (X, File(X)), strict=True))
    np.testing.assert_allclose(net.predict_proba(File(X)), plain.predict_proba(X), rtol=1e-9)


def test_many_networks_share_a_file(samples):
    X, y = samples
    rows = [np.arange(0, N, 2), np.arange(1, N, 2)]
    made = [xbackprop.MLP((6,), max_iter=3, tol=0.0, random_state=i, backend="numpy") for i in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = [net.fit(X[r], y[r]) for net, r in zip(made[:2], rows, strict=True)]
        together = xbackprop.fit_many(
            [xbackprop.MLP((6,), max_iter=3, tol=0.0, random_state=i, backend="numpy") for i in range(2)],
            data=[(File(X[r]), y[r]) for r in rows],
        )
    for a, b in zip(alone, together, strict=True):
        equal(a, b)


@pytest.mark.parametrize("library", ["h5py", "zarr"])
def test_hdf5_and_zarr(library, samples, tmp_path):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    X, y = samples
    plain = trained(X, y, scale_inputs=True)
    if library == "h5py":
        with module.File(tmp_path / "X.h5", "w") as file:
            equal(trained(file.create_dataset("X", data=X, chunks=(8, 4)), y, scale_inputs=True), plain)
        return
    stored = module.open(str(tmp_path / "X.zarr"), mode="w", shape=X.shape, chunks=(8, 4), dtype="f8")
    stored[:] = X
    equal(trained(stored, y, scale_inputs=True), plain)


def test_a_file_larger_than_the_memory_that_it_may_take(tmp_path):
    """RssAnon is what a process has of its own; pages of a mapped file are the system's to take back."""
    pytest.importorskip("resource", reason="Linux alone says how much memory is anonymous")
    script = textwrap.dedent(f"""
        import threading, time, warnings
        import numpy as np
        import xbackprop
        from xbackprop.data import dataset, on_disk

        warnings.simplefilter("ignore")
        dataset.LARGE, on_disk.CHUNK = 2**20, 4096
        n, k = 200_000, 200  # 160 MB in float32, 320 MB as it would be scaled
        X = np.lib.format.open_memmap({str(tmp_path / "X.npy")!r}, mode="w+", dtype=np.float32, shape=(n, k))
        rng = np.random.default_rng(0)
        for start in range(0, n, 10_000):
            X[start : start + 10_000] = rng.standard_normal((10_000, k), dtype=np.float32)
        y = (np.arange(n) % 2).astype(float)

        def anonymous():
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

        def watch():
            while True:
                most[0] = max(most[0], anonymous())
                time.sleep(0.005)

        before, most = anonymous(), [0.0]
        threading.Thread(target=watch, daemon=True).start()
        net = xbackprop.MLP((8,), task="regression", scale_inputs=True, batch_size=256, max_iter=2, random_state=0)
        net.fit(X, y).predict(X)
        print(most[0] - before)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 80.0  # MB: a quarter of what is scaled


def test_the_next_batch_is_handed_over_as_the_backend_wants_it(samples, backend):
    handed = []

    class Staging(type(backend)):
        def stage(self, x):
            handed.append(type(x))
            return super().stage(x)

    staging = Staging.__new__(Staging)
    vars(staging).update(vars(backend))
    equal(trained(File(samples[0]), samples[1], backend=staging), trained(*samples, backend=backend))
    assert handed == [np.ndarray] * 4 * -(-N // 16)
