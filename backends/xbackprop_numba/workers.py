"""Several workers for one step: a place where they wait for each other, and their threads.

Each worker is a thread of its own. It takes a part of the rows forward and backward, waits for the others, and then
computes a part of the gradient and updates these weights: two meetings in a step, and no product is shared.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from threadpoolctl import ThreadpoolController

from xbackprop_numba.blas import from_instructions
from xbackprop_numba.passes import inner

#: Looks at the others before a worker that waits offers its core to another thread.
PATIENCE = 1000


def _first_word(instruction: Callable[[Any, Any], Any]) -> Callable:
    """Make a function of compiled code of an instruction on the first element of an array of int64."""

    def typed(typing: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return instruction(builder, context.make_array(words)(context, builder, value=arguments[0]).data)

        return types.int64(words), generate

    return from_instructions(typed)


#: Add 1, and what was written before is seen by whoever sees it; read it anew.
_arrive = _first_word(lambda builder, place: builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst"))
_arrived = _first_word(lambda builder, place: builder.load_atomic(place, "seq_cst", 8))
_yield = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


@inner
def gather(arrivals: Any, workers: int) -> bool:
    """Wait until all workers are there; return False if they will not be."""
    if workers > 1:
        _arrive(arrivals)
        while _arrived(arrivals) < workers:
            if _arrived(arrivals[1:]):
                return False
            _yield()
    return True


@inner
def meet(arrivals: Any, before: int, workers: int) -> int:
    """Wait for all workers, where `before` have arrived at the meetings until now; return that of the next one."""
    expected = before + workers
    if workers == 1:
        return expected
    _arrive(arrivals)
    looks = 0
    while _arrived(arrivals) < expected:
        looks += 1
        if looks > PATIENCE:
            _yield()
    return expected


class Team:
    """Threads for workers. One team works at a time: two that wait for threads of one pool would wait for ever."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[int, ThreadPoolExecutor] = {}

    @functools.cached_property
    def blas(self) -> ThreadpoolController:
        """All BLAS that is loaded, looked up once."""
        return ThreadpoolController().select(user_api="blas")

    def run(self, workers: int, task: Callable[[int, np.ndarray], None]) -> None:
        """Call ``task(worker, arrivals)`` for each number of a worker on a thread; BLAS keeps to one in each of them.

        This thread is worker 0. Where an error or Ctrl-C comes before it has begun, those that wait for it give up.
        """
        arrivals = np.zeros(2, np.int64)
        if workers == 1:
            task(0, arrivals)
            return
        with self.lock, self.blas.limit(limits=1):
            if workers not in self.pools:
                self.pools[workers] = ThreadPoolExecutor(workers - 1, thread_name_prefix="xbackprop-epoch")
            others: list[Future[None]] = []
            try:
                others += (self.pools[workers].submit(task, i, arrivals) for i in range(1, workers))
                task(0, arrivals)
            finally:
                arrivals[1] = 1
                wait(others)
        for other in others:
            other.result()


team = Team()

if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads, and perhaps a lock that nobody opens
    os.register_at_fork(after_in_child=team.__init__)  # type: ignore[misc]
