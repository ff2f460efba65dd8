"""The setting `threads`: what is limited, for how long, and that it changes no result."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers import blas_threads, problem, weights_of

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.arrays.threads import quota
from xbackprop.optim.optimizers import sgd_step


def fit(backend, callback=None, **how):
    X, y = problem("classification", n=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        net = xbackprop.MLP((6,), max_iter=2, batch_size=10, random_state=0, backend=backend, **how)
        return net.fit(X, y, callback=callback)


def test_training_within_a_number_of_threads_is_training(backend):
    if backend.name == "jax":
        with pytest.raises(xbackprop.BackendError, match=r"threads: JAX takes its threads .* cannot be held to 1"):
            fit(backend, threads=1)
        return
    for one, any_number in zip(weights_of(fit(backend, threads=1)), weights_of(fit(backend)), strict=True):
        np.testing.assert_allclose(one, any_number, rtol=0, atol=1e-12)


def test_numpys_blas_is_limited_while_it_trains_and_no_longer():
    seen, before = [], blas_threads()
    fit("numpy", lambda _: seen.append(blas_threads()), threads=1)
    assert seen == [{1}, {1}]
    assert blas_threads() == before


def test_torchs_threads_are_limited_while_it_trains_and_no_longer():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    seen, before = [], torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        fit("torch", lambda _: seen.append(torch.get_num_threads()), threads=1)
        assert seen == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_large_updates_keep_to_the_limit(monkeypatch):
    """An update of more than THREADED_SIZE elements goes to as many threads as there may be, and to none but them."""
    backend = backend_class("numpy")()
    module = sys.modules[type(backend).__module__]
    monkeypatch.setattr(module, "CORES", 3)
    shares = []

    class Pool:
        def map(self, run, firsts, lasts):
            shares.append(len(firsts))
            return [run(first, last) for first, last in zip(firsts, lasts, strict=True)]

    monkeypatch.setattr(module, "_threads", Pool)
    theta, g = np.zeros(module.THREADED_SIZE + 5), np.ones(module.THREADED_SIZE + 5)
    step = backend.bind(sgd_step)
    for n in (3, 2, 1):
        with backend.threads(n):
            step(theta, g, 1.0)
    assert shares == [3, 2]
    np.testing.assert_array_equal(theta, -3.0)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, np.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, np.inf),
        ({}, np.inf),
    ],
)
def test_a_containers_limit_is_read(files, expected, tmp_path):
    """Threads beyond it would only wait until the container may run again. The files are as the kernel writes them."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert quota(tmp_path) == expected


def test_a_worker_of_joblibs_takes_its_share_of_the_cores():
    """It is told how many by these variables."""
    code = "import xbackprop_numpy; print(xbackprop_numpy.CORES)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert out.stdout.strip() == "1", out.stderr


FORK = """
import os, numpy as np
import xbackprop_numpy
from xbackprop.optim.optimizers import sgd_step

xbackprop_numpy.CORES = 2
backend = xbackprop_numpy.NumpyBackend()

def update():
    theta = np.ones(xbackprop_numpy.THREADED_SIZE)
    with backend.threads(2):
        (theta,) = backend.bind(sgd_step)(theta, np.ones_like(theta), 0.25)
    assert (theta == 0.75).all()

update()
if not (child := os.fork()):
    update()
    os._exit(0)
print(os.waitpid(child, 0)[1])
update()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_makes_threads_of_its_own():
    """The child's first update took the pool of its parent, whose threads it does not have, and waited for ever."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0"]


def test_torch_takes_one_thread_for_small_steps_and_its_own_number_for_large_ones():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_num_threads()
    X, y = problem("classification", n=2000)
    seen = {}
    try:
        torch.set_num_threads(2)
        for batch_size, units in ((20, 8), (2000, 1000)):
            net = xbackprop.MLP((units,), max_iter=1, batch_size=batch_size, backend="torch", tol=0.0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
                net.fit(X, y, callback=lambda _, units=units: seen.__setitem__(units, torch.get_num_threads()))
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {8: 1, 1000: 2}
