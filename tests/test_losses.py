"""The losses against the paper's own chain of derivatives, which is written out here and nowhere else."""

import numpy as np
import pytest
from helpers import one_hot, relative
from numpy.random import RandomState

from xbackprop.losses import LOSSES, softmax
from xbackprop.objective import make_batch

mp = pytest.importorskip("mpmath", reason="mpmath is the oracle").mp


def evaluate(backend, name, z, y, weight=None, dtype="float64"):
    """C and δ_L of a batch, computed by the backend."""
    z, y = backend.asarray(np.asarray(z), dtype), backend.asarray(np.asarray(y), dtype)
    weight = None if weight is None else backend.asarray(np.asarray(weight), dtype)
    share = make_batch(backend, z, y, weight).share
    cost, delta = backend.bind(LOSSES[name].value_and_delta)(z, y, share)
    assert cost.dtype == delta.dtype == z.dtype
    return float(backend.to_host(cost)), np.array(backend.to_host(delta))


def chain_cross_entropy(z, y):
    """∂C_x/∂z by equations 1, 2 and 3, for one sample."""
    h = np.exp(z) / np.exp(z).sum()
    K = len(z)
    dC_dh = [-y[i] / h[i] for i in range(K)]  # (2)
    dh_dz = [[h[i] * (1 - h[i]) if i == j else -h[i] * h[j] for j in range(K)] for i in range(K)]  # (3)
    return np.array([sum(dC_dh[i] * dh_dz[i][j] for i in range(K)) for j in range(K)])  # (1)


def chain_squared_error(z, y):
    """∂C_x/∂z by equations 6, 7 and 8, for one sample; h = z."""
    dC_dh = 2 * (z - y)  # (7)
    dh_dz = np.ones_like(z)  # (8)
    return dC_dh * dh_dz  # (6)


CHAINS = {"cross_entropy": chain_cross_entropy, "mean_squared_error": chain_squared_error}


def sample(name, n=7, K=4, seed=0):
    rng = RandomState(seed)
    z = 2 * rng.standard_normal((n, K))
    y = one_hot(rng.randint(K, size=n), K) if name == "cross_entropy" else rng.standard_normal((n, K))
    return z, y


losses = pytest.mark.parametrize("name", CHAINS)


def test_every_loss_is_tested():
    assert set(LOSSES) == set(CHAINS)


@losses
@pytest.mark.parametrize("K", [1, 2, 5])
def test_fused_delta_is_the_papers_chain(backend, name, K):
    z, y = sample(name, K=K)
    chain = np.array([CHAINS[name](zx, yx) for zx, yx in zip(z, y, strict=True)]) / len(z)
    _, delta = evaluate(backend, name, z, y)
    np.testing.assert_allclose(delta, chain, rtol=1e-13, atol=1e-16)


@losses
def test_delta_is_the_slope_of_the_cost(backend, name):
    z, y = sample(name, n=3, K=3)
    _, delta = evaluate(backend, name, z, y)
    h = 1e-5
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = h
        slope = (evaluate(backend, name, z + step, y)[0] - evaluate(backend, name, z - step, y)[0]) / (2 * h)
        assert slope == pytest.approx(delta[index], abs=1e-9)


def true_cross_entropy(z, y):
    with mp.workdps(60):
        return mp.fsum(
            mp.log(mp.fsum(mp.exp(mp.mpf(float(v))) for v in row)) - mp.mpf(float(row[k]))
            for row, k in zip(z, y.argmax(axis=1), strict=True)
        ) / len(z)


@pytest.mark.parametrize("scale", [1.0, 30.0, 745.0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_the_negative_log_likelihood(backend, scale, dtype):
    z, y = sample("cross_entropy", n=20)
    z = (scale * np.clip(z, -1, 1)).astype(dtype)
    cost, _ = evaluate(backend, "cross_entropy", z, y, dtype=dtype)
    assert abs(cost - float(true_cross_entropy(z, y))) <= 4 * np.finfo(dtype).eps * max(1.0, scale)


@pytest.mark.parametrize("outputs", [1, 3])
def test_squared_error_sums_over_outputs_and_averages_over_samples(backend, outputs):
    z, y = sample("mean_squared_error", K=outputs)
    by_hand = sum(
        sum((float(a) - float(b)) ** 2 for a, b in zip(zx, yx, strict=True)) for zx, yx in zip(z, y, strict=True)
    ) / len(z)
    assert evaluate(backend, "mean_squared_error", z, y)[0] == pytest.approx(by_hand, rel=1e-14)


def test_adding_a_constant_to_a_samples_logits_changes_nothing(backend):
    z, y = sample("cross_entropy")
    cost, delta = evaluate(backend, "cross_entropy", z, y)
    shifted_cost, shifted_delta = evaluate(backend, "cross_entropy", z + 64.0 * np.arange(len(z))[:, None], y)
    assert shifted_cost == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(shifted_delta, delta, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_stay_finite_and_right(backend, dtype):
    z = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    y = one_hot(np.array([0, 1, 2]), 3)
    cost, delta = evaluate(backend, "cross_entropy", z, y, dtype=dtype)
    assert cost == pytest.approx((0 + 2e4 + np.log(3)) / 3, rel=1e-6)
    third = 1 / 3
    expected = np.array([[0, 0, 0], [1, -1, 0], [third, third, third - 1]]) / 3
    np.testing.assert_allclose(delta, expected, rtol=1e-6, atol=0)


def test_delta_of_cross_entropy_sums_to_zero_over_classes(backend):
    z, y = sample("cross_entropy", n=50)
    _, delta = evaluate(backend, "cross_entropy", z, y)
    np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-17)
    assert np.abs(delta).max() > 1e-3


@losses
def test_a_weight_is_a_number_of_copies(backend, name):
    z, y = sample(name)
    copies = np.array([1, 2, 0, 3, 1, 5, 0])
    cost, delta = evaluate(backend, name, z, y, copies)
    repeated_cost, repeated = evaluate(backend, name, np.repeat(z, copies, axis=0), np.repeat(y, copies, axis=0))
    owner = np.repeat(np.arange(len(z)), copies)
    summed = np.array([repeated[owner == i].sum(axis=0) for i in range(len(z))])
    assert cost == pytest.approx(repeated_cost, rel=1e-13)
    np.testing.assert_allclose(delta, summed, rtol=1e-13, atol=1e-17)


@losses
def test_the_unit_of_weights_does_not_matter(backend, name):
    z, y = sample(name)
    weight = RandomState(3).uniform(0.1, 2, len(z))
    for scale in (1e-6, 1e6):
        cost, delta = evaluate(backend, name, z, y, scale * weight)
        reference_cost, reference = evaluate(backend, name, z, y, weight)
        assert cost == pytest.approx(reference_cost, rel=1e-13)
        assert relative(delta, reference) < 1e-13


@losses
def test_a_stack_of_logits_is_a_loop(backend, name):
    z, y = sample(name)
    stack = np.stack([z, z[::-1], 2 * z])
    costs, deltas = backend.bind(LOSSES[name].value_and_delta)(backend.asarray(stack), backend.asarray(y), 1 / len(z))
    for i, one in enumerate(stack):
        cost, delta = evaluate(backend, name, one, y)
        assert backend.to_host(costs)[i] == pytest.approx(cost, rel=1e-14)
        np.testing.assert_allclose(backend.to_host(deltas)[i], delta, rtol=1e-14, atol=1e-17)


def test_softmax_is_a_distribution_and_no_logit_is_too_large(backend):
    z = np.array([[0.0, np.log(3.0)], [1e4, -1e4], [-1e4, 0.0]])
    h = backend.to_host(softmax(backend.xp, backend.asarray(z)))
    np.testing.assert_allclose(h, [[0.25, 0.75], [1, 0], [0, 1]], rtol=1e-15)
