"""The losses against the paper's own chain of derivatives, which is written out here and nowhere else."""

import numpy as np
import pytest
from helpers import one_hot, relative
from numpy.random import RandomState

from xbackprop.nn.losses import LOSSES, huber_loss, quantile_loss, softmax
from xbackprop.nn.objective import make_batch

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


def chain_binary_cross_entropy(z, y):
    """C = -Σ [y log h + (1-y) log(1-h)], h = σ(z)."""
    h = 1 / (1 + np.exp(-z))
    dC_dh = -y / h + (1 - y) / (1 - h)
    return dC_dh * (h * (1 - h))


def chain_poisson(z, y):
    """C = Σ [y log(y/h) - y + h], h = exp z."""
    h = np.exp(z)
    return (1 - y / h) * h


CHAINS = {
    "cross_entropy": chain_cross_entropy,
    "binary_cross_entropy": chain_binary_cross_entropy,
    "mean_squared_error": chain_squared_error,
    "squared_error": lambda z, y: z - y,
    "absolute_error": lambda z, y: np.where(z > y, 1.0, -1.0),
    "huber": lambda z, y: np.where(np.abs(z - y) <= 1, z - y, np.where(z > y, 1.0, -1.0)),
    "poisson": chain_poisson,
    "quantile": lambda z, y: np.where(z > y, 0.5, -0.5),
}


def sample(name, n=7, K=4, seed=0):
    rng = RandomState(seed)
    z = 2 * rng.standard_normal((n, K))
    targets = {
        "cross_entropy": lambda: one_hot(rng.randint(K, size=n), K),
        "binary_cross_entropy": lambda: rng.randint(2, size=(n, K)).astype(float),
        "poisson": lambda: rng.randint(4, size=(n, K)).astype(float),
    }
    z = z / 2 if name == "poisson" else z  # exp z is to be of the size of the others
    return z, targets.get(name, lambda: rng.standard_normal((n, K)))()


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


def test_binary_cross_entropy_is_that_of_two_classes_with_logits_0_and_z(backend):
    z, y = sample("binary_cross_entropy", K=1)
    two = np.concatenate([np.zeros_like(z), z], axis=1)
    cost, delta = evaluate(backend, "binary_cross_entropy", z, y)
    softmax_cost, softmax_delta = evaluate(backend, "cross_entropy", two, np.concatenate([1 - y, y], axis=1))
    assert cost == pytest.approx(softmax_cost, rel=1e-13)
    np.testing.assert_allclose(delta[:, 0], softmax_delta[:, 1], rtol=1e-12)


@pytest.mark.parametrize("z", [30.0, -30.0, 37.43, 300.0, -700.0])
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_binary_cross_entropy_keeps_its_digits_where_it_saturates(backend, z, y):
    """softplus(-z) and -σ(-z) for y = 1: 1 - h would be zero at 37."""
    cost, delta = evaluate(backend, "binary_cross_entropy", [[z]], [[y]])
    with mp.workdps(400):
        margin = mp.mpf(z if y else -z)
        assert cost == pytest.approx(float(mp.log1p(mp.exp(-margin))), rel=1e-13)
        assert delta[0, 0] == pytest.approx(float((1 - 2 * y) / (1 + mp.exp(margin))), rel=1e-13)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_quantile_loss_is_least_at_the_quantile(backend, quantile):
    """Its mean slope over a sample changes its sign where a share q of the sample lies below."""
    y = np.sort(RandomState(0).standard_normal(200))[:, None]
    loss = quantile_loss(quantile)

    def slope(z):
        targets = backend.asarray(y)
        _, delta = loss.value_and_delta(backend.xp, backend.asarray(np.full_like(y, z)), targets, 1 / len(y))
        return float(backend.to_host(delta).sum())

    k = int(200 * quantile)
    assert slope(y[k - 2, 0] + 1e-9) < 0 < slope(y[k + 1, 0] + 1e-9)


def test_half_the_papers_squared_error_and_twice_the_median_loss(backend):
    z, y = sample("squared_error")
    for twice, half in (("mean_squared_error", "squared_error"), ("absolute_error", "quantile")):
        assert evaluate(backend, twice, z, y)[0] == pytest.approx(2 * evaluate(backend, half, z, y)[0], rel=1e-14)


@pytest.mark.parametrize("width", [0.3, 1.0, 5.0])
def test_huber_is_squared_within_its_width_and_straight_outside(backend, width):
    residual = np.array([[-7.0], [-width], [-0.1], [0.0], [0.2], [width], [9.0]])
    cost, _ = huber_loss(width).value_and_delta(
        backend.xp, backend.asarray(residual), backend.asarray(0 * residual), 1.0
    )
    by_hand = [r * r / 2 if abs(r) <= width else width * (abs(r) - width / 2) for r in residual[:, 0]]
    assert float(backend.to_host(cost)) == pytest.approx(sum(by_hand), rel=1e-14)


def test_poisson_is_half_of_scikit_learns_deviance_and_nothing_where_the_rate_is_right(backend):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    z, y = sample("poisson", K=1)
    cost, _ = evaluate(backend, "poisson", z, y)
    assert 2 * cost == pytest.approx(metrics.mean_poisson_deviance(y[:, 0], np.exp(z[:, 0])), rel=1e-12)
    assert evaluate(backend, "poisson", np.log(y + 0.5), y + 0.5)[0] == pytest.approx(0, abs=1e-15)


@losses
def test_the_tangent_of_delta_is_its_slope(backend, name):
    z, y = sample(name, n=4, K=3)
    direction, h = RandomState(5).standard_normal(z.shape), 1e-6
    up, down = (evaluate(backend, name, z + s * h * direction, y)[1] for s in (1, -1))
    found = LOSSES[name].delta_tangent(
        backend.xp, *map(backend.asarray, (z, y)), 1 / len(z), backend.asarray(direction)
    )
    np.testing.assert_allclose(backend.to_host(found), (up - down) / (2 * h), atol=1e-8)


@losses
def test_kinks_and_joints_are_where_delta_jumps_or_bends(backend, name):
    """Just left and right of every declared point delta differs, for a kink, and its slope does, for a joint."""
    loss = LOSSES[name]

    def delta(residual):
        at = backend.asarray(np.array([[0.0 + residual]]))
        return float(
            backend.to_host(loss.value_and_delta(backend.xp, at, backend.asarray(np.zeros((1, 1))), 1.0)[1])[0, 0]
        )

    h = 1e-4
    for point in loss.kinks:
        assert abs(delta(point + h) - delta(point - h)) > 0.5
    for point in loss.corners:
        slopes = [(delta(point + s * 2 * h) - delta(point + s * h)) / (s * h) for s in (1, -1)]
        assert abs(slopes[0] - slopes[1]) > 0.5
    assert bool(loss.kinks or loss.corners) == (name in ("absolute_error", "quantile", "huber"))
