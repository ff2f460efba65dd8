"""Stopping and going on: warm starts, partial fits, checkpoints, Ctrl-C, and runs that are killed."""

import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from helpers import problem, weights_of

import xbackprop
from xbackprop import MLP
from xbackprop.training.checkpoints import FILE

# Everything that a run remembers: moments, dropout, the order of the rows, a schedule, held-out rows.
FULL = {
    "hidden_layer_sizes": (7, 5), "activation": "tanh", "batch_size": 8, "dropout": 0.2, "random_state": 3, "tol": 0.0,
    "n_iter_no_change": 1000, "learning_rate": "cosine", "warmup": 2.0, "solver": "adamw",
}  # fmt: skip
CASES = {
    "all of it": {},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25},
    "adaptive": {"learning_rate": "adaptive", "solver": "sgd", "tol": 1e-1, "n_iter_no_change": 2},
    "rmsprop": {"solver": "rmsprop", "dropout": 0.0},
    "rows as they are": {"shuffle": False, "solver": "adagrad"},
}
cases = pytest.mark.parametrize("case", CASES)


def quiet(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments)


def same(a, b):
    for ours, theirs in zip(weights_of(a), weights_of(b), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert a.loss_curve_ == b.loss_curve_
    assert getattr(a, "validation_scores_", None) == getattr(b, "validation_scores_", None)


@cases
def test_a_run_in_two_pieces_is_a_run_in_one(backend, tmp_path, case):
    """A first process that ends after 5 epochs, a second one that resumes: bitwise."""
    X, y = problem("classification", n=40)
    settings = {**FULL, **CASES[case], "backend": backend}
    whole = quiet(MLP(max_iter=12, **settings).fit, X, y)

    class Stop(Exception):
        pass

    def stop(epoch):
        if epoch.number == 6:
            raise Stop

    begun = MLP(max_iter=12, checkpoint=tmp_path, **settings)
    with pytest.raises(Stop):
        begun.fit(X, y, callback=stop)
    again = MLP(max_iter=12, checkpoint=tmp_path, resume=True, **settings)
    quiet(again.fit, X, y)
    same(again, whole)
    assert again.n_iter_ == whole.n_iter_
    finished = MLP(max_iter=12, checkpoint=tmp_path, resume=True, **settings)
    quiet(finished.fit, X, y)  # nothing is left to do
    same(finished, whole)


@pytest.mark.parametrize("case", ["all of it", "adaptive", "rmsprop", "rows as they are"])
def test_two_warm_starts_are_one_run(backend, case):
    X, y = problem("classification", n=40)
    settings = {**FULL, **CASES[case], "backend": backend}
    if settings["learning_rate"] == "cosine":
        settings["learning_rate"] = "step"  # cosine and one_cycle depend on how long the run is to be
    whole = quiet(MLP(max_iter=12, **settings).fit, X, y)
    net = MLP(max_iter=6, warm_start=True, **settings)
    quiet(net.fit, X, y)
    assert net.n_iter_ == 6
    quiet(net.fit, X, y)
    same(net, whole)


def test_without_warm_start_fit_starts_anew(backend):
    X, y = problem("classification", n=40)
    net = MLP(max_iter=3, backend=backend, **FULL)
    first = weights_of(quiet(net.fit, X, y))
    for ours, theirs in zip(weights_of(quiet(net.fit, X, y)), first, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_partial_fits_are_epochs(backend):
    X, y = problem("classification", n=40)
    settings = {**FULL, "learning_rate": "constant", "backend": backend}
    whole = quiet(MLP(max_iter=4, **settings).fit, X, y)
    net = MLP(max_iter=4, **settings)
    for _ in range(4):
        assert net.partial_fit(X, y) is net
    same(net, whole)


def test_partial_fit_may_meet_the_classes_bit_by_bit(backend):
    X, _ = problem("classification", n=40)
    y = X[:, :3].argmax(axis=1)
    net = MLP((5,), learning_rate_init=0.02, backend=backend, random_state=0)
    net.partial_fit(X[y == 0], y[y == 0], classes=[0, 1, 2])
    for _ in range(100):
        net.partial_fit(X, y)
    assert net.score(X, y) > 0.6
    with pytest.raises(ValueError, match=r"^MLP\.partial_fit: y must have the labels of fit, 0, 1, 2, got"):
        net.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match=r"^MLP\.partial_fit: cannot be used with .*early_stopping"):
        MLP(early_stopping=True).partial_fit(X, y)


def test_ctrl_c_keeps_the_weights_of_the_last_whole_epoch(backend):
    X, y = problem("classification", n=40)
    settings = {**FULL, "learning_rate": "constant", "backend": backend}
    whole = quiet(MLP(max_iter=4, **settings).fit, X, y)

    def interrupt(epoch):
        if epoch.number == 4:
            raise KeyboardInterrupt

    net = MLP(max_iter=50, **settings)
    with pytest.warns(RuntimeWarning, match=r"^MLP\.fit: interrupted; the network keeps the weights of epoch 4"):
        net.fit(X, y, callback=interrupt)
    for ours, theirs in zip(weights_of(net), weights_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    net.warm_start, net.max_iter = True, 2
    quiet(net.fit, X, y)
    assert net.n_iter_ == 2


def test_a_checkpoint_is_a_model_file(tmp_path):
    X, y = problem("classification", n=40)
    net = quiet(MLP(max_iter=4, checkpoint=tmp_path / "new" / "folder", **FULL).fit, X, y)
    loaded = MLP.load(tmp_path / "new" / "folder" / FILE)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    assert loaded.loss_curve_ == net.loss_curve_


def test_a_warm_start_goes_on_in_memory_whatever_the_file_says(tmp_path):
    X, y = problem("classification", n=40)
    settings = {**FULL, "learning_rate": "constant"}
    whole = quiet(MLP(max_iter=8, **settings).fit, X, y)
    net = MLP(max_iter=4, warm_start=True, checkpoint=tmp_path, resume=True, **settings)
    for _ in range(2):
        quiet(net.fit, X, y)
        assert net.n_iter_ == 4
    same(net, whole)
    net.partial_fit(X, y)
    assert len(net.loss_curve_) == 9


def test_how_often(tmp_path):
    X, y = problem("classification", n=40)

    def written(**how):
        path, seen = tmp_path / FILE, []
        net = MLP(max_iter=7, checkpoint=tmp_path, **FULL, **how)

        def look(epoch):
            if path.exists():
                seen.append(len(MLP.load(path).loss_curve_))

        quiet(lambda: net.fit(X, y, callback=look))
        seen.append(len(MLP.load(path).loss_curve_))
        path.unlink()
        return sorted(set(seen))

    assert written(checkpoint_epochs=3) == [3, 6, 7]
    assert written(checkpoint_minutes=60) == [7]  # the end is always written
    assert written(checkpoint_minutes=0) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_layer_sizes": (6, 5)}, "layers"),
        ({"alpha": 0.5}, "alpha"),
        ({"batch_size": 9}, "batch_size"),
        ({"solver": "sgd"}, "solver"),
    ],
)
def test_another_run_is_refused(tmp_path, change, words):
    X, y = problem("classification", n=40)
    quiet(MLP(max_iter=2, checkpoint=tmp_path, **FULL).fit, X, y)
    net = MLP(max_iter=2, checkpoint=tmp_path, resume=True, **{**FULL, **change})
    with pytest.raises(ValueError, match=rf"^MLP\.fit: .*is of another run: .*{words}"):
        net.fit(X, y)
    with pytest.raises(ValueError, match=r"^MLP\.fit: .*40 rows, where here are .* and 39"):
        MLP(max_iter=2, checkpoint=tmp_path, resume=True, **FULL).fit(X[1:], y[1:])


def test_what_cannot_be_resumed_is_said(tmp_path):
    with pytest.raises(ValueError, match="resume needs the folder"):
        MLP(resume=True)
    with pytest.raises(ValueError, match="'lbfgs' cannot be stopped and resumed"):
        MLP(solver="lbfgs", checkpoint=tmp_path)


SCRIPT = """
import sys, warnings
import numpy as np
from xbackprop import MLP
warnings.simplefilter("ignore")
rng = np.random.RandomState(0)
X, y = rng.standard_normal((400, 20)), rng.randint(3, size=400)
net = MLP((30,), max_iter=150, tol=0.0, n_iter_no_change=1000, dropout=0.1, random_state=0, checkpoint=sys.argv[1],
          resume=True, early_stopping=True, learning_rate="cosine")
print("begun", flush=True)
net.fit(X, y)
np.savez(sys.argv[2], *net.coefs_, *net.intercepts_, curve=net.loss_curve_, scores=net.validation_scores_)
"""


def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(tmp_path):
    """SIGKILL at random times, a dozen of them, in the midst of whatever it was doing."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def start(folder, result):
        command = [sys.executable, str(script), str(tmp_path / folder), str(tmp_path / result)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)

    with start("whole", "whole.npz") as process:
        process.communicate()
    assert process.returncode == 0
    rng, kills = np.random.RandomState(0), 0
    for _ in range(100):
        with start("killed", "killed.npz") as process:
            process.stdout.readline()  # it has imported what it needs
            if kills < 12:
                time.sleep(rng.uniform(0.01, 0.12))
                process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    whole, killed = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "killed"))
    assert set(whole) == set(killed)
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name])
    assert [p.name for p in (tmp_path / "killed").iterdir()] == [FILE]


def test_after_a_divergence_training_can_go_on(backend):
    X, y = problem("regression", n=40)
    how = {
        "task": "regression",
        "solver": "sgd",
        "batch_size": 8,
        "max_iter": 3,
        "tol": 0.0,
        "random_state": 0,
        "warm_start": True,
    }
    net = MLP((4,), backend=backend, learning_rate_init=0.01, **how)
    quiet(net.fit, X, y)
    net.learning_rate_init = 1e200
    with pytest.raises(xbackprop.DivergenceError):
        net.fit(X, y)
    net.learning_rate_init = 1e-4
    net.partial_fit(X, y)
    assert np.isfinite(net.loss_curve_).all()


@pytest.mark.parametrize(("first", "second"), [("sgd", "rmsprop"), ("rmsprop", "adagrad"), ("adagrad", "sgd")])
def test_another_solver_starts_with_moments_of_its_own(backend, first, second):
    X, y = problem("classification", n=40)
    net = MLP((4,), solver=first, max_iter=3, tol=0.0, random_state=0, warm_start=True, backend=backend)
    quiet(net.fit, X, y)
    net.solver = second
    quiet(net.fit, X, y)
    assert np.isfinite(net.loss_curve_).all()
    assert net._model.progress.state.t < net._model.progress.epoch * 2


def test_a_run_on_other_data_is_refused(backend, tmp_path):
    X, y = problem("classification", n=40)
    settings = {**FULL, "backend": backend, "max_iter": 2}
    quiet(MLP(checkpoint=tmp_path, **settings).fit, X, y)
    for others in ((-X, y), (X, (y + 1) % 3), (X[::-1].copy(), y[::-1].copy())):
        with pytest.raises(ValueError, match="of another run: its samples, weights or classes were others"):
            MLP(checkpoint=tmp_path, resume=True, **settings).fit(*others)


def test_a_scorer_that_fails_leaves_the_network_as_it_was(backend):
    X, y = problem("classification", n=40)
    net = MLP((4,), max_iter=5, random_state=0, backend=backend)
    before = weights_of(quiet(net.fit, X, y))
    curve = list(net.loss_curve_)
    net.early_stopping, net.scoring = True, lambda net, X, y: 1 / (3 - len(net.loss_curve_))
    with pytest.raises(ZeroDivisionError):
        net.fit(X, y)
    for ours, kept in zip(weights_of(net), before, strict=True):
        np.testing.assert_array_equal(ours, kept)
    assert net.loss_curve_ == curve
