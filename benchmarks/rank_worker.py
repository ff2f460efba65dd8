"""A rank of `ranks.py`: train a network, or torch's DDP the same one, or sum a vector; rank 0 prints seconds per step.

``python rank_worker.py KIND COMMUNICATOR BACKEND NET THREADS``
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

#: Layers, rows of a batch, steps of an epoch.
NETS = {
    "64-32-10": ((64, 32, 10), 32, 200),
    "784-256-128-10": ((784, 256, 128, 10), 128, 60),
    "784-512-512-10": ((784, 512, 512, 10), 256, 30),
    "1024-1024-1024-10": ((1024, 1024, 1024, 10), 512, 12),
    "1024-2048-2048-1024-10": ((1024, 2048, 2048, 1024, 10), 512, 8),
}
EPOCHS = 4  # and one more to warm up


def data(net: str) -> tuple[np.ndarray, np.ndarray]:
    sizes, batch, steps = NETS[net]
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch * steps, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch * steps)


def train(communicator: str | None, backend: str, net: str, threads: int) -> tuple[float, Any]:
    """Train by xbackprop."""
    import xbackprop
    from xbackprop.distributed.launch import find_communicator

    warnings.simplefilter("ignore")
    sizes, batch, steps = NETS[net]
    ranks, seconds = find_communicator("", communicator), []
    model = xbackprop.MLP(
        sizes[1:-1], batch_size=batch, max_iter=EPOCHS + 1, tol=0.0, n_iter_no_change=99, random_state=0, alpha=0.0,
        communicator=communicator, backend=backend, threads=threads,
    )  # fmt: skip
    model.fit(*data(net), callback=lambda epoch: seconds.append(epoch.seconds))
    return (median(seconds[1:]) / steps if seconds else 0.0), ranks


def ddp(communicator: str | None, backend: str, net: str, threads: int) -> tuple[float, Any]:
    """Train by torch's DistributedDataParallel and its fused Adam: the same layers, batches and number of steps."""
    import torch
    import torch.distributed as dist

    from xbackprop.distributed.launch import find_communicator

    torch.set_num_threads(threads)
    ranks = find_communicator("", communicator)
    (sizes, batch, steps), (X, y) = NETS[net], map(torch.from_numpy, data(net))
    layers: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(*layers[:-1]))
    adam, loss_of, own = (
        torch.optim.Adam(model.parameters(), fused=True),
        torch.nn.CrossEntropyLoss(),
        batch // ranks.size,
    )
    seconds = []
    for epoch in range(EPOCHS + 1):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(epoch))
        dist.barrier()
        began = time.perf_counter()
        for start in range(0, len(y), batch):
            rows = order[start + ranks.rank * own : start + (ranks.rank + 1) * own]
            adam.zero_grad()
            loss_of(model(X[rows]), y[rows]).backward()
            adam.step()
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:]) / steps, ranks


def overhead(communicator: str | None, backend: str, net: str, threads: int) -> tuple[list[float], Any]:
    """Train alone and with the communicator, in turns in this process; return the ratios of the times of a step."""
    found = []
    for _ in range(5):
        (alone, _), (with_it, ranks) = (train(name, backend, net, threads) for name in (None, communicator))
        found.append(with_it / alone)
    return found, ranks


def reduction(communicator: str | None, backend: str, net: str, threads: int) -> tuple[list[float], Any]:
    """Sum vectors of several lengths; the numbers are of ours, and of mpi4py's sum alone, in turns."""
    from xbackprop.distributed.launch import find_communicator

    ranks = find_communicator("", communicator)
    lengths, found = [1_000, 100_000, 1_000_000, 8_400_000], []
    ways = [ranks.all_reduce]
    if communicator == "mpi":
        from mpi4py import MPI

        ways.append(lambda x: MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, x))
    for n in lengths:
        x, times = np.zeros(n, dtype=np.float32), [[] for _ in ways]
        for _ in range(30):
            for way, took in zip(ways, times, strict=True):
                ranks.barrier()
                began = time.perf_counter()
                way(x)
                took.append(time.perf_counter() - began)
        found.append([n, *(median(took) for took in times)])
    return found, ranks


def update(communicator: str | None, backend: str, net: str, threads: int) -> tuple[float, Any]:
    """Time Adam's update of θ alone."""
    from xbackprop.arrays.discovery import get_backend
    from xbackprop.distributed.communicator import ALONE
    from xbackprop.nn.parameters import Layout
    from xbackprop.optim.optimizers import Adam

    home, adam = get_backend(backend), Adam()
    theta = np.zeros(Layout(NETS[net][0]).n_parameters, dtype=np.float32)
    moments, g, took = adam.start(home, theta).moments, np.ones_like(theta), []
    with home.threads(threads):
        for _ in range(12):
            began = time.perf_counter()
            adam.update(home, theta, g, moments, 1e-3)
            took.append(time.perf_counter() - began)
    return median(took), ALONE


if __name__ == "__main__":
    kind, communicator, backend, net, threads = sys.argv[1:]
    work = {"train": train, "ddp": ddp, "overhead": overhead, "reduction": reduction, "update": update}[kind]
    figure, ranks = work(None if communicator == "none" else communicator, backend, net, int(threads))
    if ranks.rank == 0:
        print(json.dumps(figure))
