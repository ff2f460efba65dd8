"""Ranks in one process, each a thread: to try what runs on many machines, and to test it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array
from xbackprop.distributed.communicator import Communicator
from xbackprop.errors import RankError


class _Meeting:
    """The place where threads put what they send."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.slots = size, threading.Barrier(size), [None] * size


class _Ended(RankError):
    """The end of a rank that waited for one that has failed."""


class Simulated(Communicator):
    """A rank that is a thread of this process. Sums are taken in the order of the ranks."""

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank, self.size, self._meeting = rank, meeting.size, meeting

    def all_reduce(self, x: Array) -> Array:
        """Return Σ over the threads of x, an array of NumPy."""
        found = self.all_gather(np.array(x))
        x[...] = sum(found[1:], found[0])
        return x

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each thread has given."""
        meeting = self._meeting
        meeting.slots[self.rank] = value
        self._wait()
        found = list(meeting.slots)
        self._wait()
        return found

    def abort(self, code: int = 1) -> None:  # noqa: ARG002, a thread has no exit code
        """End all threads that wait for this one."""
        self._meeting.barrier.abort()

    def _wait(self) -> None:
        try:
            self._meeting.barrier.wait()
        except threading.BrokenBarrierError:
            raise _Ended("another rank has failed") from None


def simulate(size: int, function: Callable[[Communicator], Any]) -> list[Any]:
    """Call ``function(communicator)`` on so many ranks at the same time, threads of this process; return the results.

    An error of the lowest rank that has one of its own is raised; the others end with it.

    Examples
    --------
    >>> simulate(3, lambda ranks: ranks.all_gather(ranks.rank))
    [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    """
    meeting = _Meeting(size)
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = function(Simulated(rank, meeting))
        except BaseException as error:
            errors[rank] = error
            meeting.barrier.abort()

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(run, rank)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, RankError) + isinstance(error, _Ended)):
        raise error
    return results
