"""The ways in which a backend trains many networks: one after the other, on threads, in processes, as stacks.

Each is a generator, which yields the end of each network as it comes.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from xbackprop.arrays.threads import CORES
from xbackprop.mlp.many.tasks import Ended, Note, Task, ignore, train_one
from xbackprop.training.loop import Epoch


def one_by_one(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train one network after the other."""
    for task in tasks:
        yield (ended := train_one(task, note))
        if ended.stop_reason == "interrupted":
            raise KeyboardInterrupt


def on_threads(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train as many networks at a time as there are cores, each on one thread: for a backend without Python's lock.

    After Ctrl-C those that train end with their last whole epoch, and no others begin.
    """
    stopped, turn = threading.Event(), threading.Lock()

    def hear(i: int, epoch: Epoch) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        with turn:
            note(i, epoch)

    def run(task: Task) -> Ended | None:
        return None if stopped.is_set() else train_one(task, hear)

    with tasks[0].backend.threads(1), ThreadPoolExecutor(CORES, thread_name_prefix="xbackprop-fit") as pool:
        futures: list[Future[Ended | None]] = []
        try:
            for task in tasks:
                futures.append(pool.submit(contextvars.copy_context().run, run, task))
            for future in as_completed(futures):
                if ended := future.result():
                    yield ended
        except BaseException:
            stopped.set()
            raise


def in_processes(tasks: Sequence[Task]) -> Iterator[Ended]:
    """Train networks in processes through joblib, and so wherever `joblib.parallel_config` sends them.

    Notes of epochs do not come back from there.
    """
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=_jobs(), return_as="generator_unordered")
    nets = {task.i: task.net for task in tasks}
    for ended, attributes, stream in parallel(delayed(_train_there)(task) for task in tasks):
        if attributes is not None:
            _take_over(nets[ended.i], attributes, stream)
        yield ended


def _jobs() -> int:
    """Return the number of jobs that a context of joblib asks for, by default one for each core."""
    from joblib.parallel import get_active_backend

    _, jobs = get_active_backend()
    return jobs if jobs not in (None, 1) else CORES


def is_worker() -> bool:
    """Return whether this process trains networks for another one, which keeps all its cores busy already."""
    return _is_worker


_is_worker = False


def _train_there(task: Task) -> tuple[Ended, dict[str, Any] | None, Any]:
    """Train a network in another process; return the attributes that training set, and the state of its stream."""
    global _is_worker
    _is_worker = threading.current_thread() is threading.main_thread()
    ended = train_one(task, ignore)
    settings = task.net._setting_names()
    attributes = {name: value for name, value in vars(task.net).items() if name not in settings}
    given = task.net.random_state
    return ended, None if ended.error else attributes, given.get_state() if hasattr(given, "get_state") else None


def _take_over(net: Any, attributes: dict[str, Any], stream: Any) -> None:
    """Give a network the attributes that training has set in another process; its own random stream goes on."""
    vars(net).update(attributes)
    if stream is not None:
        net.random_state.set_state(stream)
        net._progress().rng = net.random_state
