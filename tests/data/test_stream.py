"""A stream trains as its chunks joined would, whatever their sizes; what is wrong with it is said with its place."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from helpers import problem, weights_of
from hypothesis import given
from hypothesis import strategies as st

import xbackprop

N = 70
SETTINGS = {"batch_size": 16, "max_iter": 3, "tol": 0.0, "n_iter_no_change": 9, "random_state": 0}


def cut(X, y, places, weight=None):
    """A stream of the rows, cut at these places."""
    bounds = [0, *sorted(set(places)), len(X)]

    def chunks():
        for a, b in pairwise(bounds):
            yield (X[a:b], y[a:b]) if weight is None else (X[a:b], y[a:b], weight[a:b])

    return chunks


def quietly(train, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xbackprop.ConvergenceWarning)
        return train(*arguments, **options)


def equal(a, b):
    for one, other in zip(weights_of(a), weights_of(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
def test_a_stream_trains_as_its_rows_in_their_order(backend, task, weighted, scaled):
    X, y = problem(task, n=N)
    X, weight = 4.0 * X + 1.0, np.arange(1.0, N + 1.0) if weighted else None
    settings = {**SETTINGS, "task": task, "backend": backend, "scale_inputs": scaled}
    plain = quietly(xbackprop.MLP((5,), shuffle=False, **settings).fit, X, y, weight)
    net = quietly(xbackprop.MLP((5,), **settings).fit_stream, cut(X, y, [10, 11, 40], weight))
    equal(net, plain)
    np.testing.assert_allclose(net.loss_curve_, plain.loss_curve_, rtol=1e-10)


@given(st.lists(st.integers(1, N - 1), max_size=8), st.integers(1, N + 5))
def test_neither_chunks_nor_batches_change_the_result(places, batch_size):
    X, y = problem("classification", n=N)
    settings = {**SETTINGS, "batch_size": batch_size, "max_iter": 2}
    plain = quietly(xbackprop.MLP((3,), shuffle=False, **settings).fit, X, y)
    equal(quietly(xbackprop.MLP((3,), **settings).fit_stream, cut(X, y, places)), plain)


def test_a_stream_is_stopped_early_by_data_of_its_own():
    X, y = problem("classification", n=N)
    net = xbackprop.MLP((5,), early_stopping=True, **SETTINGS)
    quietly(net.fit_stream, cut(X, y, [30]), validation_data=(X[:20], y[:20]))
    assert max(net.validation_scores_) == net.score(X[:20], y[:20])
    with pytest.raises(ValueError, match=r"MLP\.fit_stream: early_stopping needs validation_data"):
        net.fit_stream(cut(X, y, [30]))


def test_warm_starts_go_on():
    X, y = problem("classification", n=N)
    whole = quietly(xbackprop.MLP((5,), **{**SETTINGS, "max_iter": 6}).fit_stream, cut(X, y, [30]))
    net = quietly(xbackprop.MLP((5,), warm_start=True, **SETTINGS).fit_stream, cut(X, y, [30]))
    equal(quietly(net.fit_stream, cut(X, y, [7, 50])), whole)


def shrinking(X, y):
    passes = []

    def chunks():
        passes.append(1)
        yield X[:30], y[:30]
        if len(passes) == 1:
            yield X[30:], y[30:]

    return chunks


def widening(X, y):
    passes = []

    def chunks():
        passes.append(1)
        yield X[:30], y[:30]
        yield (X[30:] if len(passes) == 1 else X[30:, :2]), y[30:]

    return chunks


X, Y = problem("classification", n=N)


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        (lambda: iter(()), "the stream yields no chunk"),
        (iter([(X, Y)]), "chunks must be a function that begins anew at each call, .* got list_iterator"),
        (lambda: [X], "chunk 0 must be .*, got ndarray"),
        (lambda: [(X, Y), (X[:, :3], Y)], "chunk 1 the stream has 3 columns, and before it had 4"),
        (lambda: [(X, Y), (X, Y[:-1])], "chunk 1 has 70 rows of X, and 69 of y"),
        (lambda: [(X, Y), (X, Y, np.ones(N))], "all chunks must have weights, or none"),
        (lambda: [(X.astype(str), Y)], "chunk 0 must have X of two axes with numbers"),
        (lambda: [(X[0], Y)], r"chunk 0 must have X of two axes with numbers, got \(4,\)"),
        (shrinking(X, Y), "the stream ended after 30 rows; when it was read first, it had 70"),
        (widening(X, Y), "after 30 rows the stream has 2 columns, and before it had 4"),
        (
            lambda: [(np.where(np.arange(4 * N).reshape(N, 4) - 165, X, np.nan), Y)],
            r"X must be finite, got nan at \(41, 1\)",
        ),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_with_its_place(chunks, why):
    net = xbackprop.MLP((5,), **SETTINGS)
    with pytest.raises(ValueError, match=rf"MLP\.fit_stream: .*{why}"):
        net.fit_stream(chunks)
    assert not hasattr(net, "n_iter_")


def test_streams_and_what_they_cannot_train():
    with pytest.raises(ValueError, match=r"MLP\.fit_stream: a stream trains one network, got n_networks=3"):
        xbackprop.MLP((5,), n_networks=3).fit_stream(cut(X, Y, []))


def test_predictions_come_chunk_by_chunk():
    net = xbackprop.MLP((5,), random_state=0).initialize(X, Y)
    found = list(net.predict_stream(cut(X, Y, [10, 33])))
    assert [len(part) for part in found] == [10, 23, 37]
    np.testing.assert_array_equal(np.concatenate(found), net.predict(X))
    np.testing.assert_array_equal(next(net.predict_stream(lambda: [X])), net.predict(X))
