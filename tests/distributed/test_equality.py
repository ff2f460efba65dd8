"""A network that many ranks train is the network of one process: ranks here are threads, as many as the case needs."""

import h5py
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import xbackprop
from xbackprop.distributed.rows import numbers_of_shards
from xbackprop.distributed.simulator import simulate

#: Filters of warnings are not those of a thread, so they are set for all of them at once.
pytestmark = pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
RNG = np.random.RandomState(0)
N = 103
X = RNG.randn(N, 5)
LABELS = np.array(["a", "b", "c"])[(X[:, 0] + 0.3 * RNG.randn(N) > 0).astype(int) + (X[:, 1] > 0.5)]
NUMBERS = X @ RNG.randn(5, 2) + 0.1 * RNG.randn(N, 2)
GAPS = np.where(RNG.rand(N, 2) < 0.3, np.nan, NUMBERS)
WEIGHT = RNG.rand(N) * (RNG.rand(N) > 0.2)
SOLVERS = ["adam", "adamw", "sgd", "rmsprop", "adagrad"]
#: 20 epochs in float64, to rounding.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}

SETTINGS = {
    "plain": {},
    "l1": {"alpha": 0.1, "l1_ratio": 0.5},
    "dropout": {"dropout": (0.3, 0.1)},
    "clipped": {"clip_norm": 0.05},
    "checkpointing": {"checkpoint_activations": "sqrt"},
    "average": {"ema_decay": 0.9},
    "in order": {"shuffle": False},
    "blocks": {"shuffle": "blocks"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 4},
    "by loss": {"early_stopping": True, "scoring": "loss", "ema_decay": 0.5},
    "scaled": {"scale_inputs": True},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.05},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.1},
}


def fit(settings, samples, **more):
    options = {"max_iter": 20, "batch_size": 16, "random_state": 3, "backend": "numpy", **settings, **more}
    return xbackprop.MLP((7, 6), **options).fit(*samples)


def on_ranks(R, settings, samples, **more):
    """The network of each rank, all of which have all rows."""
    return simulate(R, lambda ranks: fit(settings, samples, communicator=ranks, **more))


def assert_equal(nets, one, **tolerance):
    """All ranks have the same network, bit by bit, and it is that of one process, to rounding."""
    for net in nets:
        for a, b in zip((*nets[0].coefs_, *nets[0].intercepts_), (*net.coefs_, *net.intercepts_), strict=True):
            assert np.array_equal(a, b)
        assert net.loss_curve_ == nets[0].loss_curve_
    assert nets[0].stop_reason_ == one.stop_reason_
    np.testing.assert_allclose(nets[0].loss_curve_, one.loss_curve_, **tolerance)
    for a, b in zip((*nets[0].coefs_, *nets[0].intercepts_), (*one.coefs_, *one.intercepts_), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize("R", [1, 2, 3, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, R):
    assert_equal(on_ranks(R, SETTINGS[name], (X, LABELS)), fit(SETTINGS[name], (X, LABELS)), **CLOSE)


@pytest.mark.parametrize("R", [2, 3])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("samples", [(X, LABELS, WEIGHT), (X, NUMBERS), (X, GAPS), (X, GAPS, WEIGHT)],
                         ids=["weights", "numbers", "gaps", "gaps and weights"])  # fmt: skip
def test_solvers_and_samples(solver, samples, R):
    settings = {"solver": solver, "task": "classification" if samples[1] is LABELS else "regression"}
    assert_equal(on_ranks(R, settings, samples), fit(settings, samples), **CLOSE)


def shards_of(samples, R, sizes=None):
    """Cut a table into shards; return them, and the table as one process is to have it."""
    sizes = sizes or [len(part) for part in np.array_split(np.arange(len(samples[0])), R)]
    cut = [np.split(a, np.cumsum(sizes)[:-1]) for a in samples]
    order = np.argsort(np.concatenate(numbers_of_shards(sizes)))
    return list(zip(*cut, strict=True)), tuple(a[order] for a in samples)


def test_shards_whose_columns_are_scaled_and_whose_classes_are_weighed():
    """Means, deviations, classes and their weights are those of all rows, where a shard has one class alone."""
    order = np.argsort(LABELS, kind="stable")
    samples = (1e3 + X[order] * [1.0, 10.0, 0.1, 1e-3, 0.0], LABELS[order], WEIGHT[order] + 0.01)
    settings = {"scale_inputs": True, "class_weight": "balanced", "early_stopping": True}
    shards, whole = shards_of(samples, 3)
    assert len(set(shards[0][1])) == 1
    nets = simulate(3, lambda ranks: fit(settings, shards[ranks.rank], communicator=ranks, shard=True))
    assert_equal(nets, fit(settings, whole), **CLOSE)


@pytest.mark.parametrize("samples", [(X, NUMBERS, WEIGHT), (X, GAPS)], ids=["numbers", "gaps"])
def test_shards_of_a_regression_whose_target_is_scaled(samples):
    settings = {"task": "regression", "scale_target": True, "scale_inputs": True, "early_stopping": True}
    shards, whole = shards_of(samples, 2, [70, 33])
    nets = simulate(2, lambda ranks: fit(settings, shards[ranks.rank], communicator=ranks, shard=True))
    assert_equal(nets, fit(settings, whole), **CLOSE)


@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
@pytest.mark.parametrize("shard", [False, True])
def test_files_and_sparse_matrices(tmp_path, shuffle, shard):
    """Each rank reads the rows of its parts only."""
    shards, whole = shards_of((X, LABELS), 2) if shard else ([(X, LABELS)] * 2, (X, LABELS))
    one = fit({"shuffle": shuffle}, whole)
    files = []
    for rank, (x, _) in enumerate(shards):
        files.append(h5py.File(tmp_path / f"{rank}.h5", "w"))
        files[-1]["X"] = x
    how = {"shuffle": shuffle, "shard": shard}
    for kind in (lambda r: files[r]["X"], lambda r: csr_matrix(shards[r][0])):
        nets = simulate(2, lambda ranks, k=kind: fit(how, (k(ranks.rank), shards[ranks.rank][1]), communicator=ranks))
        assert_equal(nets, one, **CLOSE)


@pytest.mark.parametrize(
    "samples", [(X, LABELS, WEIGHT), (X, GAPS), (X, GAPS, WEIGHT)], ids=["weights", "gaps", "both"]
)
@pytest.mark.parametrize("shard", [False, True])
def test_lbfgs_of_weights_and_gaps(samples, shard):
    settings = {"solver": "lbfgs", "alpha": 0.1, "task": "classification" if samples[1] is LABELS else "regression"}
    shards, whole = shards_of(samples, 3, [20, 50, 33]) if shard else ([samples] * 3, samples)
    nets = simulate(3, lambda ranks: fit(settings, shards[ranks.rank], communicator=ranks, shard=shard))
    assert_equal(nets, fit(settings, whole), **CLOSE)


def test_streams():
    shards, whole = shards_of((X, NUMBERS), 3, [20, 50, 33])
    settings = {"max_iter": 20, "batch_size": 16, "random_state": 3, "task": "regression", "scale_inputs": True}

    def run(ranks):
        x, y = shards[ranks.rank]
        net = xbackprop.MLP((7, 6), communicator=ranks, shard=True, **settings)
        return net.fit_stream(lambda: ((x[i : i + 9], y[i : i + 9]) for i in range(0, len(x), 9)))

    assert_equal(simulate(3, run), fit({**settings, "shuffle": False}, whole), **CLOSE)


def test_shards_go_on_from_a_checkpoint(tmp_path):
    shards, whole = shards_of((X, LABELS), 2, [60, 43])

    def run(**more):
        return simulate(2, lambda ranks: fit(more, shards[ranks.rank], communicator=ranks, shard=True))

    run(max_iter=7, checkpoint=tmp_path, early_stopping=True)
    nets = run(max_iter=20, checkpoint=tmp_path, early_stopping=True, resume=True)
    assert_equal(nets, fit({"early_stopping": True}, whole), **CLOSE)


def test_the_estimators():
    settings = {"hidden_layer_sizes": (7,), "max_iter": 15, "random_state": 0, "early_stopping": True}

    def run(ranks, X=X, y=LABELS, **more):
        return xbackprop.MLPClassifier(communicator=ranks, **settings, **more).fit(X, y)

    one = run(None)
    for net in simulate(3, run):
        np.testing.assert_allclose(net.predict_proba(X), one.predict_proba(X), **CLOSE)
    shards, _ = shards_of((X, LABELS), 2)
    a, b = simulate(2, lambda ranks: run(ranks, *shards[ranks.rank], shard=True))
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert list(a.classes_) == ["a", "b", "c"]


@pytest.mark.parametrize("sizes", [[52, 51], [3, 90, 10], [1, 60, 41, 1]], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_shards(name, sizes):
    shards, whole = shards_of((X, LABELS), len(sizes), sizes)
    nets = simulate(len(sizes), lambda ranks: fit(SETTINGS[name], shards[ranks.rank], communicator=ranks, shard=True))
    assert_equal(nets, fit(SETTINGS[name], whole), **CLOSE)
