"""A network that many ranks train is the network of one process: ranks here are threads, as many as the case needs."""

import warnings

import numpy as np
import pytest

import xbackprop
from xbackprop.distributed.rows import numbers_of_shards
from xbackprop.distributed.simulator import simulate

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
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


@pytest.mark.parametrize("sizes", [[52, 51], [3, 90, 10], [1, 60, 41, 1]], ids=str)
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "lbfgs"])
def test_shards(name, sizes):
    shards, whole = shards_of((X, LABELS), len(sizes), sizes)
    nets = simulate(len(sizes), lambda ranks: fit(SETTINGS[name], shards[ranks.rank], communicator=ranks, shard=True))
    assert_equal(nets, fit(SETTINGS[name], whole), **CLOSE)
