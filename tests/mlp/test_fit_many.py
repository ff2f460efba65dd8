"""`fit_many`: each network ends where its own `fit` would have ended, in every way of training many."""

import re
import warnings

import numpy as np
import pytest
from helpers import problem
from numpy.random import RandomState

import xbackprop
from xbackprop import MLP, fit_many

EPOCHS = 20
WAYS = ("stack", "threads", "processes", "one by one")


@pytest.fixture(params=WAYS)
def way(request, backend, monkeypatch):
    """The backend, made to train many networks in this way."""
    if request.param == "threads" and backend.name not in ("numpy", "numba"):
        pytest.skip("threads are for a backend that computes without Python's lock; NumPy stands in for it")
    if request.param == "processes" and backend.library == "jax":
        pytest.skip("JAX has no processes: it must not be forked or started many times")
    chosen = request.param
    monkeypatch.setattr(backend, "together", lambda products: (chosen, 64))
    return backend


@pytest.fixture
def stacking(backend, monkeypatch):
    monkeypatch.setattr(backend, "together", lambda products: ("stack", 64))
    return backend


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return function(*arguments, **options)


def make(backend, hidden=(5, 4), **settings):
    usual = {"max_iter": EPOCHS, "batch_size": 7, "dtype": "float64", "learning_rate_init": 0.01, "random_state": 0}
    return MLP(hidden, "tanh", backend=backend, **usual | settings)


def different(backend):
    """Networks that differ in all that networks of one run may differ in."""
    full = {"dropout": 0.1, "clip_norm": 0.5, "l1_ratio": 0.2, "solver": "adamw"}
    return [
        *(make(backend, random_state=seed) for seed in range(3)),
        *(make(backend, learning_rate_init=rate, alpha=10 * rate) for rate in (1e-3, 3e-2)),
        *(make(backend, random_state=s, weight_decay=0.1 * s, alpha=0.1 * s + 0.1, **full) for s in range(3)),
        *(make(backend, learning_rate=rule, solver="sgd") for rule in ("cosine", "invscaling", "adaptive")),
        *(make(backend, early_stopping=True, n_iter_no_change=2, random_state=s, tol=0.01) for s in range(3)),
        make(backend, n_iter_no_change=1, tol=0.05),
        make(backend, shuffle=False),
        *(make(backend, hidden, batch_size=64) for hidden in [(3,), (), (3,)]),
        make(backend, solver="lbfgs", max_iter=4),
        make(backend, scale_inputs=True, label_smoothing=0.1, class_weight="balanced"),
    ]


def assert_equal(net, alone, tolerance=1e-9):
    """The weights, the curves, the epochs and the random stream."""
    backend = net.model_.backend
    assert net.n_iter_ == alone.n_iter_
    assert net.model_.progress.stop_reason == alone.model_.progress.stop_reason
    theta, expected = (np.array(backend.to_host(n.model_.theta)) for n in (net, alone))
    np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))
    np.testing.assert_allclose(net.loss_curve_, alone.loss_curve_, rtol=tolerance)
    if net.early_stopping:
        np.testing.assert_allclose(net.validation_scores_, alone.validation_scores_, rtol=tolerance)
    ours, its = (n.model_.progress.rng.get_state() for n in (net, alone))
    assert ours[2:] == its[2:]
    np.testing.assert_array_equal(ours[1], its[1])
    assert net.model_.progress.state.t == alone.model_.progress.state.t
    for mine, other in zip(net.model_.progress.state.moments, alone.model_.progress.state.moments, strict=True):
        assert tuple(mine.shape) == tuple(other.shape)


def folds(n, k):
    """Rows of unequal number, for each network."""
    return [RandomState(i).permutation(n)[: n - 3 - i % 3] for i in range(k)]


def test_each_ends_where_it_would_have_ended_alone(way):
    X, y = problem("classification", n=40)
    nets, alone = different(way), different(way)
    assert quiet(fit_many, nets, X, y) == nets
    for net, other in zip(nets, alone, strict=True):
        assert_equal(net, quiet(other.fit, X, y))


def test_folds_and_weights_are_each_networks_own(way):
    X, y = problem("classification", n=40)
    weight = np.arange(40.0)
    nets, alone = different(way)[:9], different(way)[:9]
    rows = folds(40, len(nets))
    quiet(fit_many, nets, X, y, weight, rows=rows)
    for net, other, r in zip(nets, alone, rows, strict=True):
        assert_equal(net, quiet(other.fit, X[r], y[r], weight[r]))


def test_tables_may_differ(stacking):
    tables = [problem("regression", n=n) for n in (30, 30, 24)]
    kinds = [{}, {"scale_target": True, "scale_inputs": True}, {"loss": "huber"}]
    nets, alone = ([make(stacking, task="regression", **kind) for kind in kinds] for _ in range(2))
    quiet(fit_many, nets, data=[(*tables[0], np.arange(30.0)), *tables[1:]])
    quiet(alone[0].fit, *tables[0], np.arange(30.0))
    for other, table in zip(alone[1:], tables[1:], strict=True):
        quiet(other.fit, *table)
    for net, other in zip(nets, alone, strict=True):
        assert_equal(net, other)


def test_a_warm_start_goes_on(stacking):
    X, y = problem("classification", n=40)
    nets, alone = ([make(stacking, random_state=s, warm_start=True, max_iter=4) for s in range(3)] for _ in range(2))
    for _ in range(2):
        quiet(fit_many, nets, X, y)
        for other in alone:
            quiet(other.fit, X, y)
    for net, other in zip(nets, alone, strict=True):
        assert_equal(net, other)
        assert len(net.loss_curve_) == 8


def test_a_stream_of_the_users_own_goes_on(way):
    X, y = problem("classification", n=40)
    streams, others = ([RandomState(s) for s in range(3)] for _ in range(2))
    nets = quiet(fit_many, [make(way, random_state=stream) for stream in streams], X, y)
    for net, stream, other in zip(nets, streams, others, strict=True):
        assert_equal(net, quiet(make(way, random_state=other).fit, X, y))
        assert stream.uniform() == other.uniform()
        assert net.model_.progress.rng is stream


def test_a_network_that_has_left_a_stack_keeps_its_weights(stacking):
    """Its arrays must be its own: the stack's are overwritten by those that go on."""
    X, y = problem("classification", n=40)
    nets = [make(stacking, random_state=s, max_iter=5 + s) for s in range(3)]
    seen = {}

    def note(i, epoch):
        if i == 2 and epoch.number == 6:
            seen[0] = np.array(stacking.to_host(nets[0].model_.theta))

    quiet(fit_many, nets, X, y, callback=note)
    np.testing.assert_array_equal(seen[0], np.array(stacking.to_host(nets[0].model_.theta)))
    for net in nets:  # and all can train on
        net.warm_start = True
        quiet(net.fit, X, y)
        assert len(net.loss_curve_) == 2 * net.max_iter


def test_the_callback_is_told_the_network_and_the_epoch(backend):
    X, y = problem("classification", n=40)
    nets, seen = [make(backend, random_state=s, max_iter=3 + s) for s in range(3)], []
    quiet(fit_many, nets, X, y, callback=lambda i, epoch: seen.append((i, epoch.number, epoch.loss)))
    expected = [(i, e + 1, loss) for i, net in enumerate(nets) for e, loss in enumerate(net.loss_curve_)]
    assert sorted(seen) == expected


def test_one_that_diverges_fails_alone_in_words(stacking):
    X, y = problem("regression", n=40)
    rates = (0.01, 1e200, 0.01)
    nets = [
        make(stacking, task="regression", solver="sgd", learning_rate_init=r, random_state=i)
        for i, r in enumerate(rates)
    ]
    with pytest.warns(RuntimeWarning, match=r"1 of 3 networks \(nets\[1\]\) diverged: .* smaller learning_rate_init"):
        quiet(fit_many, nets, X, y)
    alone = make(stacking, task="regression", solver="sgd", learning_rate_init=1e200, random_state=1)
    with pytest.raises(xbackprop.DivergenceError):
        alone.fit(X, y)
    assert_equal(nets[1], alone)
    for i in (0, 2):
        assert len(nets[i].loss_curve_) == EPOCHS


def test_ctrl_c_keeps_what_has_ended_and_the_last_whole_epoch_of_the_others(stacking):
    X, y = problem("classification", n=40)
    nets = [make(stacking, random_state=s, max_iter=m) for s, m in enumerate((3, 20, 20))]
    later = make(stacking, (3,), random_state=3)

    def note(i, epoch):
        if (i, epoch.number) == (1, 6):
            raise KeyboardInterrupt

    with pytest.warns(
        RuntimeWarning, match=r"interrupted; 1 of 4 networks had ended, 2 keep .* and 1 are as they were"
    ):
        quiet(fit_many, [*nets, later], X, y, callback=note)
    for net in nets:
        alone = make(stacking, random_state=net.random_state, max_iter=len(net.loss_curve_), learning_rate_init=0.01)
        quiet(alone.fit, X, y)
        np.testing.assert_allclose(net.loss_curve_, alone.loss_curve_, rtol=1e-9)
    assert [len(net.loss_curve_) for net in nets] in ([3, 6, 5], [3, 6, 6])
    with pytest.raises(xbackprop.NotFittedError):
        later.predict(X)


def test_an_error_names_the_network_and_the_others_keep_what_they_have(stacking):
    X, y = problem("classification", n=40)
    nets = [make(stacking, random_state=RandomState(s), max_iter=3 + s) for s in range(3)]

    def note(i, epoch):
        if (i, epoch.number) == (1, 4):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as error:
        quiet(fit_many, nets, X, y, callback=note)
    assert "nets[1]" in " ".join(error.value.__notes__)
    assert len(nets[0].loss_curve_) == 3
    for s in (1, 2):
        with pytest.raises(xbackprop.NotFittedError):
            nets[s].predict(X)
        assert nets[s].random_state.uniform() == RandomState(s).uniform()  # and their streams are where they were


def test_a_line_says_how_many_are_done(stacking, capsys):
    X, y = problem("classification", n=40)
    quiet(fit_many, [make(stacking, random_state=s, max_iter=2, verbose=True) for s in range(2)], X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("2 of 2 networks")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"nets": [1]}, TypeError, r"nets\[0\] must be an MLP, MLPClassifier or MLPRegressor, got 1"),
        ({"X": None}, ValueError, r"give X and y, or data=\[\(X, y\), …\]"),
        ({"y": None}, ValueError, r"give X and y, or data"),
        ({"data": [([[0.0]], [0])]}, ValueError, ".* and not both"),
        ({"rows": [[0, 1]]}, ValueError, "rows must have an element for each of 2 networks, got 1"),
        ({"rows": [[0, 1], [0, 40]]}, ValueError, r"rows\[1\] must lie in 0 to 39, got 0 to 40"),
        ({"rows": [[0, 1], [-1, 4]]}, ValueError, r"rows\[1\] must lie in 0 to 39, got -1 to 4"),
        ({"rows": [[0, 1], [0.5]]}, ValueError, r"rows\[1\] must be row numbers, one axis of integers, got"),
        ({"X": None, "y": None, "data": [1, 2]}, ValueError, r"data\[0\] must be \(X, y\) or \(X, y, sample_weight\)"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_go_together_are_named(change, error, message):
    X, y = problem("classification", n=40)
    arguments = {"nets": [make("numpy"), make("numpy", random_state=1)], "X": X, "y": y} | change
    with pytest.raises(error, match=f"fit_many: {message}"):
        fit_many(**arguments)


def test_networks_must_have_a_stream_a_checkpoint_and_an_object_of_their_own(tmp_path):
    X, y = problem("classification", n=40)
    net, stream = make("numpy"), RandomState(0)
    for nets, kind in (
        ([net, net], "object"),
        ([make("numpy", random_state=stream) for _ in range(2)], "RandomState"),
        ([make("numpy", checkpoint=tmp_path) for _ in range(2)], "checkpoint"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"nets[0] and nets[1] have one {kind}; give each its own")):
            fit_many(nets, X, y)


def test_no_networks_are_no_work():
    assert fit_many([], [[0.0]], [0]) == []


def test_processes_start_only_when_they_pay(monkeypatch):
    pytest.importorskip("joblib", reason="processes are joblib's")
    """A short run is trained here; with no patience the rest of it goes to processes, and ends in the same weights."""
    from xbackprop.mlp.many import ways

    X, y = problem("classification", n=40)
    sent, train = [], ways._send

    def send(chunks, jobs):
        for found in train(chunks, jobs):
            sent.extend(found)
            yield found

    monkeypatch.setattr(ways, "_send", send)
    quiet(fit_many, [make("numpy", random_state=s, max_iter=2) for s in range(4)], X, y)
    assert not sent
    monkeypatch.setattr(ways, "PATIENCE", 0.0)
    monkeypatch.setattr(ways, "START_UP", 0.0)
    monkeypatch.setattr(ways, "CORES", 2)
    nets = [make("numpy", random_state=s, max_iter=2000, tol=0.0, n_iter_no_change=2000) for s in range(12)]
    quiet(fit_many, nets, X, y)
    assert sent
    for s in (0, 11):
        other = make("numpy", random_state=s, max_iter=2000, tol=0.0, n_iter_no_change=2000)
        assert_equal(nets[s], quiet(other.fit, X, y))


def test_joblib_may_send_networks_elsewhere():
    joblib = pytest.importorskip("joblib", reason="processes are joblib's")
    X, y = problem("classification", n=40)
    nets, alone = ([make("numpy", random_state=s) for s in range(3)] for _ in range(2))
    with joblib.parallel_config("loky", n_jobs=2):
        quiet(fit_many, nets, X, y)
    for net, other in zip(nets, alone, strict=True):
        assert_equal(net, quiet(other.fit, X, y))


def test_a_cluster_that_names_no_number_of_jobs_is_asked_for_it():
    """So do Dask's and Ray's backends of joblib; here one of threads stands in for them."""
    joblib = pytest.importorskip("joblib", reason="clusters take part through joblib")
    from joblib._parallel_backends import ThreadingBackend

    asked = []

    class Cluster(ThreadingBackend):
        def effective_n_jobs(self, n_jobs):
            asked.append(n_jobs)
            return 2 if n_jobs == -1 else super().effective_n_jobs(n_jobs)

    joblib.register_parallel_backend("a_cluster", Cluster)
    X, y = problem("classification", n=40)
    nets, alone = ([make("numpy", random_state=s) for s in range(4)] for _ in range(2))
    with joblib.parallel_config("a_cluster"):
        quiet(fit_many, nets, X, y)
    assert -1 in asked
    for net, other in zip(nets, alone, strict=True):
        assert_equal(net, quiet(other.fit, X, y))
