"""`fit_many`: train many networks in one run, each of which ends where its own `fit` would have ended."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.distributed.launch import find_communicator
from xbackprop.errors import ConvergenceWarning, DivergenceError
from xbackprop.mlp.many.stacks import in_stacks
from xbackprop.mlp.many.tasks import Ended, Note, Samples, Task, ignore, one_by_one, shape_of
from xbackprop.mlp.many.ways import in_processes, is_worker, on_ranks, on_threads
from xbackprop.training.loop import Epoch
from xbackprop.validation import positive

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
    validation_data: Any = None,
    time_limit: float | None = None,
    callback: Callable[[int, Epoch], None] | None = None,
) -> list[Net]:
    """Train many networks in one run; each ends with the weights, curves and random stream that its own `fit` gives.

    The backend says how: in one stack along a leading axis (on a GPU, and JAX), where the networks of one shape take
    their steps together; on threads, a network on each core (Numba); in processes through joblib (NumPy, and torch on
    a CPU), and then wherever ``joblib.parallel_config`` sends them. Where joblib is not installed, or with a callback,
    networks that would go to processes are trained one after the other. Networks with a `communicator` are divided
    among the ranks, each of which ends with all of them, and hears of no epoch of the others'; fewer networks than
    ranks are trained one after the other, each by all ranks.

    Parameters
    ----------
    nets : `MLP`s, `MLPClassifier`s and `MLPRegressor`s, with whatever settings; they are trained in place.
    X, y, sample_weight : samples that all networks share, as `fit` takes them.
    rows : for each network the numbers of its rows, such as the training rows of a fold; None for all rows.
    data : where the tables differ, ``(X, y)`` or ``(X, y, sample_weight)`` for each network, in place of X and y.
    validation_data : samples on which early stopping scores networks, in place of rows held out of their own:
        ``(X, y)`` or ``(X, y, sample_weight)`` for all, or a list with such a tuple for each.
    time_limit : seconds after which no epoch begins: networks keep what they have, their best weights with early
        stopping, and starting weights if their turn did not come.
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
    options = fit_options(WHERE, nets, validation_data, time_limit)
    fit_nets(WHERE, nets, (X, y, sample_weight), rows=rows, data=data, options=options, callback=callback)
    return nets


def fit_ensemble(
    where: str, net: Any, table: Samples, callback: Callable[[Epoch], Any] | None, watch: dict[str, Any]
) -> None:
    """Train the networks of an ensemble; watch : of `mlp.fitting.watching`."""
    if watch["callbacks"]:
        raise ValueError(
            f"{where}: callbacks watch a single network, and there are n_networks={net.n_networks}; give `callback`, "
            f"or fit them one by one"
        )
    note = None if callback is None else lambda _, epoch: callback(epoch)
    fit_nets(where, [net], table, callback=note, options=[{"validation": watch["validation"]}])


def fit_nets(
    where: str,
    nets: Sequence[Any],
    table: Samples,
    *,
    rows: Sequence[Any] | None = None,
    data: Sequence[tuple[Any, ...]] | None = None,
    options: Sequence[dict[str, Any]] | None = None,
    callback: Callable[[int, Epoch], None] | None = None,
    failures: dict[int, Exception] | None = None,
    ended: Callable[[int], None] | None = None,
    quiet: bool = False,
) -> None:
    """Do the work of `fit_many`, and of a `fit` that trains an ensemble; `where` is the user's call.

    options : for each network further ones of its call of `mlp.fitting.prepare`.
    failures : takes the errors of networks by their places in the list, in which case the others go on.
    ended : called as each network has ended, with the number of those that have. quiet : whether to leave out the
        warning that networks stopped at max_iter.
    """
    speaks = not nets or find_communicator(where, getattr(nets[0], "communicator", None)).rank == 0
    places = _tables(where, nets, table, rows, data)
    _check_apart(where, nets)
    trained, owners = _networks(where, nets)
    options = options or [{}] * len(nets)
    tasks = [
        Task(j, net, *places[owner.i], options[owner.i])
        for j, (net, owner) in enumerate(zip(trained, owners, strict=True))
    ]
    endings = ["untrained"] * len(tasks)
    note = None if callback is None else lambda j, epoch: callback(owners[j].i, epoch)
    try:
        for i, stop_reason, error in train_tasks(tasks, note):
            if error is not None and failures is not None:
                failures[owners[i].i], endings[i] = error, "failed"
                continue
            if error is not None:
                error.add_note(f"{where}: this is of {owners[i].name}")
                raise error
            endings[i] = stop_reason
            done = len(endings) - endings.count("untrained")
            if ended is not None:
                ended(done)
            if trained[i].verbose and speaks:
                epochs, name = trained[i].n_iter_, owners[i].name
                print(f"{done} of {len(tasks)} networks: {name} ended after {epochs} epochs, {stop_reason}")
    except KeyboardInterrupt:
        pass
    if failures is not None:
        for j in (j for j, ending in enumerate(endings) if ending == "diverged"):
            failures[owners[j].i], endings[j] = (
                DivergenceError(f"{where}: the loss or a weight became infinite"),
                "failed",
            )
    _assemble(where, nets, trained, owners, endings)
    if not speaks:
        return
    _warn(where, trained, [owner.name for owner in owners], ["" if quiet and e == "max_iter" else e for e in endings])


class _Owner(NamedTuple):
    """The place in the user's list of a network that is trained, alone or as one of an ensemble; and its name."""

    i: int
    name: str


def _networks(where: str, nets: Sequence[Any]) -> tuple[list[Any], list[_Owner]]:
    """Return the networks to train: single ones, and those of ensembles."""
    trained: list[Any] = []
    owners: list[_Owner] = []
    for i, net in enumerate(nets):
        members = net.__trainable__(f"{where}: nets[{i}]").members()
        trained += members or [net]
        owners += [_Owner(i, f"nets[{i}].networks_[{j}]") for j in range(len(members))] or [_Owner(i, f"nets[{i}]")]
    return trained, owners


def _assemble(
    where: str, nets: Sequence[Any], trained: list[Any], owners: Sequence[_Owner], endings: Sequence[str]
) -> None:
    """Give ensembles their networks, those of which all have weights."""
    for i, net in enumerate(nets):
        mine = [j for j, owner in enumerate(owners) if owner.i == i]
        if trained[mine[0]] is not net and not any(endings[j] in ("untrained", "failed") for j in mine):
            net.__trainable__(where).assemble([trained[j] for j in mine])


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
            case "ranks":
                yield from on_ranks(group, _ranks_of(group[0]))
            case "processes":
                yield from in_processes(group, note)
            case _:
                yield from one_by_one(group, note)


def _way(task: Task, n: int) -> tuple[str, Any]:
    """Return the way in which a network is trained, and what it must have in common with others of that way."""
    backend, ranks = task.backend, _ranks_of(task)
    if ranks is not ALONE and n >= ranks.size > 1:
        return "ranks", id(ranks)
    if n == 1 or ranks is not ALONE or is_worker() or task.net.threads is not None:
        return "one by one", None
    way, _ = backend.together(task.products)
    return way, None if way == "processes" else backend


def _ranks_of(task: Task) -> Communicator:
    return find_communicator(WHERE, task.net.communicator)


def _tables(
    where: str, nets: Sequence[Any], table: Samples, rows: Any, data: Any
) -> list[tuple[Samples, np.ndarray | None]]:
    """Check the arguments against each other; return for each network its table and its rows."""
    for i, net in enumerate(nets):
        if not hasattr(net, "__trainable__"):
            raise TypeError(f"{where}: nets[{i}] must be an MLP, MLPClassifier or MLPRegressor, got {net!r}")
    X, y, weight = table
    if (X is None) == (data is None) or (y is None) != (X is None):
        raise ValueError(f"{where}: give X and y, or data=[(X, y), …] with samples for each network, and not both")
    if data is not None:
        if rows is not None or weight is not None:
            raise ValueError(f"{where}: rows and sample_weight go with X and y; a tuple of data has its own weights")
        return [(_samples(where, i, given), None) for i, given in enumerate(_one_each(where, "data", data, len(nets)))]
    if rows is None:
        return [(table, None)] * len(nets)
    n, _ = shape_of(X)
    each = enumerate(_one_each(where, "rows", rows, len(nets)))
    return [(table, _checked_rows(where, i, given, n)) for i, given in each]


def fit_options(
    where: str, nets: Sequence[Any], validation_data: Any, time_limit: float | None
) -> list[dict[str, Any]]:
    """Return for each network the options of `mlp.fitting.prepare` that these arguments of `fit_many` stand for."""
    deadline = None if time_limit is None else time.time() + positive(where, "time_limit", time_limit)
    if validation_data is None:
        return [{"deadline": deadline}] * len(nets)
    shared = isinstance(validation_data, tuple)
    each = [validation_data] * len(nets) if shared else _one_each(where, "validation_data", validation_data, len(nets))
    for i, net in enumerate(nets):
        if not net.early_stopping or callable(net.scoring):
            raise ValueError(
                f"{where}: validation_data is for early stopping, by the network's own score or its loss: nets[{i}] "
                f"must have early_stopping=True and no function as scoring"
            )
    samples = [_samples(where, i, given, "validation_data") for i, given in enumerate(each)]
    return [{"validation": given, "deadline": deadline} for given in samples]


def _one_each(where: str, name: str, given: Any, k: int) -> list[Any]:
    given = list(given)
    if len(given) != k:
        raise ValueError(f"{where}: {name} must have an element for each of {k} networks, got {len(given)}")
    return given


def _samples(where: str, i: int, given: Any, name: str = "data") -> Samples:
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(f"{where}: {name}[{i}] must be (X, y) or (X, y, sample_weight), got {type(given).__name__}")
    X, y, *weight = given
    return X, y, weight[0] if weight else None


def _checked_rows(where: str, i: int, given: Any, n: int) -> np.ndarray | None:
    if given is None:
        return None
    numbers = np.asarray(given)
    if numbers.dtype == bool and numbers.shape == (n,):
        numbers = np.flatnonzero(numbers)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
        raise ValueError(f"{where}: rows[{i}] must be row numbers, one axis of integers, got {given!r}")
    if numbers.min() < 0 or numbers.max() >= n:
        raise ValueError(f"{where}: rows[{i}] must lie in 0 to {n - 1}, got {numbers.min()} to {numbers.max()}")
    return numbers


def _check_apart(where: str, nets: Sequence[Any]) -> None:
    """Raise ValueError if two networks are one object, or would draw from one stream, or write one checkpoint."""
    places: dict[Any, int] = {}
    for i, net in enumerate(nets):
        own: list[tuple[str, Any]] = [("object", id(net))]
        if isinstance(net.random_state, np.random.RandomState):
            own.append(("RandomState", id(net.random_state)))
        if net.checkpoint is not None:
            own.append(("checkpoint", str(net.checkpoint)))
        for kind in own:
            if places.setdefault(kind, i) != i:
                raise ValueError(f"{where}: nets[{places[kind]}] and nets[{i}] have one {kind[0]}; give each its own")


def _warn(where: str, trained: Sequence[Any], names: Sequence[str], endings: Sequence[str]) -> None:
    """Warn once of each kind of ending of which a `fit` alone would warn, or for which it would raise an error."""

    def of(reason: str) -> list[str]:
        return [name for name, ending in zip(names, endings, strict=True) if ending == reason]

    k, stacklevel = len(names), 4  # the user's call of `fit_many` or `fit`
    if found := of("max_iter"):
        message = f"{where}: {_named(found, k)} stopped at max_iter before the loss had settled"
        warnings.warn(message, getattr(trained[0], "convergence_warning", ConvergenceWarning), stacklevel)
    if found := of("diverged"):
        message = (
            f"{where}: {_named(found, k)} diverged: the loss or a weight became infinite or NaN. Try a smaller "
            f"learning_rate_init, or standardise X"
        )
        warnings.warn(message, RuntimeWarning, stacklevel)
    broken, untrained = len(of("interrupted")), len(of("untrained"))
    if broken or untrained:
        message = (
            f"{where}: interrupted; {k - broken - untrained} of {k} networks had ended, {broken} keep the weights of "
            f"their last whole epoch, and {untrained} are as they were"
        )
        warnings.warn(message, RuntimeWarning, stacklevel)


def _named(names: list[str], k: int) -> str:
    """Name some of k networks."""
    return f"{len(names)} of {k} networks ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
