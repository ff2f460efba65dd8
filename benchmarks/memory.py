"""Measure the peak memory of training: the process's resident memory above that before data and network were made.

Every contender runs in a process of its own, with the same data. The peak is VmHWM, the high-water mark of Linux.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from contenders import LARGE, Work, torch_epoch, xbackprop_epoch
from harness import take_turns, write


def resident(field: str) -> float:
    """Return VmRSS, the resident memory, or VmHWM, its peak, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


def peak(make: Callable[[str], Work], net: str) -> Callable[[], float]:
    """Return a function that trains the first epochs and gives the peak memory; further turns would not change it."""
    make("64-32-10")()  # memory of imports and first operations does not count
    before = resident("VmRSS")
    epoch = make(net)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    epoch()
    epoch()
    most = resident("VmHWM") - before
    return lambda: most


def measure() -> str:
    lines = [
        "| net | NumPy, MB | Numba, MB | torch, MB | torch autograd, MB | NumPy / torch autograd |",
        "|---" * 6 + "|",
    ]
    for net in [*LARGE, "20 × 256"]:
        makers = {
            "numpy": partial(peak, partial(xbackprop_epoch, dtype="float32", backend="numpy"), net),
            "numba": partial(peak, partial(xbackprop_epoch, dtype="float32", backend="numba"), net),
            "torch": partial(peak, partial(xbackprop_epoch, dtype="float32", backend="torch"), net),
            "autograd": partial(peak, partial(torch_epoch, dtype="float32"), net),
        }
        found = take_turns(makers, 1, own=True)
        megabytes = {name: values[0] / 1e6 for name, values in found.items()}
        cells = [f"{megabytes[name]:.0f}" if name in megabytes else "" for name in makers]
        both = {"numpy", "autograd"} <= set(megabytes)
        cells.append(f"{megabytes['numpy'] / megabytes['autograd']:.2f}" if both else "")
        lines.append(f"| {net} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    text = measure()
    print(text)
    write(text, "memory")
