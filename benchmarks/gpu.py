"""Time training steps on a GPU, side by side: CuPy, torch, compiled torch and JAX against torch autograd, optax and
`torch.compile`; and stacks of networks against torch.func's `vmap`.

Prints the tables; --write puts them into docs/benchmarks.md. --net NAME chooses nets. float32, without TF32. Each
contender trains all nets in one process, since to start one takes longer than to time it. Without a GPU `--device cpu`
tries the contenders of torch and JAX.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from contenders import NETS, Work, optax_epoch, torch_epoch, torch_stack_epoch, xbackprop_epoch
from harness import ratio, take_turns, write

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory for itself
STACKED = ("64-32-10", "64-100-10", "784-256-128-10")
SIZES = (1, 8, 32, 128)  # networks trained at once
#: Inductor takes ten to twenty seconds for each: a small, a middling and a large net, and the stacks of the small one.
COMPILED = ("64-100-10", "784-512-512-10", "1024-2048-2048-1024-10")
#: Pairs of contenders: the first one's time divided by the second one's is the published ratio.
RATIOS = {
    "torch vs autograd": ("torch autograd", "torch"),
    "compiled vs torch.compile": ("torch.compile", "torch, compiled"),
    "CuPy vs autograd": ("torch autograd", "CuPy"),
    "JAX vs optax": ("optax", "JAX"),
}
RATIOS_OF_STACKS = {
    "torch vs torch.func": ("torch autograd", "torch"),
    "compiled vs torch.func": ("torch autograd", "torch, compiled"),
    "JAX vs torch.func": ("torch autograd", "JAX"),
}

Case = tuple[str, int]  # a net, and how many of it are trained at once


class Contender(NamedTuple):
    """How an epoch of a case is made; the nets that are trained one alone, and those that are trained as stacks."""

    make: Callable[[str, int], Work]
    alone: Sequence[str] = tuple(NETS)
    stacked: Sequence[str] = ()

    def cases(self, nets: Sequence[str]) -> list[Case]:
        sizes = [(net, k) for net in self.stacked for k in SIZES[1:]]
        return [case for case in [*((net, 1) for net in self.alone), *sizes] if case[0] in nets]


def ours(backend: str, net: str, k: int) -> Work:
    return xbackprop_epoch(net, "float32", backend, stack=None if k == 1 else k)


def autograd(device: str, net: str, k: int) -> Work:
    return torch_epoch(net, "float32", device) if k == 1 else torch_stack_epoch(net, "float32", k, device)


def torch_compile(device: str, net: str, k: int) -> Work:
    return torch_epoch(net, "float32", device, compiled=True)


def optax(gpu: bool, net: str, k: int) -> Work:
    return optax_epoch(net, "float32", gpu)


def contenders(device: str) -> dict[str, Contender]:
    gpu = device == "cuda"
    return {
        "CuPy": Contender(partial(ours, "cupy"), stacked=STACKED),
        "torch": Contender(partial(ours, f"torch:{device}"), stacked=STACKED),
        "torch, compiled": Contender(partial(ours, f"torch-compiled:{device}"), COMPILED, STACKED[1:2]),
        "JAX": Contender(partial(ours, "jax:cuda:0" if gpu else "jax"), stacked=STACKED),
        "torch autograd": Contender(partial(autograd, device), stacked=STACKED),
        "torch.compile": Contender(partial(torch_compile, device), COMPILED),
        "optax": Contender(partial(optax, gpu)),
    }


def timed(make: Callable[[str, int], Work], cases: Sequence[Case]) -> Callable[[], dict[Case, float]]:
    """Set a contender up for all its cases; a turn returns the seconds of a step of each, for each network."""
    epochs = {case: make(*case) for case in cases}

    def turn() -> dict[Case, float]:
        found = {}
        for (net, k), epoch in epochs.items():
            began = time.perf_counter()
            n_steps = epoch()
            found[net, k] = (time.perf_counter() - began) / n_steps / k
        return found

    return turn


def table(
    head: str,
    rows: dict[Case, str],
    ratios: dict[str, tuple[str, str]],
    found: dict[str, list[dict[Case, float]]],
) -> str:
    """Return a table of the medians in microseconds, and of the ratios."""
    most = max(k for _, k in rows)
    names = [name for name, turns in found.items() if any(k == most for _, k in turns[0])]
    lines = [f"| {head} | {' | '.join([*names, *ratios])} |", "|---" * (2 + len(names) + len(ratios)) + "|"]
    for case, title in rows.items():
        of = {name: [turn[case] for turn in turns] for name, turns in found.items() if case in turns[0]}
        cells = [f"{median(of[name]) * 1e6:,.{1 if case[1] > 1 else 0}f}" if name in of else "" for name in names]
        cells += [
            f"{ratio(of[slow], of[fast]):.2f}" if slow in of and fast in of else "" for slow, fast in ratios.values()
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def card() -> str:
    """Say which card, and with which libraries."""
    import importlib.metadata as installed

    import torch

    packages = {"torch": "torch", "CuPy": "cupy-cuda13x", "JAX": "jax", "optax": "optax"}
    versions = [f"{name} {installed.version(package)}" for name, package in packages.items()]
    return f"{torch.cuda.get_device_name()}, {', '.join(versions)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=list(NETS), action="append")
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="the time that there is, of which setting up may take half")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    nets = args.net or list(NETS)
    setups = {name: partial(timed, one.make, one.cases(nets)) for name, one in contenders(args.device).items()}
    setups = {name: setup for name, setup in setups.items() if setup.args[1]}
    found = take_turns(setups, args.rounds, own=True, limit=args.seconds)
    singles = {(net, 1): f"{net} | {NETS[net][1]}" for net in nets}
    stacks = {(net, k): f"{net}, {NETS[net][1]} | {k}" for net in nets if net in STACKED for k in SIZES}
    steps = table("net | batch", singles, RATIOS, found)
    each = table("net, batch | networks", stacks, RATIOS_OF_STACKS, found) if stacks else ""
    print(f"{steps}\n\n{each}", flush=True)
    if args.write:
        write(f"{card()}; microseconds per step, float32\n\n{steps}", "gpu")
        write(f"microseconds per step and network, float32\n\n{each}", "gpu-stacks")


if __name__ == "__main__":
    main()
