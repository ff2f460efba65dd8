"""Each activation and its derivative against 60 digits, on every backend."""

import numpy as np
import pytest
from helpers import DTYPES, least

from xbackprop.nn.activations import ACTIVATIONS, LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

mp = pytest.importorskip("mpmath", reason="mpmath is the oracle").mp

NAMES = ("identity", "relu", "leaky_relu", "tanh", "logistic", "softplus", "elu", "gelu", "silu", "selu",
         "mish")  # fmt: skip
HALF = 0.5


def sigma(z):
    return 1 / (1 + mp.exp(-z))


def softplus(z):
    return mp.log1p(mp.exp(z))


def sigma_prime(z):
    return 1 / (4 * mp.cosh(z / 2) ** 2)


# name: f, f′ and, where a sum in them cancels, the size of its terms, of which rounding takes its share.
TRUTH = {
    "identity": (lambda z: z, lambda z: mp.mpf(1)),
    "relu": (lambda z: max(z, mp.mpf(0)), lambda z: mp.mpf(z > 0)),
    "leaky_relu": (lambda z: z if z > 0 else LEAKY_SLOPE * z, lambda z: mp.mpf(1 if z > 0 else LEAKY_SLOPE)),
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "logistic": (sigma, sigma_prime),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), sigma),
    "elu": (lambda z: z if z > 0 else mp.expm1(z), lambda z: mp.mpf(1) if z > 0 else mp.exp(z)),
    "gelu": (lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z)),
    "silu": (lambda z: z * sigma(z), lambda z: sigma(z) + z * sigma_prime(z)),
    "selu": (
        lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mp.expm1(z)),
        lambda z: mp.mpf(SELU_SCALE) if z > 0 else mp.mpf(SELU_SCALE) * SELU_ALPHA * mp.exp(z),
    ),
    "mish": (
        lambda z: z * mp.tanh(softplus(z)),
        lambda z: mp.tanh(softplus(z)) + z * mp.sech(softplus(z)) ** 2 * sigma(z),
    ),
}
SCALE = {
    "gelu": (lambda z: abs(z), lambda z: 1 + abs(z) * mp.npdf(z)),  # Φ = ½ + ½ erf cancels for z < 0
    "silu": (lambda z: abs(z * sigma(z)), lambda z: sigma(z) + abs(z) * sigma_prime(z)),
    "mish": (
        lambda z: abs(z) * mp.tanh(softplus(z)),
        lambda z: mp.tanh(softplus(z)) + abs(z) * mp.sech(softplus(z)) ** 2 * sigma(z),
    ),
}
POINTS = np.array([
    *np.linspace(-8, 8, 65) + 0.01, 1e-300, -1e-300, 1e-8, -1e-8, 30.0, -30.0, 37.43, -37.43,
    100.0, -100.0, 710.0, -710.0, 745.0, -745.0, 1e4, -1e4,
])  # fmt: skip


def evaluate(backend, name, z, dtype):
    """f(z) and f′(z), computed by the backend."""
    activation = ACTIVATIONS[name]
    z = backend.asarray(np.asarray(z), dtype)
    h = backend.bind(activation.f)(z)
    slope = backend.bind(activation.df)(z, h)
    assert h.dtype == slope.dtype == z.dtype
    return backend.to_host(h), backend.to_host(slope)


def test_the_table_has_the_promised_rows():
    assert tuple(ACTIVATIONS) == NAMES
    assert all(ACTIVATIONS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_f_and_its_derivative_are_right_to_rounding(backend, name, dtype):
    points = POINTS.astype(dtype)
    unit, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    flushed = 2 * least(backend, dtype)  # of an exp(z), which silu and mish multiply by z
    with mp.workdps(60):
        for ours, true_f, scale in zip(
            evaluate(backend, name, points, dtype), TRUTH[name], SCALE.get(name, TRUTH[name]), strict=True
        ):
            for z, value in zip(points, ours, strict=True):
                z = mp.mpf(float(z))
                error = abs(mp.mpf(float(value)) - true_f(z))
                assert error <= 8 * unit * abs(scale(z)) + 2 * tiny + flushed * abs(z), f"at z = {z}"


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_of_the_derivative_is_the_derivative_of_the_oracle(name):
    f, df = TRUTH[name]
    with mp.workdps(60):
        for z in (-20, -3, -1.28, -0.3, 0.2, 1.1, 4, 25):
            assert abs(mp.diff(f, mp.mpf(z)) - df(mp.mpf(z))) < mp.mpf(10) ** -25


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_derivatives_keep_their_digits_where_the_function_saturates(backend, name):
    """σ′(30) = 9.3576e-14: h(1 - h) gives 9.348e-14, and zero at 37."""
    z = np.array([18.0, -18.0, 30.0, -30.0, 37.43, -37.43, 300.0, -300.0])
    _, slope = evaluate(backend, name, z, "float64")
    with mp.workdps(60):
        true = np.array([float(TRUTH[name][1](mp.mpf(v))) for v in z])
    np.testing.assert_allclose(slope, true, rtol=1e-14, atol=0)


def test_sigma_prime_at_30_as_published(backend):
    _, slope = evaluate(backend, "logistic", [30.0], "float64")
    assert slope[0] == pytest.approx(9.3576e-14, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_at_zero_the_derivative_is_the_one_from_the_left(backend, name, zero):
    h, slope = evaluate(backend, name, [zero], "float64")
    with mp.workdps(60):
        f, df = TRUTH[name]
        assert h[0] == pytest.approx(float(f(mp.mpf(0))), abs=1e-16)
        assert slope[0] == pytest.approx(float(df(mp.mpf("-1e-40"))), rel=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_where_the_derivative_jumps(name):
    _, df = TRUTH[name]
    with mp.workdps(60):
        jump = abs(df(mp.mpf("1e-40")) - df(mp.mpf("-1e-40")))
    assert (jump > HALF) == (0.0 in ACTIVATIONS[name].kinks)
    assert set(ACTIVATIONS[name].kinks) <= {0.0}


@pytest.mark.parametrize("name", NAMES)
def test_works_elementwise_on_any_shape(backend, name):
    z = np.linspace(-2, 2, 24)
    h, slope = evaluate(backend, name, z, "float64")
    for shape in ((4, 6), (2, 3, 4), (24, 1)):
        for flat, shaped in zip((h, slope), evaluate(backend, name, z.reshape(shape), "float64"), strict=True):
            np.testing.assert_allclose(shaped, flat.reshape(shape), rtol=1e-15, atol=1e-16)
