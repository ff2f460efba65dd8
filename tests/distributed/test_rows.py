"""The rows of each batch are divided among the ranks, each to one of them; on every backend a step is that of one."""

import numpy as np
import pytest
from helpers import make_backend
from hypothesis import given
from hypothesis import strategies as st

import xbackprop
from xbackprop.arrays.discovery import backend_class
from xbackprop.distributed import simulate
from xbackprop.distributed.rows import AllRows, Shard, numbers_of_shards, parts
from xbackprop.nn.dropout import Masks, PartOfMasks

#: Filters of warnings are not those of a thread, so they are set for all of them at once.
pytestmark = pytest.mark.filterwarnings("ignore::xbackprop.ConvergenceWarning")
RNG = np.random.RandomState(2)
X, Y = RNG.randn(41, 4), RNG.randint(3, size=41)
WEIGHT = RNG.rand(41) * (RNG.rand(41) > 0.3)


def rows_of(part, own):
    """The numbers in the table of the rows of a part, where the rank's own rows have these numbers."""
    return own[part.rows]


@given(st.integers(1, 40), st.integers(1, 45), st.integers(1, 9), st.sampled_from([None, 0, 1]))
def test_every_row_of_a_batch_is_one_ranks(n, batch_size, R, seed):
    backend = backend_class("numpy")()
    order = None if seed is None else np.random.RandomState(seed).permutation(n)
    of_ranks = [parts(backend, AllRows(n, rank, R), order, batch_size) for rank in range(R)]
    expected = np.arange(n) if order is None else order
    for i, of_batch in enumerate(zip(*of_ranks, strict=True)):
        batch = expected[i * batch_size : (i + 1) * batch_size]
        assert {part.size for part in of_batch} == {len(batch)}
        sizes = [len(part.places) for part in of_batch]
        assert max(sizes) - min(sizes) <= 1
        joined = np.concatenate([rows_of(part, np.arange(n)) for part in of_batch])
        np.testing.assert_array_equal(joined, batch)
        np.testing.assert_array_equal(np.concatenate([part.places for part in of_batch]), np.arange(len(batch)))


@given(st.lists(st.integers(0, 15), min_size=1, max_size=6).filter(any), st.integers(1, 20), st.booleans())
def test_every_row_of_a_batch_is_that_of_the_shard_that_holds_it(counts, batch_size, shuffled):
    backend, numbers, n = backend_class("numpy")(), numbers_of_shards(counts), sum(counts)
    order = np.random.RandomState(0).permutation(n) if shuffled else None
    of_ranks = [parts(backend, Shard(n, own), order, batch_size) for own in numbers]
    expected = np.arange(n) if order is None else order
    for i, of_batch in enumerate(zip(*of_ranks, strict=True)):
        found = np.full(of_batch[0].size, -1)
        for part, own in zip(of_batch, numbers, strict=True):
            assert (found[part.places] == -1).all()
            found[part.places] = rows_of(part, own)
        np.testing.assert_array_equal(found, expected[i * batch_size : (i + 1) * batch_size])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any))
def test_shards_are_spread_over_the_table_in_their_order(counts):
    numbers, n = numbers_of_shards(counts), sum(counts)
    np.testing.assert_array_equal(np.sort(np.concatenate(numbers)), np.arange(n))
    for own, count in zip(numbers, counts, strict=True):
        assert (np.diff(own) > 0).all()
        for stop in range(n + 1):  # a stretch of the table has its part of each shard, to within a row of each
            assert abs((own < stop).sum() - count * stop / n) <= len(counts)


@pytest.mark.parametrize("whole", [1, 2, 7, 32])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_the_masks_of_some_rows_are_those_rows_of_the_masks(backend, whole, width):
    places = np.arange(whole)[:: 2 if whole > 2 else 1]
    how = (backend, 5, 9, whole, (4, width), (0.3, 0.6), backend.xp.float64)
    all_rows = Masks(*how)
    some = PartOfMasks(*how[:3], len(places), *how[4:], backend.asarray(places), whole)
    for layer in range(2):
        expected = backend.to_host(all_rows[layer])[places]
        np.testing.assert_array_equal(backend.to_host(some[layer]), expected)


SETTINGS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0},
    "all": {"dropout": 0.3, "clip_norm": 0.05, "ema_decay": 0.9, "l1_ratio": 0.5, "alpha": 0.1, "solver": "adamw"},
    "early stopping": {"early_stopping": True, "scale_inputs": True},
}


def fit(backend, ranks, weight=None, **settings):
    given = {"batch_size": 12, "random_state": 0, "tol": 0.0, "backend": backend, "communicator": ranks, **settings}
    return xbackprop.MLP((6, 5), **given).fit(X, Y, weight)


def arrays(net):
    return [net.models_("")[0].backend.to_host(a) for a in (*net.coefs_, *net.intercepts_)]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weights"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_is_that_of_one_process(backend, name, weight):
    """One step on all the rows, in float32 and float64, within 10 eps of each tensor's scale."""
    for dtype in ("float32", "float64"):
        settings = {**SETTINGS[name], "max_iter": 1, "batch_size": 41, "dtype": dtype}
        one = arrays(fit(backend, None, weight, **settings))
        for net in simulate(3, lambda ranks, s=settings: fit(backend, ranks, weight, **s)):
            for a, b in zip(arrays(net), one, strict=True):
                assert np.abs(a - b).max() <= 10 * np.finfo(dtype).eps * max(np.abs(b).max(), 1e-3)


@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_epochs_are_those_of_one_process(backend, name):
    one = fit(backend, None, WEIGHT, max_iter=20, n_iter_no_change=30, **SETTINGS[name])
    networks = simulate(
        2, lambda ranks: fit(backend, ranks, WEIGHT, max_iter=20, n_iter_no_change=30, **SETTINGS[name])
    )
    for a, b, c in zip(*map(arrays, (*networks, one)), strict=True):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shard", [False, True])
def test_sixty_four_ranks_of_which_most_have_no_row_of_a_batch(shard):
    backend = make_backend("numpy")
    X, Y = np.random.RandomState(0).randn(203, 4), np.random.RandomState(1).randint(3, size=203)
    numbers = numbers_of_shards([len(part) for part in np.array_split(np.arange(203), 64)])

    def run(ranks):
        own = numbers[ranks.rank] if shard and ranks is not None else slice(None)
        net = xbackprop.MLP((6, 5), batch_size=33, max_iter=20, random_state=0, tol=0.0, backend=backend, dropout=0.2,
                            communicator=ranks, shard=shard)  # fmt: skip
        return net.fit(X[own], Y[own])

    networks, one = simulate(64, run), run(None)
    for net in networks:
        for a, b, c in zip(arrays(net), arrays(networks[0]), arrays(one), strict=True):
            assert np.array_equal(a, b)
            np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-9)
