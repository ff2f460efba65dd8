"""The fixture that runs a test on every backend.

XBACKPROP_TEST_BACKENDS=numpy,torch   runs those backends only.
XBACKPROP_REQUIRE=cupy,torch-cuda     turns the skip of a backend that is not available into a failure.
"""

import hypothesis
import pytest
from helpers import make_backend, selected_backends

# No deadline: a first call imports libraries. Derandomised: a run that passed passes again.
hypothesis.settings.register_profile("xbackprop", deadline=None, derandomize=True, database=None)
# JAX compiles every function for every shape anew: there, fewer of the shapes that hypothesis thinks of.
hypothesis.settings.register_profile("compiled", hypothesis.settings.get_profile("xbackprop"), max_examples=12)
hypothesis.settings.load_profile("compiled" if selected_backends() == ["jax"] else "xbackprop")


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
    if report.skipped and report.when == "setup" and "backend" in item.fixturenames:
        *_, reason = report.longrepr
        report.longrepr = (__file__, 1, reason)
    return report
