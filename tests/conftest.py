"""The fixture that runs a test on every backend, and the rule for the tests that do without it.

A test that takes the fixture `backend` runs once on each of the selected backends, everywhere with the same cases. A
test that does not take it would do the same work in every session of nox, so it runs where NumPy is selected and
nowhere else. `@pytest.mark.backends("jax")` is for a test that makes a backend of its own: it runs where that one is
selected.

`numpy-readonly` and `strict` run the same generic functions as JAX, whose arrays cannot be written either, and
`strict-device1`, on which whatever fails on the default device fails too. Beside these they run the tests of the
folders in CORE, where the arithmetic is; alone they run all.

XBACKPROP_TEST_BACKENDS=numpy,torch   runs those backends only; with torch alone, the tests of the fixture alone.
XBACKPROP_REQUIRE=cupy,torch-cuda     turns the skip of a backend that is not available into a failure.
"""

import hypothesis
import pytest
from helpers import BACKENDS, make_backend, selected_backends

# No deadline: a first call imports libraries. Derandomised: a run that passed passes again.
hypothesis.settings.register_profile("xbackprop", deadline=None, derandomize=True, database=None)
# JAX compiles every function for every shape anew: there, fewer of the shapes that hypothesis thinks of.
hypothesis.settings.register_profile("compiled", hypothesis.settings.get_profile("xbackprop"), max_examples=12)
hypothesis.settings.load_profile("compiled" if selected_backends() == ["jax"] else "xbackprop")

#: Backends that run the core's tests alone where the other one runs all tests.
VARIANTS = {"numpy-readonly": "numpy", "strict": "strict-device1"}
CORE = {"arrays", "nn", "optim", "training"}


def pytest_configure(config):
    config.addinivalue_line("markers", "backends(*names): run the test where one of these backends is selected")


def pytest_report_header():
    """Say which tests this run leaves to another one."""
    names = ", ".join(selected_backends())
    rest = "" if "numpy" in selected_backends() else "; tests that take no backend run where numpy is selected"
    return f"backends: {names}{rest}"


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that need no backend and belong to another session."""
    kept, left_out = [], []
    for item in items:
        marker = item.get_closest_marker("backends")
        wanted = marker.args if marker else ("numpy",)
        assert set(wanted) <= set(BACKENDS), f"{item.nodeid}: no session runs {wanted}"
        here = "backend" in item.fixturenames or not set(wanted).isdisjoint(selected_backends())
        name = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        if VARIANTS.get(name) in selected_backends():
            here = here and item.path.parent.name in CORE
        (kept if here else left_out).append(item)
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(params=selected_backends())
def backend(request):
    """A `Backend`, ready to be used or to be given to an MLP."""
    made = make_backend(request.param)
    with made.device_context():
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Report the skips of one backend as one line, with their number, not as one line per test."""
    report = yield
    expected = hasattr(report, "wasxfail")  # whose longrepr has another form
    if report.skipped and report.when == "setup" and "backend" in item.fixturenames and not expected:
        *_, reason = report.longrepr
        report.longrepr = (__file__, 1, reason)
    return report
