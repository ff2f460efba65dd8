"""The ways in which a backend trains many networks beside a stack: on threads, in processes.

Each is a generator, which yields the end of each network as it comes.
"""

from __future__ import annotations

import contextvars
import multiprocessing
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from typing import Any, NamedTuple

from xbackprop.arrays.threads import CORES
from xbackprop.distributed.agreement import failing_together, gather
from xbackprop.distributed.communicator import ALONE, Communicator
from xbackprop.mlp.many.stacks import in_stacks
from xbackprop.mlp.many.tasks import Ended, Note, Task, ignore, train_one
from xbackprop.training.loop import Epoch

#: Seconds of training in this process alone before others are started, and the least that must be left then.
PATIENCE, START_UP = 0.3, 1.5


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


def in_processes(tasks: Sequence[Task], note: Note) -> Iterator[Ended]:
    """Train networks in processes through joblib, and so wherever `joblib.parallel_config` sends them.

    A process is given a chunk of networks, which it trains as a stack where that is faster. Without a context of
    joblib's this process trains too, on one core, and others are started for the rest of the cores if that pays. With a
    callback, to which nothing comes back from there, all are trained here.
    """
    jobs, asked = _jobs()
    chunks = deque(_chunks(tasks, jobs if jobs > 0 else CORES))
    nets = {task.i: task.net for task in tasks}
    if asked:
        for found in _send(chunks, jobs):
            yield from _taken_over(nets, found)
        return
    helpers = _Helpers(chunks, jobs - 1, len(tasks))
    try:
        for chunk in _left(chunks):
            with tasks[0].backend.threads(1) if helpers.running else nullcontext():
                for ended in in_stacks(chunk, helpers.hear if note is ignore else note):
                    helpers.done += 1
                    yield ended
            for found in helpers.results(wait=False):
                yield from _taken_over(nets, found)
        for found in helpers.results(wait=True):
            yield from _taken_over(nets, found)
    finally:
        chunks.clear()  # after Ctrl-C, or an error, nothing more is sent


class _Helpers:
    """Processes that train chunks beside this one; they are started when `hear` finds that they pay."""

    def __init__(self, chunks: deque[list[Task]], jobs: int, n: int) -> None:
        self.chunks, self.jobs, self.n, self.done = chunks, jobs, n, 0
        self.began, self.running = time.perf_counter(), False
        self.found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def hear(self, i: int, epoch: Epoch) -> None:  # noqa: ARG002, only the time tells
        """Start the processes if what is left takes longer than their start."""
        if self.running or not self.jobs:
            return
        took = time.perf_counter() - self.began
        if took > PATIENCE and took * (self.n - self.done) > START_UP * max(self.done, 0.5):
            self.running = True
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            for found in _send(self.chunks, self.jobs):
                self.found.put(found)
        except BaseException as error:
            self.found.put(error)
        self.found.put(None)

    def results(self, wait: bool) -> Iterator[list[_Found]]:
        """Yield what the processes have found so far, or with `wait` all that they will find."""
        while self.running and (wait or not self.found.empty()):
            found = self.found.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                self.running = False
                return
            yield found


class _Found(NamedTuple):
    """The end of a network's training in another process: what training set there, and the state of its stream."""

    ended: Ended
    attributes: dict[str, Any] | None
    stream: Any


def _left(chunks: deque[list[Task]]) -> Iterator[list[Task]]:
    """Take chunks while there are any; another thread may take some meanwhile."""
    while True:
        try:
            chunk = chunks.popleft()
        except IndexError:
            return
        yield chunk


def _send(chunks: deque[list[Task]], jobs: int) -> Iterator[list[_Found]]:
    """Train the chunks that are left, and leave none, in other processes."""
    from joblib import Parallel, delayed

    # of one job joblib makes no process; `pre_dispatch` is the number of chunks that are under way at a time
    at_a_time = jobs if jobs > 0 else "n_jobs"
    parallel = Parallel(n_jobs=2 if jobs == 1 else jobs, return_as="generator_unordered", pre_dispatch=at_a_time)
    yield from parallel(delayed(_train_there)(chunk) for chunk in _left(chunks))


def _jobs() -> tuple[int, bool]:
    """Return the number of processes, and whether a context of joblib asks for them; 1 where there can be no others."""
    if multiprocessing.current_process().daemon:
        return 1, False
    try:
        from joblib.parallel import get_active_backend
    except ImportError:
        return 1, False
    backend, jobs = get_active_backend()
    asked = jobs not in (None, 1) or type(backend).__name__ != "LokyBackend"
    # Dask and Ray name no number: as many as their cluster has
    return (backend.effective_n_jobs(-1 if jobs is None else jobs) if asked else CORES), asked


def _chunks(tasks: Sequence[Task], jobs: int) -> list[list[Task]]:
    """Divide the networks into chunks that make good stacks, and enough of them for all processes to end together."""
    alike: dict[Any, list[Task]] = {}
    for task in tasks:
        n = None if task.rows is None else len(task.rows)
        alike.setdefault((task.settings.sizes, task.settings.plan.batch_size, n, task.backend), []).append(task)
    chunks = []
    short = sum(task.seconds for task in tasks) < 2.0 * START_UP  # then none will be sent away
    for group in alike.values():
        _, most = group[0].backend.together(group[0].products)
        # of smaller chunks the last ones end together
        size = most if short else max(1, min(most // 2, -(-len(group) // (2 * jobs))))
        chunks += [group[start : start + size] for start in range(0, len(group), size)]
    return chunks


def is_worker() -> bool:
    """Return whether this process trains networks for another one, which keeps all cores busy already."""
    return _is_worker


_is_worker = False


def _train_there(tasks: Sequence[Task]) -> list[_Found]:
    """Train networks in another process."""
    global _is_worker
    _is_worker = threading.current_thread() is threading.main_thread()
    return _train_chunk(tasks)


def on_ranks(tasks: Sequence[Task], ranks: Communicator) -> Iterator[Ended]:
    """Train each network on one of the ranks, which take them in turns, and give all of them to every rank."""
    mine = tasks[ranks.rank :: ranks.size]
    for task in mine:
        task.options = {**task.options, "ranks": ALONE}
    with failing_together(ranks):
        found = gather(ranks, _train_chunk(mine))
    nets = {task.i: task.net for task in tasks}
    for of_rank in found:
        yield from _taken_over(nets, of_rank)


def _train_chunk(tasks: Sequence[Task]) -> list[_Found]:
    """Train networks in this process, for others to take over."""
    results = []
    by_number = {task.i: task for task in tasks}
    with tasks[0].backend.threads(1):
        endings = list(in_stacks(tasks, ignore))
    for ended in endings:
        net, settings = by_number[ended.i].net, by_number[ended.i].settings.values
        attributes = {name: value for name, value in vars(net).items() if name not in settings}
        stream = net.random_state.get_state() if hasattr(net.random_state, "get_state") else None
        results.append(_Found(ended, None if ended.error else attributes, stream))
    return results


def _taken_over(nets: dict[int, Any], found: list[_Found]) -> Iterator[Ended]:
    """Give networks the attributes that training has set in another process; their own random streams go on."""
    for ended, attributes, stream in found:
        net = nets[ended.i]
        if attributes is not None:
            vars(net).update(attributes)
            if stream is not None:
                net.random_state.set_state(stream)
                net.__trainable__("fit_many").progress().rng = net.random_state
        yield ended
