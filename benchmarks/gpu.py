"""Time training steps on a GPU, side by side: CuPy, torch, compiled torch and JAX against torch autograd and optax.

Prints the table as it grows; --write puts it into docs/benchmarks.md. --net NAME chooses nets. float32, without TF32.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median

from contenders import NETS, optax_epoch, torch_epoch, xbackprop_epoch
from harness import ratio, take_turns, write

ROUNDS = 7
CONTENDERS = {
    "CuPy": lambda net: partial(xbackprop_epoch, net, "float32", "cupy"),
    "torch": lambda net: partial(xbackprop_epoch, net, "float32", "torch:cuda"),
    "torch, compiled": lambda net: partial(xbackprop_epoch, net, "float32", "torch-compiled:cuda"),
    "JAX": lambda net: partial(xbackprop_epoch, net, "float32", "jax:cuda:0"),
    "torch autograd": lambda net: partial(torch_epoch, net, "float32", "cuda"),
    "optax": lambda net: partial(optax_epoch, net, "float32", gpu=True),
}
#: Pairs of contenders: the first one's time divided by the second one's is the published ratio.
RATIOS = {
    "torch vs torch autograd": ("torch autograd", "torch"),
    "compiled torch vs torch autograd": ("torch autograd", "torch, compiled"),
    "CuPy vs torch autograd": ("torch autograd", "CuPy"),
    "JAX vs optax": ("optax", "JAX"),
}


def card() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=list(NETS), action="append")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    names = [*CONTENDERS, *RATIOS]
    lines = [f"| net | batch | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    print(*lines, sep="\n", flush=True)
    for net in args.net or list(NETS):
        seconds = take_turns({name: make(net) for name, make in CONTENDERS.items()}, args.rounds)
        cells = [f"{median(seconds[name]) * 1e6:,.0f}" if name in seconds else "" for name in CONTENDERS]
        for slow, fast in RATIOS.values():
            both = slow in seconds and fast in seconds
            cells.append(f"{ratio(seconds[slow], seconds[fast]):.2f}" if both else "")
        lines.append(f"| {net} | {NETS[net][1]} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if args.write:
        write(f"{card()}; microseconds per step, float32\n\n" + "\n".join(lines), "gpu")


if __name__ == "__main__":
    main()
