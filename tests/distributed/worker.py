"""A script for a launcher: ``mpiexec -n 2 python worker.py CASE FOLDER``. A case is what the ranks do."""

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import xbackprop
from xbackprop.callbacks import Callback
from xbackprop.distributed.launch import find_communicator
from xbackprop.distributed.rows import numbers_of_shards

CASE, FOLDER, NAME, BACKEND = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:5]
if NAME == "jax":  # which has no launcher of its own
    import jax

    jax.distributed.initialize(f"localhost:{sys.argv[5]}", *map(int, sys.argv[6:8]))
RNG = np.random.RandomState(0)
X, Y = RNG.randn(301, 6), RNG.randint(3, size=301)
warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)


def net(communicator, **settings):
    given = {"max_iter": 20, "batch_size": 64, "random_state": 0, "tol": 0.0, "n_iter_no_change": 10**6, **settings}
    return xbackprop.MLP((9, 7), communicator=communicator, backend=BACKEND, **given)


def theta(network):
    return np.concatenate([np.asarray(a).ravel() for a in (*network.coefs_, *network.intercepts_)])


class Slowly(Callback):
    def on_epoch_end(self, fit, epoch):
        (FOLDER / "epoch").write_text(str(epoch.number))
        time.sleep(0.01)


def equal(ranks):
    """20 epochs end where one process ends, also with the rows in shards, and by L-BFGS."""
    for settings in ({"dropout": 0.2, "early_stopping": True}, {"solver": "lbfgs"}):
        one, network = net(None, **settings).fit(X, Y), net(NAME, **settings).fit(X, Y)
        np.testing.assert_allclose(theta(network), theta(one), rtol=1e-9, atol=1e-9)
    networks = xbackprop.fit_many([net(NAME, random_state=seed) for seed in range(5)], X, Y)
    alone = xbackprop.fit_many([net(None, random_state=seed) for seed in range(5)], X, Y)
    for ours, theirs in zip(networks, alone, strict=True):
        np.testing.assert_allclose(theta(ours), theta(theirs), rtol=1e-9, atol=1e-9)
    assert len({t.tobytes() for t in ranks.all_gather(theta(network))}) == 1
    (FOLDER / f"rank {ranks.rank} of {ranks.size}").write_text("")


def compiled(ranks):
    """20 epochs, each compiled into one program of all ranks: with all that a step may have, and on shards."""
    everything = {"dropout": 0.3, "clip_norm": 0.1, "ema_decay": 0.9, "solver": "adamw", "l1_ratio": 0.5, "alpha": 0.1}
    weight, own = RNG.rand(301) * (RNG.rand(301) > 0.3), numbers_of_shards([101, 200])[ranks.rank]
    gaps = np.where(RNG.rand(301, 2) < 0.3, np.nan, X @ RNG.randn(6, 2))
    of_shards = {"task": "regression", "early_stopping": True, "shuffle": False}
    for settings, samples, rows, shard in (
        (everything, (X, Y, weight), slice(None), False),
        (of_shards, (X, gaps), own, True),
    ):
        one, network = net(None, **settings), net(NAME, shard=shard, **settings)
        one.fit(*samples), network.fit(*(a[rows] for a in samples))
        np.testing.assert_allclose(theta(network), theta(one), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(network.loss_curve_, one.loss_curve_, rtol=1e-9)
    (FOLDER / f"rank {ranks.rank} of {ranks.size}").write_text("")


def edge(ranks):
    """MPI alone: what it refuses, and what it says once."""
    import torch

    for refused in (np.zeros(3, dtype=np.int64), torch.zeros(3, dtype=torch.bfloat16)):
        with pytest.raises(TypeError, match="sums are of float32 and float64"):
            ranks.all_reduce(refused)
    on_gpu = SimpleNamespace(library="cupy", device=0, reuses_buffers=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert [ranks.takes(on_gpu) for _ in range(3)] == [False] * 3
    assert [str(w.message)[:43] for w in said] == ["MPI: gradients go through the host's memory"] * (ranks.rank == 0)
    (FOLDER / f"rank {ranks.rank} of {ranks.size}").write_text("")


def fail(ranks):
    """A rank raises an error where the others wait for it."""
    net(NAME, max_iter=2).fit(X, Y)
    if ranks.rank == ranks.size - 1:
        raise LookupError("the last rank has no data")
    net(NAME).fit(X, Y)


def disagree(ranks):
    """The ranks have other settings: an error on each, in words on the first."""
    net(NAME, alpha=0.1 * (1 + ranks.rank)).fit(X, Y)


def long(ranks):
    """Train until somebody ends a rank."""
    (FOLDER / f"pid {ranks.rank}").write_text(str(os.getpid()))
    net(NAME, max_iter=10**6).fit(X, Y, callbacks=[Slowly()])


def restart(ranks):
    """A rank ends itself in the middle of the first try; the second one goes on from the checkpoint."""
    first = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0

    class Break(Callback):
        def on_epoch_end(self, fit, epoch):
            if first and epoch.number == 8:
                os.kill(os.getpid(), signal.SIGKILL)

    network = net(NAME, max_iter=12, checkpoint=FOLDER / "run", checkpoint_epochs=3, resume=True)
    network.fit(X, Y, callbacks=[Break()])
    if ranks.rank == 0 and not first:
        one = net(None, max_iter=12).fit(X, Y)
        np.testing.assert_allclose(theta(network), theta(one), rtol=1e-9, atol=1e-9)
        (FOLDER / "went on").write_text("")


CASES = {f.__name__: f for f in (equal, compiled, edge, fail, disagree, long, restart)}
if __name__ == "__main__":
    CASES[CASE](find_communicator("worker", NAME))
