"""`check_gradient`, `check_jvp` and `check_vjp`, as strangers who write derivatives use and misuse them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xbackprop import Verdict, check_gradient, check_jvp, check_vjp

POINT = np.array([0.3, -1.2, 2.0, 0.7])
MATRIX = np.array([[2.0, -1.0, 0.5, 0.0], [0.3, 1.0, 0.0, -2.0], [1.0, 0.0, 0.0, 1.5]])


def logsumexp(xp, t):
    m = xp.max(xp.real(t))
    return m + xp.log(xp.sum(xp.exp(t - m)))


#: f and its gradient, (xp, θ).
RIGHT = {
    "cubes": (lambda xp, t: xp.sum(t * t * t), lambda xp, t: 3 * t * t),
    "linear": (lambda xp, t: xp.sum(2 * t), lambda xp, t: 2 * xp.ones_like(t)),
    "quadratic": (lambda xp, t: xp.sum(t * t) / 2, lambda xp, t: t),
    "softmax": (logsumexp, lambda xp, t: xp.exp(t - logsumexp(xp, t))),
    "waves": (lambda xp, t: xp.sum(xp.sin(3 * t) * t), lambda xp, t: 3 * xp.cos(3 * t) * t + xp.sin(3 * t)),
    "product": (lambda xp, t: xp.prod(t), lambda xp, t: xp.prod(t) / t),
    "tiny": (lambda xp, t: 1e-9 * xp.sum(t * t * t), lambda xp, t: 3e-9 * t * t),
    "huge": (lambda xp, t: 1e9 * xp.sum(t * t * t), lambda xp, t: 3e9 * t * t),
}


def verdicts(report):
    return {f.method: f.verdict for run in report.runs for f in run.findings}


def diagnosis(report):
    return report.runs[0].tensors[0].diagnosis


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4, 1)])
def test_a_right_gradient_passes(backend, name, shape):
    f, grad = RIGHT[name]
    theta = backend.asarray(POINT.reshape(shape))
    report = check_gradient(lambda t: f(backend.xp, t), lambda t: grad(backend.xp, t), theta)
    assert report.passed, str(report)
    assert verdicts(report)["differences"] is Verdict.PASS
    assert verdicts(report)["complex step"] is Verdict.PASS
    np.testing.assert_array_equal(backend.to_host(theta), POINT.reshape(shape))


def test_a_number_is_a_point_too():
    assert check_gradient(lambda t: t**3, lambda t: 3 * t**2, np.array(0.7)).passed


def test_many_at_once(backend):
    xp, sizes = backend.xp, []

    def f(stack):
        sizes.append(stack.shape[0])
        return xp.sum(stack * stack * stack, axis=-1)

    report = check_gradient(f, lambda t: 3 * t * t, backend.asarray(POINT), vectorized=True)
    assert report.passed
    assert max(sizes) > 1
    sizes.clear()
    assert check_gradient(f, lambda t: 3 * t * t, backend.asarray(POINT), vectorized=True, memory=1).passed
    assert max(sizes) == 1


WRONG = {
    "sign": (lambda g: -g, "a sign"),
    "two": (lambda g: 2 * g, "2 times numeric"),
    "half": (lambda g: 0.5 * g, "0.5 times numeric"),
    "three": (lambda g: 3 * g, "3 times numeric: a constant factor"),
    "zero": (lambda g: 0 * g, "zero everywhere"),
    "a part in a million": (lambda g: (1 + 1e-6) * g, ""),
    "one element": (lambda g: g + np.array([0, 0, 1e-3, 0]), "1 of 4 elements"),
    "regulariser": (lambda g: g + 0.1 * POINT, "0.1 times the parameter"),
    "nan": (lambda g: g * np.nan, "not finite"),
    "infinite": (lambda g: g + np.array([np.inf, 0, 0, 0]), "not finite"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_gradient_fails_and_raises_nothing(backend, fault):
    change, says = WRONG[fault]

    def grad(t):
        right = 3 * backend.to_host(t) ** 2 + np.cos(backend.to_host(t))
        with np.errstate(invalid="ignore"):
            return backend.asarray(change(right))

    report = check_gradient(lambda t: backend.xp.sum(t**3 + backend.xp.sin(t)), grad, backend.asarray(POINT))
    assert not report.passed
    assert report.verdict is Verdict.FAIL
    assert says in diagnosis(report)
    assert "FAIL" in str(report)


def test_a_transposed_gradient_is_named():
    A = np.arange(9.0).reshape(3, 3)
    report = check_gradient(lambda t: np.sum(A * t**2), lambda t: (2 * A * t).T, 1.0 + A)
    assert diagnosis(report) == "analytic is the transpose of numeric"


# What a complex step cannot carry.


@pytest.mark.parametrize(
    "f",
    [
        lambda t: np.sum(np.abs(t)),
        lambda t: np.sum(np.abs(t[:1])) + np.sum(t[1:] * np.sign(POINT[1:])),
        lambda t: np.sum(np.sqrt(np.real(t) ** 2)),
        lambda t: float(np.sum(np.abs(t))),
        lambda t: sum(math.fabs(v) for v in t),
        lambda t: np.sum(np.sqrt(t * np.conj(t))).real,
        lambda t: np.linalg.norm(t, 1),
    ],
    ids=["abs", "one abs", "real", "float", "math", "conj", "norm"],
)
@pytest.mark.parametrize("right", [True, False])
def test_a_function_that_drops_imaginary_parts_is_found_out(f, right):
    """Its complex steps are zero, and so is the wrong gradient here."""
    report = check_gradient(f, (lambda t: np.sign(t)) if right else (lambda t: 0 * t), POINT)
    assert report.passed == right
    assert verdicts(report)["differences"] is (Verdict.PASS if right else Verdict.FAIL)
    assert "complex step" not in verdicts(report)
    assert any(note.startswith("complex step: ") for note in report.runs[0].notes)


def test_right_next_to_a_kink():
    point = np.array([1e-3, -1e-4, 0.5])
    report = check_gradient(lambda t: np.sum(np.abs(t) ** 1.0), np.sign, point)
    assert report.verdict is not Verdict.FAIL


# What cannot be told, and what is no question.


def test_what_is_not_deterministic_is_inconclusive():
    rng = np.random.RandomState(0)
    report = check_gradient(lambda t: np.sum(t**2) + 1e-3 * rng.random_sample(), lambda t: 2 * t, POINT)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "f is not deterministic" in str(report)
    report = check_gradient(lambda t: np.sum(t**2), lambda t: 2 * t + 1e-13 * rng.random_sample(4), POINT)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "grad is not deterministic" in str(report)


def test_a_noisy_function_never_fails_a_right_gradient():
    """An iterative solver's result: smooth but for errors of 1e-9 that depend on θ alone."""

    def f(t):
        return np.sum(t**3) + 1e-9 * np.sin(1e15 * np.sum(np.real(t)))

    report = check_gradient(f, lambda t: 3 * t**2, POINT, methods=["differences", "taylor"])
    assert report.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert check_gradient(f, lambda t: 2 * t**2, POINT, methods=["differences"]).verdict is Verdict.FAIL


def test_float32_is_inconclusive_and_says_why():
    report = check_gradient(lambda t: np.sum(t**2), lambda t: 2 * t, POINT.astype("float32"))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "theta is float32: differences need float64" in str(report)


def test_zero_on_both_sides_is_vacuous():
    report = check_gradient(lambda t: 0 * np.sum(t), lambda t: 0 * t, POINT)
    assert report.verdict is Verdict.VACUOUS
    assert not report.passed


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: check_gradient(np.sum, np.ones_like, np.arange(4)), "theta must be an array of real floating type"),
        (lambda: check_gradient(np.sum, np.ones_like, POINT + 0j), "theta must be an array of real floating type"),
        (lambda: check_gradient(np.sum, np.ones_like, POINT[:0]), r"theta must have elements, got shape \(0,\)"),
        (lambda: check_gradient(np.sum, np.ones_like, POINT * np.nan), "theta must be finite"),
        (lambda: check_gradient(np.sum, lambda t: np.ones(3), POINT), r"must have shape \(4,\), got \(3,\)"),
        (lambda: check_gradient(np.sum, lambda t: np.ones(4, "U1"), POINT), "grad.* must be real numbers"),
        (lambda: check_gradient(np.sin, np.cos, POINT), r"f\(theta\) must be one number, got shape \(4,\)"),
        (lambda: check_gradient(lambda t: np.nan, np.cos, POINT), r"f\(theta\) must be finite"),
        (lambda: check_gradient(np.sum, np.cos, POINT, methods=["guess"]), "methods must be one of"),
        (lambda: check_gradient(lambda t: np.sum(t), np.cos, POINT, vectorized=True), "is it vectorized"),
        (lambda: check_jvp(np.sin, lambda x, v: v[:2], POINT), r"jvp\(x, v\) must have shape \(4,\), got \(2,\)"),
        (lambda: check_vjp(np.sin, lambda x, w: w[:2], POINT), r"vjp\(x, w\) must have shape \(4,\), got \(2,\)"),
    ],
)
def test_bad_input_is_an_error_that_says_what_came(call, says):
    with pytest.raises(ValueError, match=rf"check_.*{says}"):
        call()


def test_a_users_own_error_comes_through():
    def f(t):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_gradient(f, np.cos, POINT)


def test_functions_that_write_into_their_argument_do_no_harm():
    def f(t):
        t *= t
        return np.sum(t)

    def grad(t):
        t *= 2
        return t

    theta = POINT.copy()
    assert check_gradient(f, grad, theta).passed
    np.testing.assert_array_equal(theta, POINT)


# Products with a Jacobian.


def test_products_with_a_jacobian(backend):
    xp, A = backend.xp, backend.asarray(MATRIX)

    def f(x):
        return (xp.astype(A, x.dtype) if str(x.dtype) != str(A.dtype) else A) @ xp.sin(x)

    x = backend.asarray(POINT)
    assert check_jvp(f, lambda x, v: A @ (xp.cos(x) * v), x).passed
    assert check_vjp(f, lambda x, w: xp.cos(x) * (xp.matrix_transpose(A) @ w), x).passed
    assert check_jvp(f, lambda x, v: A @ (xp.sin(x) * v), x).verdict is Verdict.FAIL
    wrong = check_vjp(f, lambda x, w: -xp.cos(x) * (xp.matrix_transpose(A) @ w), x)
    assert wrong.verdict is Verdict.FAIL
    assert "a sign" in diagnosis(wrong)


coefficients = st.lists(st.floats(-3, 3, allow_nan=False), min_size=2, max_size=5)


@given(coefficients, st.integers(0, 10**6))
def test_polynomials(terms, seed):
    """A right gradient never fails; one element off by a part in a million of the largest always does."""
    c, k = np.array(terms), np.arange(len(terms))
    rng = np.random.RandomState(seed)
    theta = rng.uniform(0.5, 2.0, 3) * rng.choice([-1, 1], 3)

    def f(t):
        return np.sum(c * (t[:, None] ** k)) + t[0] * t[1] * t[2]

    def grad(t):
        slope = np.sum((c * k)[1:] * t[:, None] ** k[:-1], axis=1)
        return slope + np.prod(t) / t

    assert check_gradient(f, grad, theta, pictures=False).verdict is not Verdict.FAIL

    def wrong(t):
        g = grad(t)
        g[seed % 3] += 1e-6 * np.max(np.abs(g))
        return g

    assert check_gradient(f, wrong, theta, pictures=False).verdict is Verdict.FAIL
