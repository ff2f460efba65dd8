"""The cores that there are, and limiting NumPy and torch to one thread for small matrix products, where more wait."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def affinity() -> frozenset[int]:
    """Return the numbers of the cores that this process may use."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def quota(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many cores' time a container may use by Linux's cgroups; infinity without a limit."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit, period = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(limit) / float(period) if float(limit) > 0 else math.inf
    except (OSError, ValueError):  # "max"
        return math.inf


CORES = max(1, min(len(affinity()), math.ceil(min(quota(), 2**20))))


@contextmanager
def one_thread(products: float = 0.0) -> Iterator[None]:
    """Context manager: run NumPy's BLAS, and torch if it is loaded, on one thread.

    On two busy cores this made the check of a 64-32-10 net twelve times faster, and on idle ones no slower.

    products : multiplications in one forward pass; from 10⁹ on threads pay off, and nothing is limited.
    """
    if products >= 1e9:
        yield
        return
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)
