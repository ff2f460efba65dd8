"""The plugin in other people's tests: off until used, an assertion where it is used, short where it fails."""

import subprocess
import sys

import pytest

USED = """
import numpy as np
import pytest

def cubes(x):
    return np.sum(x**3)

def test_right(gradient_check):
    assert gradient_check(cubes, lambda x: 3 * x**2, np.array([1.0, 2.0])).passed

def test_wrong(gradient_check):
    gradient_check(cubes, lambda x: 3 * x**2 + np.array([0.0, 1e-3]), np.array([1.0, 2.0]))

def test_products(gradient_check):
    gradient_check.jvp(np.sin, lambda x, v: np.cos(x) * v, np.array([0.5, 2.0]))
    gradient_check.vjp(np.sin, lambda x, w: np.cos(x) * w, np.array([0.5, 2.0]))
    gradient_check.scipy(lambda x: (np.sum(x**4), 4 * x**3), np.array([1.0, 2.0]))

@pytest.fixture
def power():
    return 3

@pytest.mark.gradient_check(np.array([1.0, 2.0]), np.array([0.5]), seed=1)
def test_marked_right(power):
    return lambda x: np.sum(x**power), lambda x: power * x ** (power - 1)

@pytest.mark.gradient_check(np.array([1.0, 2.0]))
def test_marked_wrong():
    return cubes, lambda x: 2 * x**2

@pytest.mark.gradient_check(np.array([1.0]))
def test_marked_without_functions():
    return cubes

@pytest.mark.gradient_check
def test_marked_without_a_point():
    return cubes, cubes
"""
UNUSED = """
import sys

def test_it_is_not_imported():
    assert "xbackprop" not in sys.modules
"""


def run(folder, text):
    (folder / "test_theirs.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", "test_theirs.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout


@pytest.fixture(autouse=True)
def installed():
    from importlib.metadata import entry_points

    if "xbackprop" not in entry_points(group="pytest11").names:
        pytest.skip("xbackprop is not installed with its plugin here")


def test_checks_are_assertions(tmp_path):
    code, out = run(tmp_path, USED)
    assert code == 1, out
    failed = {line.split("::")[1].split()[0] for line in out.splitlines() if line.startswith("FAILED")}
    assert failed == {
        "test_wrong", "test_marked_wrong", "test_marked_without_functions", "test_marked_without_a_point",
    }, out  # fmt: skip
    assert "3 passed" in out
    assert "theta[1] is 12.001, by differences 12\n" in out
    assert "theta[1] is 8, by differences 12\n" in out
    assert "must return (f, grad), got <function cubes" in out
    assert "needs at least one point" in out
    assert "xbackprop/verification" not in out  # no traceback of ours
    assert len(out.splitlines()) < 60


def test_it_costs_nothing_where_it_is_not_used(tmp_path):
    code, out = run(tmp_path, UNUSED)
    assert code == 0, out
