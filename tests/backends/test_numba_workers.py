"""Several workers take a step: they end where one ends, on as many threads as there may be, and none waits for ever."""

import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import blas_threads, problem, weights_of, workers_of_a_step

import xbackprop
from xbackprop.arrays.discovery import backend_class

pytest.importorskip("numba", reason="numba is not installed")
compiled = importlib.import_module("xbackprop_numba.backend")
team = importlib.import_module("xbackprop_numba.workers").team

pytestmark = [pytest.mark.backends("numba"), pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")]

X, Y = problem("classification", n=60)
EVERYTHING = {"alpha": 0.1, "l1_ratio": 0.5, "clip_norm": 0.1, "dropout": 0.3, "ema_decay": 0.9}


def make(seed=0, **how):
    """A network with a layer that is wider than the batch."""
    return xbackprop.MLP((30, 8), batch_size=20, max_iter=5, random_state=seed, tol=0.0, backend="numba", **how)


def fit_on(workers, **how):
    with workers_of_a_step(workers):
        return make(**how).fit(X, Y)


@pytest.mark.parametrize("how", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("workers", [2, 3, 7])
def test_any_number_of_workers_ends_where_one_ends(how, workers):
    alone, together = fit_on(1, **how), fit_on(workers, **how)
    np.testing.assert_allclose(together.loss_curve_, alone.loss_curve_, rtol=1e-13)
    for a, b in zip(weights_of(together), weights_of(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("limit", "rows", "n_weights", "steps", "expected"),
    [
        (4, 256, 10**5, 100, 4),
        (2, 256, 10**5, 100, 2),
        (1, 256, 10**5, 100, 1),
        (4, 20, 10**5, 100, 1),  # too few rows to share
        (4, 200, 10, 10**6, 1),  # a step that is over sooner than a meeting
        (4, 256, 10**4, 1, 1),  # an epoch that is over sooner than a team is called
    ],
)
def test_a_team_is_as_large_as_pays_and_as_the_limit_allows(limit, rows, n_weights, steps, expected, monkeypatch):
    monkeypatch.setattr(sys.modules["xbackprop_numpy"], "CORES", 8)
    with backend_class("numba")().threads(limit):
        assert compiled.workers_for(rows, n_weights, steps) == expected


def test_blas_keeps_to_one_thread_in_each_worker_and_then_has_its_own_again():
    with backend_class("numba")().threads(2):
        seen, before = [], blas_threads()
        team.run(3, lambda worker, _: seen.append((worker, blas_threads())))
        assert sorted(seen) == [(worker, {1}) for worker in range(3)]
        assert blas_threads() == before == {2}


def test_networks_that_are_trained_at_once_wait_for_each_others_teams():
    alone = [fit_on(3, seed=seed) for seed in range(4)]
    with workers_of_a_step(3), ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda seed: make(seed).fit(X, Y), range(4)))
    for a, b in zip(at_once, alone, strict=True):
        for ours, theirs in zip(weights_of(a), weights_of(b), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_error_before_all_have_begun_lets_the_others_go(error, monkeypatch):
    """Those that have begun wait for the others, who will never come."""
    expected = weights_of(fit_on(3))
    submit = ThreadPoolExecutor.submit

    def interrupted(pool, task, worker, arrivals):
        if worker == 2:
            raise error
        return submit(pool, task, worker, arrivals)

    with monkeypatch.context() as patched:
        patched.setattr(ThreadPoolExecutor, "submit", interrupted)
        with pytest.raises(MemoryError) if error is MemoryError else pytest.warns(RuntimeWarning, match="interrupted"):
            fit_on(3)
    for a, b in zip(weights_of(fit_on(3)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


FORK = """
import os, warnings
warnings.simplefilter("ignore")
from test_numba_workers import fit_on

fit_on(2)
if not (child := os.fork()):
    fit_on(2)
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_team_of_its_own():
    """It has none of its parent's threads, and would wait for them for ever."""
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{FORK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == ["0"], done.stderr
