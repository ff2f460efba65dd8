"""What ranks decide, all of them decide alike: to stop, to fail, and what the user is told."""

import threading
import warnings

import numpy as np
import pytest

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.arrays.threads import CORES
from xbackprop.callbacks import Callback, KeepBest
from xbackprop.distributed import Communicator, simulate
from xbackprop.distributed.threads import SET_OUTSIDE, share_of_cores
from xbackprop.errors import RankError
from xbackprop.model_selection import GridSearchCV

#: Filters of warnings are not those of a thread, so they are set for all of them at once.
pytestmark = pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
RNG = np.random.RandomState(1)
X, Y = RNG.randn(60, 4), RNG.randint(3, size=60)


def net(ranks, **settings):
    given = {"max_iter": 6, "batch_size": 20, "random_state": 0, "backend": "numpy", "communicator": ranks}
    return xbackprop.MLP((5,), **{**given, **settings})


def fit(ranks, *samples, options=(), **settings):
    return net(ranks, **settings).fit(*(samples or (X, Y)), **dict(options))


def theta(network):
    return np.concatenate([a.ravel() for a in (*network.coefs_, *network.intercepts_)])


class Noting(Callback):
    def __init__(self, ranks, stop_after=None, error=None):
        self.ranks, self.stop_after, self.error, self.epochs = ranks, stop_after, error, []

    def on_epoch_end(self, fit, epoch):
        self.epochs.append(epoch.number)
        if epoch.number == self.stop_after:
            if self.error is not None:
                raise self.error
            return "enough"
        return None


def test_only_the_first_rank_is_watched_and_what_it_says_holds_for_all():
    def run(ranks):
        seen = Noting(ranks, stop_after=3)
        return seen.epochs, fit(ranks, options={"callbacks": [seen]})

    (first, *others) = simulate(3, run)
    assert first[0] == [1, 2, 3]
    assert all(epochs == [] for epochs, _ in others)
    for _, network in [first, *others]:
        assert (network.stop_reason_, network.n_iter_) == ("enough", 3)


def test_weights_that_a_callback_keeps_are_those_of_all_ranks():
    def run(ranks):
        return fit(ranks, options={"callbacks": [KeepBest(lambda net: -abs(net.loss_curve_[-1] - 1.0))]})

    one, (a, b) = run(None), simulate(2, run)
    np.testing.assert_allclose(theta(a), theta(one), rtol=1e-9)
    assert np.array_equal(theta(a), theta(b))


@pytest.mark.parametrize("kind", [KeyError, ValueError])
def test_an_error_of_a_callback_ends_all_ranks_and_names_itself(kind):
    found = {}

    def run(ranks):
        network = net(ranks)
        try:
            network.fit(X, Y, callbacks=[Noting(ranks, 2, kind("no such thing"))])
        except Exception as error:
            found[ranks.rank] = error, hasattr(network, "stop_reason_")

    simulate(3, run)
    assert isinstance(found[0][0], kind)
    assert all(isinstance(found[r][0], RankError) and "no such thing" in str(found[r][0]) for r in (1, 2))
    assert not any(changed for _, changed in found.values())


def test_ctrl_c_on_the_first_rank_is_one_of_all():
    def run(ranks):
        return fit(ranks, options={"callbacks": [Noting(ranks, 4, KeyboardInterrupt())]})

    with pytest.warns(RuntimeWarning, match="interrupted"):
        networks = simulate(2, run)
    assert [(n.stop_reason_, len(n.loss_curve_)) for n in networks] == [("interrupted", 4)] * 2
    assert np.array_equal(*map(theta, networks))


def test_every_batch_is_told_with_the_cost_of_all_its_rows():
    costs = {}

    class Batches(Callback):
        def __init__(self, name):
            self.of = costs.setdefault(name, [])

        def on_batch_end(self, fit, batch):
            self.of.append(float(batch.loss))

    fit(None, options={"callbacks": [Batches("one")]})
    simulate(3, lambda ranks: fit(ranks, options={"callbacks": [Batches(ranks.rank)]}))
    np.testing.assert_allclose(costs[0], costs["one"], rtol=1e-9)
    assert costs[1] == costs[2] == []


def test_divergence_is_one_of_all_ranks():
    """Of one row alone the target is infinite in float32: its rank sees it, and the others with it."""
    y = np.where(np.arange(60) == 7, 1e30, 0.0)

    def run(ranks):
        network = net(ranks, task="regression", solver="sgd", dtype="float32", tol=0.0)
        with pytest.raises(xbackprop.DivergenceError, match="epoch 1"):
            network.fit(X, y)
        return network

    networks = simulate(4, run)
    assert all(n.stop_reason_ == "diverged" for n in networks)
    assert len({theta(n).tobytes() for n in networks}) == 1


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 1), (2, 2)])
def test_a_checkpoint_goes_on_with_another_number_of_ranks(tmp_path, before, after):
    settings = {"checkpoint": tmp_path, "dropout": 0.2, "early_stopping": True, "n_iter_no_change": 9}
    simulate(before, lambda ranks: fit(ranks, max_iter=3, **settings))
    resumed = simulate(after, lambda ranks: fit(ranks, resume=True, **settings))
    whole = simulate(after, lambda ranks: fit(ranks, **{**settings, "checkpoint": None}))
    exact = {} if before == after else {"rtol": 1e-9, "atol": 1e-12}
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_allclose(theta(a), theta(b), **(exact or {"rtol": 0, "atol": 0}))


def test_a_checkpoint_that_cannot_be_written_ends_all_where_it_must_be(tmp_path):
    (tmp_path / "file").write_text("")

    def run(ranks):
        folder = tmp_path / "folder"
        network = net(ranks, checkpoint=folder, checkpoint_required=True)

        class Break(Callback):
            def on_epoch_end(self, fit, epoch):
                if epoch.number == 2:
                    (folder / "checkpoint.safetensors").unlink()
                    folder.rmdir()
                    folder.write_text("no folder")

        return network.fit(X, Y, callbacks=[Break()])

    with pytest.warns(RuntimeWarning):  # of the file, and of the end
        networks = simulate(2, run)
    assert [n.n_iter_ for n in networks] == [2, 2]


def test_one_rank_warns_and_one_rank_prints(capsys):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        simulate(3, lambda ranks: net(ranks, verbose=True).fit(X, Y))
    assert [w.category for w in found] == [xbackprop.ConvergenceWarning]
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_one_rank_writes_the_file(tmp_path):
    def run(ranks):
        network = fit(ranks)
        network.save(tmp_path / f"of rank {ranks.rank}.safetensors")
        return network

    networks = simulate(2, run)
    assert [path.name for path in tmp_path.iterdir()] == ["of rank 0.safetensors"]
    loaded = xbackprop.MLP.load(tmp_path / "of rank 0.safetensors")
    assert np.array_equal(theta(loaded), theta(networks[1]))


def test_without_a_seed_all_ranks_have_that_of_the_first():
    a, b = simulate(2, lambda ranks: fit(ranks, random_state=None, dropout=0.5))
    assert np.array_equal(theta(a), theta(b))


def test_going_on_is_the_same_run():
    def run(ranks):
        network = net(ranks, warm_start=True, max_iter=3, ema_decay=0.9)
        return network.fit(X, Y).fit(X, Y).partial_fit(X, Y)

    one, networks = run(None), simulate(3, run)
    for network in networks:
        np.testing.assert_allclose(theta(network), theta(one), rtol=1e-9)


DISAGREEMENTS = {
    "alpha": (lambda r: ((X, Y), {"alpha": 0.1 * (1 + r)}), "same alpha: rank 0 has 0.1, rank 1 0.2"),
    "hidden": (lambda r: ((X, Y), {"activation": ["relu", "tanh"][r]}), "same activation: rank 0 has 'relu'"),
    "rows": (lambda r: ((X[: 60 - r], Y[: 60 - r]), {}), "same number of rows: rank 0 has 60, rank 1 59"),
    "width": (lambda r: ((X[:, : 4 - r], Y), {}), "same number of columns of X: rank 0 has 4, rank 1 3"),
    "classes": (lambda r: ((X, Y + r), {}), r"same classes: rank 0 has \[0, 1, 2\], rank 1 \[1, 2, 3\]"),
    "labels": (lambda r: ((X, np.roll(Y, r)), {}), r"same y \(a checksum\)"),
    "dtype": (lambda r: ((X.astype(["float32", "float64"][r]), Y), {}), "same dtype: rank 0 has 'float32'"),
    "bad rows": (lambda r: ((np.where(r, np.nan, X), Y), {}), "X must be finite"),
    "bad setting": (lambda r: ((X, Y), {"alpha": -1.0}), "alpha must be"),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_ranks_that_do_not_go_together_are_an_error_on_each(name):
    given, message = DISAGREEMENTS[name]
    errors = {}

    def run(ranks):
        samples, settings = given(ranks.rank)
        try:
            fit(ranks, *samples, **settings)
        except Exception as error:
            errors[ranks.rank] = error

    simulate(2, run)
    assert sorted(errors) == [0, 1]
    for error in errors.values():
        with pytest.raises((ValueError, RankError), match=message):
            raise error


def test_another_network_on_one_rank_is_an_error():
    def run(ranks):
        network = net(ranks, warm_start=True, max_iter=1)
        network.fit(X, Y)
        if ranks.rank == 1:
            network.coefs_ = [2.0 * W for W in network.coefs_]
        with pytest.raises(ValueError, match=r"all ranks must have the same weights of the network"):
            network.fit(X, Y)

    simulate(2, run)


def test_more_ranks_than_rows_is_an_error():
    def run(ranks):
        with pytest.raises(ValueError, match="5 rows to train on for 6 ranks"):
            fit(ranks, X[:5], np.array([0, 1, 2, 0, 1]))

    simulate(6, run)


class Faulty(Communicator):
    """Another communicator, but for one sum, which one rank receives with a bit of another sign."""

    def __init__(self, ranks, at):
        self.ranks, self.rank, self.size, self.left = ranks, ranks.rank, ranks.size, at

    def all_gather(self, value):
        return self.ranks.all_gather(value)

    def all_reduce(self, x):
        self.left -= 1
        x = self.ranks.all_reduce(x)
        if self.left == 0 and self.rank == 1:
            x[0] += 1e-12
        return x

    def abort(self, code=1):
        self.ranks.abort(code)


def test_ranks_whose_weights_have_come_apart_stop_in_words():
    with pytest.raises(RankError, match=r"the weights of rank 0 are not those of rank 1$"):
        simulate(3, lambda ranks: fit(Faulty(ranks, at=2), solver="sgd"))


def test_a_rank_that_raises_in_an_epoch_ends_the_others(capsys):
    """The others wait for its sum: they end as it does, and do not wait for ever."""

    class Failing(Faulty):
        def all_reduce(self, x):
            self.left -= 1
            if self.left == 0 and self.rank == 1:
                raise MemoryError("no memory left")
            return self.ranks.all_reduce(x)

    done = threading.Event()

    def run():
        with pytest.raises(MemoryError, match="no memory left"):
            simulate(3, lambda ranks: fit(Failing(ranks, at=4)))
        done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert done.is_set()
    assert "no memory left" in capsys.readouterr().err


def test_many_networks_are_divided_among_the_ranks():
    def nets(ranks):
        return [net(ranks, random_state=seed, max_iter=2 + seed % 3) for seed in range(7)]

    def run(ranks):
        return xbackprop.fit_many(nets(ranks), X, Y)

    alone = run(None)
    for of_rank in simulate(3, run):
        for ours, theirs in zip(of_rank, alone, strict=True):
            assert np.array_equal(theta(ours), theta(theirs))
            assert (ours.loss_curve_, ours.stop_reason_) == (theirs.loss_curve_, theirs.stop_reason_)


def test_fewer_networks_than_ranks_are_trained_by_all_of_them():
    def run(ranks):
        return net(ranks, n_networks=2).fit(X, Y)

    alone = run(None)
    for network in simulate(3, run):
        for ours, theirs in zip(network.networks_, alone.networks_, strict=True):
            np.testing.assert_allclose(theta(ours), theta(theirs), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_is_divided_among_the_ranks():
    grid = {"alpha": [0.01, 10.0]}

    def run(ranks):
        one = xbackprop.MLPClassifier((5,), max_iter=5, random_state=0, communicator=ranks)
        return GridSearchCV(one, grid, cv=2).fit(X, Y)

    alone = run(None)
    for search in simulate(2, run):
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
        assert search.best_params_ == alone.best_params_


def test_models_for_tables_are_divided_among_the_ranks():
    table = {"length": X[:, 0], "width": X[:, 1], "kind": np.array(["a", "b", "c"])[Y]}
    target = X[:, 0] + (Y == 1)

    def run(ranks):
        model = xbackprop.TabularRegressor(n_networks=3, max_iter=4, folds=2, random_state=5, communicator=ranks)
        return model.fit(table, target)

    alone = run(None)
    for model in simulate(2, run):
        np.testing.assert_array_equal(model.predict(table), alone.predict(table))
        assert [row["candidate"] for row in model.leaderboard_] == [row["candidate"] for row in alone.leaderboard_]


def test_time_is_the_first_ranks():
    """Whoever has a slower clock ends with the first."""

    def run(ranks):
        one = net(ranks, max_iter=10**6, tol=0.0, n_iter_no_change=10**6)
        return xbackprop.fit_many([one], X, Y, time_limit=0.1 if ranks.rank == 0 else 60.0)[0]

    a, b = simulate(2, run)
    assert a.stop_reason_ == b.stop_reason_ == "time_limit"
    assert np.array_equal(theta(a), theta(b))
    assert 0 < len(a.loss_curve_) == len(b.loss_curve_)


def test_ranks_of_one_machine_share_its_cores(monkeypatch):
    backend = backend_class("numpy")()
    for name in SET_OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    assert simulate(3, lambda ranks: share_of_cores(ranks, backend, None)) == [max(1, CORES // 3)] * 3
    assert simulate(2, lambda ranks: share_of_cores(ranks, backend, 1)) == [1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert simulate(2, lambda ranks: share_of_cores(ranks, backend, None)) == [None, None]


def test_what_a_communicator_may_be():
    with pytest.raises(ValueError, match="communicator must be a name, a Communicator or None, got 3"):
        xbackprop.MLP(communicator=3)
    with pytest.raises(xbackprop.BackendError, match="unknown communicator 'horovod'; expected one of: auto, "):
        xbackprop.MLP(communicator="horovod").fit(X, Y)


def test_auto_is_one_process_without_a_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MPI_LOCALRANKID"):
        monkeypatch.delenv(name, raising=False)
    assert np.array_equal(theta(fit("auto")), theta(fit(None)))
