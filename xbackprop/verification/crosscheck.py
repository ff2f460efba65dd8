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
from typing import NamedTuple

import numpy as np

from xbackprop.activations import ACTIVATIONS, Activation
from xbackprop.backend import Array, Backend, load, names
from xbackprop.errors import ConvergenceWarning, GradientCheckError
from xbackprop.mlp import MLP
from xbackprop.settings import TASKS
from xbackprop.verification.oracle import relative_difference, torch_gradient
from xbackprop.verification.threads import one_thread

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
            with one_thread():
                values[name] = measure()
        except Exception as error:  # one broken backend must not keep the others from being checked
            values[name], reasons[name] = np.inf, f"{type(error).__name__}: {error}"
    return Row(backend.name, device, activation.name, values, reasons)


def _paper(backend: Backend, activation: Activation, task: str) -> float:
    """The error of eq. 18, worst over all depths; infinite where the check fails for another reason than its size."""
    X, y = _data(task, 8)
    errors = []
    for depth in DEPTHS:
        net = _network(backend, activation, task, depth).initialize(X, y)
        try:
            errors.append(net.gradient_check(X, y, tolerance=LIMITS[task]))
        except GradientCheckError:
            error = net.gradient_check_.error
            errors.append(np.inf if error < LIMITS[task] else error)
    return _worst(errors)


def _oracle(backend: Backend, activation: Activation, dtype: str) -> float:
    """The relative difference to torch.autograd, worst over tasks, depths and tensors; samples are weighted."""
    differences = []
    for task, loss in TASKS.items():
        X, y = _data(task, 32)
        X, weight = X.astype(dtype), np.random.RandomState(SEED).uniform(0.5, 2.0, len(X)).astype(dtype)
        targets = np.eye(y.max() + 1, dtype=dtype)[y] if task == "classification" else y.astype(dtype)
        share, alpha_over_n = (weight / weight.sum())[:, None], float(ALPHA / weight.sum())
        for depth in DEPTHS:
            net = _network(backend, activation, task, depth).initialize(X, y)
            cost, dW, db = net.loss_and_gradient(X, y, weight)
            layers = list(zip(_host(backend, net.coefs_), _host(backend, net.intercepts_), strict=True))
            true_cost, true = torch_gradient(layers, [activation] * depth, loss, X, targets, share, alpha_over_n)
            true_dW, true_db = zip(*true, strict=True)
            found = [np.asarray(cost), *_host(backend, dW), *_host(backend, db)]
            expected = [np.asarray(true_cost), *true_dW, *true_db]
            differences += [relative_difference(a, b) for a, b in zip(found, expected, strict=True)]
    return _worst(differences)


def _parity(backend: Backend, activation: Activation) -> float:
    """The largest difference between a weight trained here and the same one trained on NumPy, over both tasks."""
    numpy = load("numpy")()  # type: ignore[call-arg]
    differences = []
    for task in TASKS:
        pairs = zip(_trained(backend, activation, task), _trained(numpy, activation, task), strict=True)
        differences += [float(np.max(np.abs(here - there))) for here, there in pairs]
    return _worst(differences)


def _trained(backend: Backend, activation: Activation, task: str) -> list[np.ndarray]:
    """All the weights and biases after 20 epochs."""
    net = _network(backend, activation, task, depth=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(*_data(task, 64))
    return _host(backend, net.coefs_) + _host(backend, net.intercepts_)


def _network(backend: Backend, activation: Activation, task: str, depth: int) -> MLP:
    return MLP(
        (WIDTH,) * depth,
        activation,
        task=task,
        alpha=ALPHA,
        batch_size=16,
        max_iter=20,
        backend=backend,
        random_state=SEED,
    )


def _data(task: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n samples of 4 features; 3 classes, or 2 outputs."""
    rng = np.random.RandomState(SEED)
    X = rng.standard_normal((n, 4))
    return X, np.arange(n) % 3 if task == "classification" else rng.standard_normal((n, 2))


def _host(backend: Backend, arrays: list[Array]) -> list[np.ndarray]:
    return [backend.to_host(a) for a in arrays]


def _worst(values: list[float]) -> float:
    return float(np.max(values))  # unlike max(), it lets no NaN get lost
