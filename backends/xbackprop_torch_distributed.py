"""Ranks of torch.distributed: `torchrun --nproc-per-node 4 train.py`, by gloo on CPUs and NCCL on GPUs."""

from __future__ import annotations

import atexit
import datetime
import os
import warnings
from typing import Any

import numpy as np

from xbackprop.arrays.backend import Array, Backend
from xbackprop.distributed.communicator import Communicator
from xbackprop.errors import BackendError

try:
    import torch
    import torch.distributed as dist
except ImportError as error:
    raise BackendError("communicator 'torch' needs PyTorch, which is not installed: pip install torch") from error

#: The environment that torchrun gives a process.
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class TorchCommunicator(Communicator):
    """The ranks of a process group of torch; by default all processes that torchrun has started.

    group : of `torch.distributed`; without one the default group is joined, by gloo, and by NCCL for a GPU.
    """

    def __init__(self, group: Any = None) -> None:
        if not dist.is_available():
            raise BackendError("communicator 'torch': this build of PyTorch has no torch.distributed")
        if not dist.is_initialized():
            missing = [name for name in NEEDED if name not in os.environ]
            if missing:
                raise BackendError(
                    f"communicator 'torch': start the script with torchrun, which sets {', '.join(missing)}, or join a "
                    f"process group before"
                )
            _warn_of_restarts()
            cuda = torch.cuda.is_available()
            if cuda:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            by = "cpu:gloo,cuda:nccl" if cuda else "gloo"
            dist.init_process_group(by, timeout=datetime.timedelta(hours=24))
            atexit.register(dist.destroy_process_group)  # whose threads would abort a process that ends
        self._group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self._by = str(dist.get_backend_config(group))
        if "gloo" not in self._by and "mpi" not in self._by and not torch.cuda.is_available():
            raise BackendError(f"communicator 'torch': the process group is of {self._by}, and there is no GPU here")

    def all_reduce(self, x: Array) -> Array:
        """Return Σ over the ranks of x, in its own memory: of NumPy, or a tensor."""
        tensor = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        if isinstance(x, np.ndarray) and "gloo" not in self._by:  # NCCL alone, which knows no memory of the host
            on_gpu = tensor.cuda()
            dist.all_reduce(on_gpu, group=self._group)
            tensor.copy_(on_gpu)
            return x
        dist.all_reduce(tensor, group=self._group)
        return x

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each rank has given."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found

    def takes(self, backend: Backend) -> bool:
        """Return whether the group sums arrays of this backend where they are."""
        return backend.library in ("numpy", "torch") and backend.reuses_buffers

    def abort(self, code: int = 1) -> None:
        """End this process at once; torchrun ends the others, and starts all of them again if it is told to."""
        os._exit(code)  # without waiting for any other rank


def _warn_of_restarts() -> None:
    """Warn where ranks that torchrun starts again may look for each other at the addresses of those before.

    Since torch 2.5 they share the launcher's store, old keys and all (PyTorch's issue 135712): of seven restarts here
    five failed, and with the variable none of five.
    """
    again = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    if again and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ["RANK"] == "0":
        message = (
            "communicator 'torch': to be started again reliably, ranks need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in "
            "the environment of torchrun (PyTorch's issue 135712)"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=4)
