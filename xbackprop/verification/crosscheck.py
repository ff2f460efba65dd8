"""The cross-check matrix: every usable backend on every device × every activation, held to three references.

1. The paper's check: central differences, eq. 18, in float64, worst over both tasks and 0 to 3 hidden layers.
2. torch.autograd: the relative difference of the cost and of each tensor of the gradient, in float64 and float32.
3. NumPy: the weights after 20 epochs from the same seed.

What cannot be run is reported as such, with the reason: nothing passes in silence.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xbackprop.activations import ACTIVATIONS, Activation
from xbackprop.backend import Backend, load, names
from xbackprop.errors import ConvergenceWarning, GradientCheckError
from xbackprop.mlp import MLP
from xbackprop.settings import TASKS
from xbackprop.verification.oracle import relative_difference, torch_gradient

#: What is measured, in the order of a table, and what each value must not exceed.
LIMITS = {
    "classification": 1e-7,
    "regression": 1e-7,
    "oracle float64": 1e-13,
    "oracle float32": 1e-5,
    "parity": 1e-9,
}
ORACLE_MISSING = "torch is not installed: pip install 'xbackprop[torch]'"
DEPTHS = range(4)
WIDTH = 5
ALPHA = 0.1  # large enough for a forgotten penalty to show
SEED = 0


class Installed(NamedTuple):
    """A backend that is installed: the version and the devices of its library, or the reason why it cannot be used."""

    name: str
    version: str
    devices: list[str]
    reason: str | None


@dataclass(frozen=True)
class Row:
    """What one backend on one device did with one activation.

    values : what was measured, by the names in `LIMITS`; None for what was not run.
    reasons : why something was not run, or what broke.
    """

    backend: str
    device: str
    activation: str
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]

    @property
    def failures(self) -> list[str]:
        """The names of the values that exceed their limits, NaN among them."""
        return [name for name, value in self.values.items() if value is not None and not value <= LIMITS[name]]


def installed() -> list[Installed]:
    """All the backends, usable or not."""
    return [_installed(name) for name in names()]


def _installed(name: str) -> Installed:
    try:
        backend = load(name)
        devices = backend.devices()
        return Installed(name, backend(device=parse_device(devices[0])).version, devices, None)  # type: ignore[call-arg]
    except Exception as error:  # a third party's library may fail to load in any way it likes
        return Installed(name, "", [], str(error) or type(error).__name__)


def parse_device(text: str | None) -> str | int | None:
    """A device as a library wants it: CuPy's are numbers, torch's are names."""
    return int(text) if text is not None and text.isdecimal() else text


def crosscheck(name: str, device: str | None = None) -> Iterator[Row]:
    """The rows of one backend on one device, one for every activation, each as soon as it is known.

    Raises
    ------
    BackendError : if the backend or the device is not there.
    """
    backend = load(name)(device=parse_device(device))  # type: ignore[call-arg]
    for activation in ACTIVATIONS.values():
        yield check_activation(backend, activation, device or "")


def check_activation(backend: Backend, activation: Activation, device: str = "") -> Row:
    """One row: all that `LIMITS` names, on one backend with one activation, a user's own or one of `ACTIVATIONS`."""
    measures: dict[str, Callable[[], float]] = {
        "classification": lambda: _paper(backend, activation, "classification"),
        "regression": lambda: _paper(backend, activation, "regression"),
        "oracle float64": lambda: _oracle(backend, activation, "float64"),
        "oracle float32": lambda: _oracle(backend, activation, "float32"),
        "parity": lambda: _parity(backend, activation),
    }
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, measure in measures.items():
        if name.startswith("oracle") and importlib.util.find_spec("torch") is None:
            values[name], reasons[name] = None, ORACLE_MISSING
            continue
        try:
            values[name] = measure()
        except Exception as error:  # one broken backend must not keep the others from being checked
            values[name], reasons[name] = np.inf, f"{type(error).__name__}: {error}"
    return Row(backend.name, device, activation.name, values, reasons)


def _paper(backend: Backend, activation: Activation, task: str) -> float:
    """The largest error of eq. 18 over all depths; infinite where a slope beside a kink is wrong."""
    X, y = _data(task, 8)
    worst = 0.0
    for depth in DEPTHS:
        net = _network(backend, activation, task, depth).initialize(X, y)
        try:
            error = net.gradient_check(X, y, tolerance=LIMITS[task])
        except GradientCheckError:
            error = np.inf if net.gradient_check_.wrong else net.gradient_check_.error
        worst = max(worst, error)
    return worst


def _oracle(backend: Backend, activation: Activation, dtype: str) -> float:
    """The largest relative difference to torch.autograd over both tasks, all depths and all tensors, samples weighted."""
    worst = 0.0
    for task, loss in TASKS.items():
        X, y = (a.astype(dtype) if a.dtype.kind == "f" else a for a in _data(task, 32))
        weight = np.random.RandomState(SEED).uniform(0.5, 2.0, len(X)).astype(dtype)
        targets = y if task == "regression" else np.eye(int(y.max()) + 1, dtype=dtype)[y]
        for depth in DEPTHS:
            net = _network(backend, activation, task, depth).initialize(X, y)
            cost, dW, db = net.loss_and_gradient(X, y, weight)
            layers = list(zip(_host(backend, net.coefs_), _host(backend, net.intercepts_), strict=True))
            total = weight.sum()
            share = (weight / total)[:, None]
            expected_cost, expected = torch_gradient(
                layers, net_activations(net, activation), loss, X, targets, share, float(ALPHA / total)
            )
            got = zip(_host(backend, dW), _host(backend, db), strict=True)
            pairs = [(cost, expected_cost), *((a, b) for g, e in zip(got, expected, strict=True) for a, b in zip(g, e, strict=True))]
            worst = max(worst, *(relative_difference(np.asarray(a), np.asarray(b)) for a, b in pairs))
    return worst


def _parity(backend: Backend, activation: Activation) -> float:
    """The largest difference between a weight trained here and the same one trained on NumPy, over both tasks."""
    worst = 0.0
    for task in TASKS:
        X, y = _data(task, 64)
        here, there = (_trained(b, activation, task, X, y) for b in (backend, load("numpy")()))  # type: ignore[call-arg]
        worst = max(worst, *(float(np.max(np.abs(a - b))) for a, b in zip(here, there, strict=True)))
    return worst
