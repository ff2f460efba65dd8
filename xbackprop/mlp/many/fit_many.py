"""`fit_many`: train many networks in one run, each of which ends where its own `fit` would have ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from xbackprop.errors import ConvergenceWarning
from xbackprop.mlp.many.stacks import in_stacks
from xbackprop.mlp.many.tasks import Ended, Note, Task, ignore, shape_of
from xbackprop.mlp.many.ways import in_processes, is_worker, on_threads, one_by_one
from xbackprop.mlp.settings import Settings
from xbackprop.training.loop import Epoch

Net = TypeVar("Net")
WHERE = "fit_many"


def fit_many(
    nets: Sequence[Net],
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rows: Sequence[Any] | None = None,
    data: Sequence[tuple[Any, ...]] | None = None,
    callback: Callable[[int, Epoch], None] | None = None,
) -> list[Net]:
    """Train many networks in one run; each ends with the weights, curves and random stream that its own `fit` gives.

    The backend says how: in one stack along a leading axis (on a GPU, and JAX), where the networks of one shape take
    their steps together; on threads, a network on each core (Numba); in processes through joblib (NumPy, and torch on
    a CPU), and then wherever ``joblib.parallel_config`` sends them. Where joblib is not installed, or with a callback,
    networks that would go to processes are trained one after the other.

    Parameters
    ----------
    nets : `MLP`s, `MLPClassifier`s and `MLPRegressor`s, with whatever settings; they are trained in place.
    X, y, sample_weight : samples that all networks share, as `fit` takes them.
    rows : for each network the numbers of its rows, such as the training rows of a fold; None for all rows.
    data : where the tables differ, ``(X, y)`` or ``(X, y, sample_weight)`` for each network, in place of X and y.
    callback : ``callback(i, epoch)``, called after each epoch of ``nets[i]`` with its `Epoch`.

    Networks with `verbose` print a line as they end, in place of a line for each epoch. Memory holds the samples once
    for each way of reading them (other rows, another dtype, scaling, task) and, in a stack, at most 2 GiB of networks;
    on threads, the rows of those networks that are being trained.

    Returns
    -------
    The networks, as a list in their order. A network whose loss or weights become infinite fails alone, with a warning;
    it keeps the weights from before that epoch. Ctrl-C ends those that train with their last whole epoch; those that
    have ended keep what they have, and the others are as they were.

    Raises
    ------
    ValueError : for arguments that do not go together. An error of a network, its callback or its scoring function
        ends the run and names the network; those that have ended keep what they have.

    Examples
    --------
    >>> import xbackprop
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> nets = [xbackprop.MLP((8,), learning_rate_init=0.05, random_state=seed) for seed in range(3)]
    >>> [net.predict(X).tolist() for net in xbackprop.fit_many(nets, X, y)]
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    nets = list(nets)
    tasks = _tasks(nets, (X, y, sample_weight), rows, data)
    endings = dict.fromkeys(range(len(nets)), "untrained")
    try:
        for ended in train_tasks(tasks, callback):
            if ended.error is not None:
                ended.error.add_note(f"{WHERE}: this is of nets[{ended.i}]")
                raise ended.error
            endings[ended.i] = ended.stop_reason
            if getattr(nets[ended.i], "verbose", False):
                _print_end(nets[ended.i], ended, sum(reason != "untrained" for reason in endings.values()), len(nets))
    except KeyboardInterrupt:
        pass
    _warn(nets, endings)
    return nets


def train_tasks(tasks: Sequence[Task], callback: Callable[[int, Epoch], None] | None = None) -> Iterator[Ended]:
    """Train the networks in the way that each one's backend chooses; yield the end of each as it comes."""
    note: Note = callback or ignore
    ways: dict[Any, list[Task]] = {}
    for task in tasks:
        ways.setdefault(_way(task, len(tasks)), []).append(task)
    for (way, _), group in ways.items():
        match way:
            case "stack":
                yield from in_stacks(group, note)
            case "threads":
                yield from on_threads(group, note)
            case "processes":
                yield from in_processes(group, note)
            case _:
                yield from one_by_one(group, note)


def _way(task: Task, n: int) -> tuple[str, Any]:
    """Return the way in which a network is trained, and what it must have in common with others of that way."""
    backend = task.backend
    if n == 1 or is_worker() or task.net.threads is not None:
        return "one by one", None
    way, _ = backend.together(task.products)
    return way, None if way == "processes" else backend


def _tasks(nets: list[Any], table: tuple[Any, Any, Any], rows: Any, data: Any) -> list[Task]:
    """Check the arguments against each other; return a task for each network."""
    for i, net in enumerate(nets):
        if not hasattr(net, "_fitting"):
            raise TypeError(f"{WHERE}: nets[{i}] must be an MLP, MLPClassifier or MLPRegressor, got {net!r}")
    each = [net._settings(f"{WHERE}: nets[{i}]") for i, net in enumerate(nets)]
    _check_apart(nets, each)
    if (table[0] is None) == (data is None) or (table[1] is None) != (table[0] is None):
        raise ValueError(f"{WHERE}: give X and y, or data=[(X, y), …] with samples for each network, and not both")
    if data is not None:
        if rows is not None or table[2] is not None:
            raise ValueError(
                f"{WHERE}: rows and sample_weight go with X and y; in data, a weight is the third of a tuple"
            )
        return [Task(i, net, each[i], _table(i, given)) for i, (net, given) in enumerate(_paired(nets, "data", data))]
    if rows is None:
        return [Task(i, net, each[i], table) for i, net in enumerate(nets)]
    n, _ = shape_of(table[0])
    return [
        Task(i, net, each[i], table, _checked_rows(i, given, n))
        for i, (net, given) in enumerate(_paired(nets, "rows", rows))
    ]


def _paired(nets: list[Any], name: str, given: Any) -> list[tuple[Any, Any]]:
    given = list(given)
    if len(given) != len(nets):
        raise ValueError(f"{WHERE}: {name} must have an element for each of {len(nets)} networks, got {len(given)}")
    return list(zip(nets, given, strict=True))


def _table(i: int, given: Any) -> tuple[Any, Any, Any]:
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(f"{WHERE}: data[{i}] must be (X, y) or (X, y, sample_weight), got {type(given).__name__}")
    X, y, *weight = given
    return X, y, weight[0] if weight else None


def _checked_rows(i: int, given: Any, n: int) -> np.ndarray | None:
    if given is None:
        return None
    numbers = np.asarray(given)
    if numbers.dtype == bool and numbers.shape == (n,):
        numbers = np.flatnonzero(numbers)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
        raise ValueError(f"{WHERE}: rows[{i}] must be row numbers, one axis of integers, got {given!r}")
    if numbers.min() < 0 or numbers.max() >= n:
        raise ValueError(f"{WHERE}: rows[{i}] must lie in 0 to {n - 1}, got {numbers.min()} to {numbers.max()}")
    return numbers


def _check_apart(nets: list[Any], each: Sequence[Settings]) -> None:
    """Raise ValueError if two networks are one object, or would draw from one stream, or write one checkpoint."""
    places: dict[Any, int] = {}
    for i, (net, settings) in enumerate(zip(nets, each, strict=True)):
        values = settings.values
        own: list[tuple[str, Any]] = [("object", id(net))]
        if isinstance(net.random_state, np.random.RandomState):
            own.append(("RandomState", id(net.random_state)))
        if values["checkpoint"] is not None:
            own.append(("checkpoint", str(values["checkpoint"])))
        for kind in own:
            if places.setdefault(kind, i) != i:
                raise ValueError(f"{WHERE}: nets[{places[kind]}] and nets[{i}] have one {kind[0]}; give each its own")


def _print_end(net: Any, ended: Ended, done: int, k: int) -> None:
    print(f"{done} of {k} networks: nets[{ended.i}] ended after {net.n_iter_} epochs, {ended.stop_reason}")


def _warn(nets: list[Any], endings: dict[int, str]) -> None:
    """Warn once of each kind of ending that a `fit` alone would warn of, or raise an error for."""
    by: dict[str, list[int]] = {}
    for i, reason in endings.items():
        by.setdefault(reason, []).append(i)
    k = len(nets)
    if slow := by.get("max_iter"):
        message = f"{WHERE}: {_named(slow, k)} stopped at max_iter before the loss had settled"
        warnings.warn(message, getattr(nets[slow[0]], "_convergence_warning", ConvergenceWarning), stacklevel=3)
    if diverged := by.get("diverged"):
        warnings.warn(
            f"{WHERE}: {_named(diverged, k)} diverged: the loss or a weight became infinite or NaN. Try a smaller "
            f"learning_rate_init, or standardise X",
            RuntimeWarning,
            stacklevel=3,
        )
    if "interrupted" in by or "untrained" in by:
        ended, begun, rest = (
            k - len(by.get("interrupted", ())) - len(by.get("untrained", ())),
            by.get("interrupted", ()),
            by.get("untrained", ()),
        )
        warnings.warn(
            f"{WHERE}: interrupted; {ended} of {k} networks had ended, {len(begun)} keep the weights of their last "
            f"whole epoch, and {len(rest)} are as they were",
            RuntimeWarning,
            stacklevel=3,
        )


def _named(numbers: list[int], k: int) -> str:
    """Name some of k networks by their places in the list."""
    names = ", ".join(f"nets[{i}]" for i in numbers[:8]) + (", …" if len(numbers) > 8 else "")
    return f"{len(numbers)} of {k} networks ({names})"
