"""The threads of a rank: the cores of a machine, divided by the ranks that run on it."""

from __future__ import annotations

import os

from xbackprop.arrays.backend import Backend
from xbackprop.distributed.communicator import Communicator

#: Environment variables by which a user, or a launcher, has set the threads already.
SET_OUTSIDE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def share_of_cores(ranks: Communicator, backend: Backend, limit: int | None) -> int | None:
    """Return the most threads for this rank's products; None leaves them to the library.

    limit : the threads that suit the steps, or None.
    """
    if ranks.size == 1:
        return limit
    cores = ranks.cores()  # asked by all ranks, whatever each of them finds in its environment
    if backend.library == "jax" or any(name in os.environ for name in SET_OUTSIDE):
        return limit
    return cores if limit is None else min(limit, cores)
