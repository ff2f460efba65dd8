"""`xbackprop.verify`: checks of the gradient of a user's own network on the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from xbackprop import validation
from xbackprop.arrays.backend import Backend, dtype_name
from xbackprop.arrays.discovery import backend_class, transfer
from xbackprop.data.dataset import Data
from xbackprop.errors import BackendError
from xbackprop.mlp.mlp import MLP
from xbackprop.mlp.model import Model, same_samples
from xbackprop.nn.initializers import draw_theta
from xbackprop.nn.objective import Batch, make_batch
from xbackprop.verification.claim import STACK_BYTES
from xbackprop.verification.findings import Run
from xbackprop.verification.methods import METHODS
from xbackprop.verification.report.report import Report
from xbackprop.verification.run import DEFAULT, make_header, run_methods

WHERE = "verify"
DTYPES = ("float32", "float64")
SMALL = 0.05  # the factor of θ at the point of small gradients


def verify(
    net: MLP,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    methods: Iterable[str] | None = None,
    backends: Iterable[str | Backend] | None = None,
    dtypes: Iterable[str] | None = None,
    thorough: bool = False,
    seed: int = 0,
    memory: int = STACK_BYTES,
    pictures: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Check the gradient of a network against its cost, by methods that share none of its formulas.

    The network is checked with its own loss, penalty, weights and data, and is not changed.

    Parameters
    ----------
    net : a network with weights, after `fit` or `initialize`, or an ensemble, of which each network is checked.
    X, y, sample_weight : as `fit` takes them.
    methods : names out of "complex step", "differences", "taylor", "dot product", "oracle", "reference", "paper". By
        default all but "reference" and "differences", which are added if the complex step cannot run.
    backends : names or instances; by default the network's own.
    dtypes : "float32", "float64" or both; by default the network's own.
    thorough : whether to run differences in any case, and to check at the present weights, at fresh ones and at small
        ones, with the present α, with 0 and with one as large as n.
    seed : the seed of random directions and samples. memory : the bytes that a stack of moved parameters may take.
    pictures : whether to measure what `Report.plot` and `Report.to_html` draw.
    progress : called with a line of text before each step of the work; `print` shows them.

    Returns
    -------
    A `Report`. A wrong gradient is a FAIL in it and raises nothing; a backend that is not available is in `not_run`.

    Raises
    ------
    ValueError : for data that do not fit the network, or an unknown name.
    NotFittedError : if the network has no weights yet.
    """
    if not isinstance(net, MLP):
        raise ValueError(f"{WHERE}: net must be an xbackprop.MLP, got {net!r}; check_gradient is for functions")
    models = net.models_(WHERE)
    model = models[0]
    asked = _methods(methods, thorough)
    widths = [dtype_name(model.theta)] if dtypes is None else _names("dtypes", dtypes, DTYPES)
    validation.integer(WHERE, "memory", memory, 1)
    validation.integer(WHERE, "seed", seed, 0)
    data = {dtype: same_samples(WHERE, model, X, y, sample_weight, dtype=dtype) for dtype in widths}
    homes, not_run = _backends(model, backends)
    runs: list[Run] = []
    for (j, model), home, dtype in product(enumerate(models, 1), homes, widths):
        batch = _batch_at(home, data[dtype])
        name = {"network": f"{j} of {len(models)}"} if len(models) > 1 else {}
        for place, theta, alpha in _points(model, batch, thorough, seed):
            objective = replace(model.objective, backend=home, alpha=alpha)
            run = run_methods(
                objective, home.asarray(theta, dtype), batch, methods=asked, seed=seed, memory=memory,
                pictures=pictures, place={**place, **name}, progress=progress,
            )  # fmt: skip
            runs.append(run)
    if methods is not None:
        not_run |= {name: reason for run in runs for name, reason in _missing(asked or (), run).items()}
    return Report(_header(model, next(iter(data.values())), seed), runs, not_run)


def _missing(asked: Collection[str], run: Run) -> dict[str, str]:
    """Return the methods that were asked for by name and could not run, each with the reason."""
    ran = {finding.method for finding in run.findings}
    reasons = dict(note.split(": ", 1) for note in run.notes if ": " in note)
    return {f"{name} on {run.place['backend']}": reasons.get(name, "") for name in asked if name not in ran}


def _methods(methods: Iterable[str] | None, thorough: bool) -> Collection[str] | None:
    if methods is None:
        return (*DEFAULT, "differences") if thorough else None
    return _names("methods", methods, METHODS)


def _names(what: str, given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return one name or several as a list; raise ValueError for an unknown name or an empty list."""
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise ValueError(f"{WHERE}: {what} must name at least one of {', '.join(known)}")
    return [validation.one_of(WHERE, what, name, known) for name in names]


def _backends(model: Model, backends: Iterable[str | Backend] | None) -> tuple[list[Backend], dict[str, str]]:
    """Return the backends that can be used, and the reasons why the others cannot."""
    if backends is None:
        return [model.objective.backend], {}
    usable: list[Backend] = []
    not_run = {}
    for backend in [backends] if isinstance(backends, str | Backend) else backends:
        try:
            usable.append(backend if isinstance(backend, Backend) else backend_class(backend)())  # type: ignore[call-arg]
        except BackendError as error:
            not_run[f"backend {backend}"] = str(error)
    return usable, not_run


def _batch_at(home: Backend, data: Data) -> Batch:
    """Return the data as one batch of another backend."""
    with data.backend.device_context():
        batch = data.batch()
    with home.device_context():
        X, y, weight = (None if a is None else transfer(a, data.backend, home) for a in (batch.X, batch.y, data.weight))
        return make_batch(home, X, y, weight)


def _points(
    model: Model, batch: Batch, thorough: bool, seed: int
) -> Iterator[tuple[dict[str, str], np.ndarray, float]]:
    """Yield the points to check at: for each its place in words, θ on the host, and α."""
    objective = model.objective
    theta = objective.backend.to_host(model.theta)
    points, alphas = {"given": theta}, {"as given": objective.alpha}
    if thorough:
        inits = [f.init for f in objective.hidden]
        last = inits[-1] if inits else "glorot_uniform"
        fresh = draw_theta([*inits, last], np.random.RandomState(seed), objective.layout, "float64")
        points |= {"fresh": fresh, "small": SMALL * theta}
        alphas |= {"none": 0.0, "large": float(max(batch.X.shape[0], 10 * objective.alpha))}
    for point, at in points.items():
        for alpha in dict.fromkeys(alphas.values()):
            yield {"point": point}, at, alpha


def _header(model: Model, data: Data, seed: int) -> dict[str, str]:
    """Return the head of the report: the network, its data, the machine."""
    layout, hidden = model.objective.layout, model.objective.hidden
    activations = ", ".join(dict.fromkeys(f.name for f in hidden)) or "no hidden layer"
    facts = {
        "network": f"{'-'.join(map(str, layout.sizes))}, {activations}",
        "loss": model.objective.loss.name,
        "parameters": f"{layout.n_parameters:,}",
        "samples": f"{data.X.shape[0]:,}",
    }
    return make_header(facts, seed)
