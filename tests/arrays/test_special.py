"""erf, against 50 digits."""

import numpy as np
import pytest

from xbackprop.arrays.special import erf, erf_generic

mpmath = pytest.importorskip("mpmath", reason="mpmath is the oracle")

SEAMS = [s * v for v in (0.46875, 4.0, 6.0) for s in (1, -1)]  # where the generic one goes from one formula to the next
GRID = np.concatenate([
    np.linspace(-7, 7, 561), SEAMS, np.nextafter(SEAMS, 9), np.nextafter(SEAMS, -9),
    [0.0, 5e-324, 1e-300, -1e-300, 1e-16, 1e-8, -1e-8, 1e4, -1e4, 1e300],
])  # fmt: skip


@pytest.fixture(params=[erf, erf_generic], ids=["erf", "erf_generic"])
def on_host(request, backend):
    """erf on NumPy arrays, computed by the backend."""

    def function(x, dtype="float64"):
        result = request.param(backend.xp, backend.asarray(np.asarray(x), dtype))
        assert str(result.dtype).endswith(dtype)
        return backend.to_host(result)

    return function


def truth(x):
    with mpmath.workdps(50):
        return [mpmath.erf(mpmath.mpf(float(v))) for v in x]


def test_float64_is_within_1e_15_of_the_true_value(on_host):
    errors = [abs(mpmath.mpf(float(o)) - t) for o, t in zip(on_host(GRID), truth(GRID), strict=True)]
    assert max(errors) <= 1e-15


def test_float32_is_within_four_roundings_of_the_true_value(on_host):
    x = GRID[np.abs(GRID) < 1e30].astype(np.float32)
    errors = [abs(float(o) - float(t)) for o, t in zip(on_host(x, "float32"), truth(x), strict=True)]
    assert max(errors) <= 4 * 2.0**-24


def test_keeps_relative_accuracy_near_zero(on_host):
    x = np.array([1e-300, 1e-100, 1e-20, 1e-5, 0.1, 0.4])
    for ours, true in zip(on_host(x), truth(x), strict=True):
        assert abs(mpmath.mpf(float(ours)) / true - 1) < 1e-15


def test_is_odd_and_bounded(on_host):
    ours = on_host(GRID)
    np.testing.assert_array_equal(on_host(-GRID), -ours)
    assert np.abs(ours).max() == 1.0


def test_is_monotone(on_host):
    assert (np.diff(on_host(np.linspace(-5, 5, 1001))) > 0).all()


def test_limits(on_host):
    np.testing.assert_array_equal(on_host([np.inf, -np.inf, 0.0, np.nan]), [1.0, -1.0, 0.0, np.nan])
