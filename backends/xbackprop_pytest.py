"""A plugin for pytest: `gradient_check`, as a fixture and as a marker. It imports xbackprop where a test uses it.

>>> def test_cubes(gradient_check):  # doctest: +SKIP
...     gradient_check(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.array([1.0, 2.0]))

>>> @pytest.mark.gradient_check(np.array([1.0, 2.0]))  # doctest: +SKIP
... def test_cubes():
...     return lambda x: np.sum(x**3), lambda x: 3 * x**2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class GradientCheck:
    """The checks of xbackprop as assertions: each returns its `Report`, or fails in some lines."""

    def __call__(self, f: Callable, grad: Callable, theta: Any, **options: Any) -> Any:
        """Assert that grad is the gradient of f at θ; see `xbackprop.check_gradient`."""
        __tracebackhide__ = True
        return self._held("check_gradient", f, grad, theta, **options)

    def jvp(self, f: Callable, jvp: Callable, x: Any, **options: Any) -> Any:
        """Assert that jvp(x, v) is Jv; see `xbackprop.check_jvp`."""
        __tracebackhide__ = True
        return self._held("check_jvp", f, jvp, x, **options)

    def vjp(self, f: Callable, vjp: Callable, x: Any, **options: Any) -> Any:
        """Assert that vjp(x, w) is Jᵀw; see `xbackprop.check_vjp`."""
        __tracebackhide__ = True
        return self._held("check_vjp", f, vjp, x, **options)

    def torch(self, function: Any, *inputs: Any, **options: Any) -> Any:
        """Assert that the backward pass of a torch Function or module is right; see `xbackprop.check_torch`."""
        __tracebackhide__ = True
        return self._held("check_torch", function, *inputs, **options)

    def jax(self, function: Callable, *inputs: Any, **options: Any) -> Any:
        """Assert that the custom derivative of a JAX function is right; see `xbackprop.check_jax`."""
        __tracebackhide__ = True
        return self._held("check_jax", function, *inputs, **options)

    def scipy(self, fun: Callable, x0: Any, **options: Any) -> Any:
        """Assert that scipy.optimize's jac belongs to fun; see `xbackprop.check_scipy`."""
        __tracebackhide__ = True
        return self._held("check_scipy", fun, x0, **options)

    def _held(self, name: str, *arguments: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        import xbackprop

        report = getattr(xbackprop, name)(*arguments, **{"pictures": False, **options})
        if not report:
            raise AssertionError(report.short)
        return report


@pytest.fixture(scope="session")
def gradient_check() -> GradientCheck:
    """Check hand-written derivatives: ``gradient_check(f, grad, theta)``; also `.jvp .vjp .torch .jax .scipy`."""
    return GradientCheck()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "gradient_check(*points, **options): the test returns (f, grad), which are checked at each of the points",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a test that has the marker, and check what it returns."""
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker("gradient_check")
    if marker is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    pair = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(callable, pair)):
        pytest.fail(f"a test with the marker gradient_check must return (f, grad), got {pair!r}", pytrace=False)
    if not marker.args:
        pytest.fail("the marker gradient_check needs at least one point: gradient_check(theta)", pytrace=False)
    try:
        for theta in marker.args:
            GradientCheck()(pair[0], pair[1], theta, **marker.kwargs)
    except AssertionError as error:
        pytest.fail(str(error), pytrace=False)
    return True
