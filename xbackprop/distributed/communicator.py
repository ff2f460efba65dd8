"""`Communicator`: the few operations by which the processes that train one network talk to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xbackprop.arrays.backend import Array, Backend
from xbackprop.arrays.threads import affinity


class Communicator:
    """The processes that train a network together. This class is a single one; a subclass joins many.

    Pass one as ``communicator=`` to `MLP`. A subclass sets `rank` and `size`, and has `all_reduce`, `all_gather` and
    `abort`; the rest follows from them. Every rank makes the same calls in the same order.

    Attributes
    ----------
    rank, size : the number of this process, from 0, and that of all of them.

    Examples
    --------
    >>> from xbackprop.distributed import Communicator
    >>> alone = Communicator()
    >>> alone.rank, alone.size, alone.all_gather("x")
    (0, 1, ['x'])
    """

    rank: int = 0
    size: int = 1

    def all_reduce(self, x: Array) -> Array:
        """Return Σ over the ranks of x, an array of NumPy, or of a backend that it `takes`; x may be overwritten.

        Arrays have one shape and dtype on all ranks, float32 or float64. The sum is the same on each, bit by bit.
        """
        return x

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each rank has given, a small object that can be pickled, in the order of the ranks."""
        return [value]

    def abort(self, code: int = 1) -> None:
        """End the whole job, since this rank has failed and the others would wait for it."""
        raise SystemExit(code)

    def takes(self, backend: Backend) -> bool:
        """Return whether `all_reduce` takes arrays of this backend; others go through the host."""
        return backend.library == "numpy" and backend.reuses_buffers

    def compile(self, step: Any) -> Callable:
        """Return what `Backend.compile` returns, for a step of which each rank takes its part; here a loop.

        A communicator whose sums a compiler knows may take all the steps in one call.
        """
        return Backend.compile(step.objective.backend, step)

    def broadcast(self, value: Any) -> Any:
        """Return what rank 0 has given, an object that can be pickled."""
        return self.all_gather(value if self.rank == 0 else None)[0]

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self.all_gather(None)

    def cores(self) -> int:
        """Return the cores that each rank on this machine may use, if they share what they may use."""
        import socket  # which a process alone does without

        mine = socket.gethostname(), affinity()
        here = [cores for host, cores in self.all_gather(mine) if host == mine[0] and cores & mine[1]]
        return max(1, len(mine[1]) // len(here))

    def __deepcopy__(self, memo: Any) -> Communicator:
        """Return itself: a copy, such as scikit-learn's `clone` makes of an estimator, is of the same processes."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: rank {self.rank} of {self.size}>"


#: The one that stands where no communicator is asked for.
ALONE = Communicator()
