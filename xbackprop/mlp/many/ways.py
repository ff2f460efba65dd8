"""The ways in which a backend trains many networks beside a stack: one after the other, on threads, in processes.

Each is a generator, which yields the end of each network as it comes.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from xbackprop.arrays.threads import CORES
from xbackprop.mlp.many.stacks import in_stacks
from xbackprop.mlp.many.tasks import Ended, Note, Task, ignore, train_one
from xbackprop.training.loop import Epoch

#: Seconds of training that are worth the start of processes.
PATIENCE = 1.0


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
        if note is not ignore:
            with turn:
                note(i, epoch)

    def run(task: Task) -> Ended | None:
        return None if stopped.is_set() else train_one(task, hear)

    with tasks[0].backend.threads(1), ThreadPoolExecutor(CORES, thread_name_prefix="xbackprop-fit") as pool:
        futures: list[Future[Ended | None]] = []
        left = set(range(len(tasks)))
        try:
            for task in tasks:
                futures.append(pool.submit(contextvars.copy_context().run, run, task))
            for future in as_completed(futures):
                left.remove(futures.index(future))
                if ended := future.result():
                    yield ended
        except KeyboardInterrupt:
            stopped.set()
            for j in sorted(left):
                if ended := futures[j].result():
                    yield ended
            raise
        finally:
            stopped.set()


class _TooLongError(Exception):
    """Training takes so long that processes pay."""


def in_processes(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train networks in processes through joblib, and so wherever `joblib.parallel_config` sends them.

    A process is given a chunk of networks, which it trains as a stack where that is faster. Processes take a second to
    start: as long as it is not clear that they pay, training goes on here. With a callback, to which nothing comes back
    from there, all are trained here.
    """
    jobs, asked = _jobs()
    chunks = _chunks(tasks, jobs if jobs > 0 else CORES)
    if not asked:
        here = _train_here(chunks, note, patient=jobs == 1 or note is not ignore)
        yield from here
    if chunks:
        yield from _send(chunks, jobs)


def _train_here(chunks: list[list[Task]], note: Note, patient: bool) -> Iterator[Ended]:
    """Train chunks, which are removed from the list, until processes pay; those that are `patient` train all."""
    began, n, done = time.perf_counter(), sum(map(len, chunks)), 0

    def hurry(i: int, epoch: Epoch) -> None:
        took = time.perf_counter() - began
        if took > PATIENCE and took * (n - done) > PATIENCE * max(done, 0.5):
            raise _TooLongError

    while chunks:
        again = {task.i: task for task in chunks[0]}
        for ended in in_stacks(chunks[0], note if patient else hurry):
            if not isinstance(ended.error, _TooLongError):
                del again[ended.i]
                done += 1
                yield ended
        chunks[:1] = [list(again.values())] if again else []
        if again:
            return


def _send(chunks: Sequence[Sequence[Task]], jobs: int) -> Iterator[Ended]:
    """Train chunks in other processes; the networks here take over what training has set there."""
    from joblib import Parallel, delayed

    nets = {task.i: task.net for chunk in chunks for task in chunk}
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for results in parallel(delayed(_train_there)(chunk) for chunk in chunks):
        for ended, attributes, stream in results:
            if attributes is not None:
                _take_over(nets[ended.i], attributes, stream)
            yield ended


def _jobs() -> tuple[int, bool]:
    """Return the number of processes, and whether a context of joblib asks for them; 1 where joblib is missing."""
    try:
        from joblib.parallel import get_active_backend
    except ImportError:
        return 1, False
    backend, jobs = get_active_backend()
    asked = jobs not in (None, 1) or type(backend).__name__ != "LokyBackend"
    return jobs if asked else CORES, asked


def _chunks(tasks: Sequence[Task], jobs: int) -> list[list[Task]]:
    """Divide the networks into chunks that make good stacks, and enough of them for all processes."""
    alike: dict[Any, list[Task]] = {}
    for task in tasks:
        n = None if task.rows is None else len(task.rows)
        alike.setdefault((task.settings.sizes, task.settings.plan.batch_size, n, task.backend), []).append(task)
    chunks = []
    for group in alike.values():
        _, most = group[0].backend.together(group[0].products)
        size = max(1, min(most, -(-len(group) // jobs)))
        chunks += [group[start : start + size] for start in range(0, len(group), size)]
    return chunks


def is_worker() -> bool:
    """Return whether this process trains networks for another one, which keeps all cores busy already."""
    return _is_worker


_is_worker = False


def _train_there(tasks: Sequence[Task]) -> list[tuple[Ended, dict[str, Any] | None, Any]]:
    """Train networks in another process; return the attributes that training set, and the state of their streams."""
    global _is_worker
    _is_worker = threading.current_thread() is threading.main_thread()
    results = []
    by_number = {task.i: task for task in tasks}
    for ended in in_stacks(tasks, ignore):
        net = by_number[ended.i].net
        settings = by_number[ended.i].settings.values
        attributes = {name: value for name, value in vars(net).items() if name not in settings}
        stream = net.random_state.get_state() if hasattr(net.random_state, "get_state") else None
        results.append((ended, None if ended.error else attributes, stream))
    return results


def _take_over(net: Any, attributes: dict[str, Any], stream: Any) -> None:
    """Give a network the attributes that training has set in another process; its own random stream goes on."""
    vars(net).update(attributes)
    if stream is not None:
        net.random_state.set_state(stream)
        net.__trainable__("fit_many").progress().rng = net.random_state
