"""Compute the matrix of `xbackprop verify`: backend × activation × loss × dtype × method, on small networks.

Each cell holds the findings of `verify` on a network of its kind, and in float64 also `parity`: the same seed must
train to the same weights as on NumPy. A method that cannot run is reported with the reason, so that nothing passes
unchecked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.arrays.discovery import backend_class
from xbackprop.arrays.threads import one_thread
from xbackprop.errors import ConvergenceWarning
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.setting_table import TASK_LOSSES, TASKS
from xbackprop.mlp.verify import verify
from xbackprop.nn.activations import ACTIVATIONS, Activation
from xbackprop.nn.losses import LOSSES
from xbackprop.verification.findings import (
    Curves,
    Finding,
    Method,
    Role,
    Run,
    Verdict,
    worst_finding,
    worst_verdict,
)

DTYPES = ("float64", "float32")
SIZES = (5, 5)  # the hidden layers
DEPTHS = ((), (5,), (5, 5), (5, 5, 5))  # the hidden layers with `thorough`
SAMPLES, FEATURES = 12, 4
ALPHA = 0.1  # large enough for a forgotten penalty to show
PARITY = Method(
    "parity",
    title="parity",
    role=Role.SUPPORTING,
    bound=1e-9,
    explained="The largest difference between a weight after 20 epochs here and the same weight on NumPy.",
)
ITSELF = Method("the run itself", title="the run itself", role=Role.SUPPORTING, bound=float("nan"), explained="")


class Kind(NamedTuple):
    """One row of the table: networks of one activation, loss and dtype, on a backend."""

    backend: Backend
    device: str
    activation: Activation
    loss: str
    dtype: str
    seed: int

    @property
    def task(self) -> str:
        """The task that the loss belongs to."""
        return next(task for task, losses in TASK_LOSSES.items() if self.loss in losses)

    def network(self, sizes: tuple[int, ...], backend: Backend | None = None) -> MLP:
        """Return an untrained network with these hidden layers, which `fit` trains for 20 epochs."""
        return MLP(
            sizes,
            self.activation,
            task=self.task,
            loss=self.loss,
            alpha=ALPHA,
            batch_size=5,
            max_iter=20,
            backend=backend or self.backend,
            dtype=self.dtype,
            random_state=self.seed,
        )

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return X, y with 3 classes, 2 labels or 2 numbers per row, and sample weights."""
        rng = np.random.RandomState(self.seed)
        X = rng.standard_normal((SAMPLES, FEATURES))
        draw = {
            "cross_entropy": lambda: np.arange(SAMPLES) % 3,
            "binary_cross_entropy": lambda: rng.randint(2, size=(SAMPLES, 2)),
            "poisson": lambda: rng.poisson(2.0, (SAMPLES, 2)).astype(float),
        }
        y = draw.get(self.loss, lambda: rng.standard_normal((SAMPLES, 2)))()
        return X, y, rng.uniform(0.5, 2.0, SAMPLES)


class Cell(NamedTuple):
    """The results of one row of the table: its kind, and the runs of `verify`."""

    kind: Kind
    runs: list[Run]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the runs."""
        return worst_verdict(run.verdict for run in self.runs)

    def worst(self, method: str) -> Finding | None:
        """Return the worst finding of a method over the runs, or None if it did not run."""
        return worst_finding(f for run in self.runs for f in run.findings if f.method == method)


def matrix(
    backend: Backend,
    device: str = "",
    *,
    activations: Iterable[Activation] = tuple(ACTIVATIONS.values()),
    dtypes: Iterable[str] = DTYPES,
    methods: Sequence[str] | None = None,
    thorough: bool = False,
    seed: int = 0,
) -> Iterator[Cell]:
    """Yield the cells of one backend on one device, as they are computed.

    Every activation is combined with the losses of `TASKS`, and the other losses with tanh.

    thorough : whether to check networks of 0 to 3 hidden layers, after training, at three points with three penalties.
    """
    pairs = [(f, loss) for f in activations for loss in LOSSES if loss in TASKS.values() or f is ACTIVATIONS["tanh"]]
    for (activation, loss), dtype in product(pairs, dtypes):
        kind = Kind(backend, device, activation, loss, dtype, seed)
        depths = DEPTHS if thorough else (SIZES,)
        yield Cell(kind, [run for sizes in depths for run in _runs(kind, sizes, methods, thorough)])


def _runs(kind: Kind, sizes: tuple[int, ...], methods: Sequence[str] | None, thorough: bool) -> list[Run]:
    """Return the runs of `verify` on one network, or one failed run if the backend raises."""
    place = {
        "backend": kind.backend.name,
        "device": kind.device,
        "dtype": kind.dtype,
        "activation": kind.activation.name,
        "loss": kind.loss,
        "hidden": "-".join(map(str, sizes)) or "none",
    }
    try:
        with one_thread():
            X, y, weight = kind.data()
            net = kind.network(sizes)
            net = _trained(net, X, y) if thorough else net.initialize(X, y)
            report = verify(net, X, y, weight, methods=methods, thorough=thorough, seed=kind.seed, pictures=False)
            runs = list(report.runs)
            if kind.dtype == "float64" and methods is None:
                runs[0] = replace(runs[0], findings=[*runs[0].findings, _parity(kind, sizes)])
    except Exception as error:  # one broken backend must not keep the others from being checked
        reason = f"{type(error).__name__}: {error}"
        broken = Finding(ITSELF, "θ", Verdict.FAIL, float("nan"), float("nan"), reason=reason)
        runs = [Run({}, [], [broken], [], float("nan"), Curves(), 0.0)]
    return [replace(run, place={**run.place, **place}) for run in runs]


def _parity(kind: Kind, sizes: tuple[int, ...]) -> Finding:
    """Compare every weight trained on this backend with the same weight trained on NumPy."""
    X, y, _ = kind.data()
    numpy = backend_class("numpy")()  # type: ignore[call-arg]
    here, there = (
        [b.to_host(w) for net in [_trained(kind.network(sizes, b), X, y)] for w in (*net.coefs_, *net.intercepts_)]
        for b in (kind.backend, numpy)
    )
    error = float(np.max([np.max(np.abs(a - b)) for a, b in zip(here, there, strict=True)]))
    verdict = Verdict.PASS if error <= PARITY.bound else Verdict.FAIL
    reason = "" if verdict is Verdict.PASS else "the same seed trains to other weights than on NumPy"
    return Finding(PARITY, "θ", verdict, error, PARITY.bound, reason=reason)


def _trained(net: MLP, X: np.ndarray, y: np.ndarray) -> MLP:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(X, y)
